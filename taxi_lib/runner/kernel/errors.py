"""What went wrong in a cell: described inside the kernel, for the runner to put into words."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

# The variable with the notebook's folder, which is not its working directory.
BESIDE = "TAXI_NOTEBOOK_DIR"
_LONGEST = 1000  # characters of a message; the notebook has the rest
_MEMBERS = 3  # of an exception group
_MISSING = re.compile(
    r"no such file|not found|cannot find|could not find|couldn't find|does ?n[o']t exist"
    r"|(unable|failed|cannot|could not) to open|no files found",
    re.IGNORECASE,
)


class CommandFailedError(CalledProcessError):
    """A command of a cell failed.

    ``cmd`` is as in the cell: ``!wget …``, ``%pip install …``, ``%%bash``. ``reason`` says why it
    could not run, if that is known. ``returncode`` is negative for the number of a signal.
    """

    def __init__(self, returncode: int, cmd: str, reason: str = "", script: str = "") -> None:
        super().__init__(returncode, cmd)
        self.reason, self.script = reason, script

    def __str__(self) -> str:
        first, *more = self.cmd.strip().splitlines() or [""]
        shown = first if len(first) <= 200 and not more else f"{first[:200]} …"
        return f"`{shown}` {self.reason or _status(self.returncode)}"


def _status(code: int) -> str:
    """Return how a command ended, in words."""
    if code < 0:
        try:
            return f"was stopped by {signal.Signals(-code).name}"
        except ValueError:
            code = 128 - code  # the status that a shell reports for a signal
    return f"ended with status {code}"


def describe(error: BaseException, cell: str) -> dict[str, Any]:
    """Describe an exception that ended a cell, given the cell's source.

    ``name`` and ``text`` are its type and the first line of its message; ``types`` are the full
    names of its type, its base types and those of its causes; ``line`` is the line of the cell
    that raised it; ``beside`` are the files that it did not find and that lie beside the notebook.
    """
    return {
        "name": type(error).__name__,
        "text": _message(error),
        "types": sorted(_types(error)),
        "line": _line(error, cell),
        "beside": sorted(_beside(error)),
    }


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        shown = f": {error.text.strip()}" if error.text else ""
        return _first_line(f"{error.msg} (line {error.lineno}{shown})")
    text = _first_line(text_of(error))
    if isinstance(error, BaseExceptionGroup):
        members = [f"{type(e).__name__}: {_message(e)}" for e in error.exceptions[:_MEMBERS]]
        more = "; …" if len(error.exceptions) > _MEMBERS else ""
        return f"{text}: {'; '.join(members)}{more}"
    return text


def text_of(error: BaseException) -> str:
    """Return the message of an exception, even if its class cannot show it."""
    try:
        return str(error)
    except Exception as fault:
        return f"its message cannot be shown ({type(fault).__name__})"


def _first_line(text: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    first = next(filter(None, lines), "")
    return first if len(first) <= _LONGEST else f"{first[:_LONGEST]} …"


def _types(error: BaseException) -> Iterator[str]:
    """Yield the full names of the types of an exception and of its causes."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield from (f"{kind.__module__}.{kind.__qualname__}" for kind in type(at).__mro__[:-1])
        # urllib keeps the cause in an attribute.
        reason = getattr(at, "reason", None)
        at = at.__cause__ or (reason if isinstance(reason, BaseException) else None)


def _line(error: BaseException, cell: str) -> str:
    """Return the line of the cell that raised, for an assert without a message."""
    lines, trace = cell.splitlines(), error.__traceback__
    while trace:
        # IPython compiles a cell as a file in a temporary folder, or as "<ipython-…>".
        name = trace.tb_frame.f_code.co_filename
        if "ipykernel_" in name or name.startswith("<ipython-input"):
            return lines[trace.tb_lineno - 1].strip() if trace.tb_lineno <= len(lines) else ""
        trace = trace.tb_next
    return ""


def _beside(error: BaseException) -> Iterator[str]:
    """Yield the names that were not found, but would be in the notebook's folder."""
    folder = os.environ.get(BESIDE)
    if not folder:
        return
    for name in set(_names(error)):
        here = Path(name)
        if here.is_absolute() and here.is_relative_to(Path.cwd()):
            here = here.relative_to(Path.cwd())
        try:
            lost = not here.is_absolute() and not here.exists()
            if lost and (Path(folder) / here).exists():
                yield str(here)
        except (OSError, ValueError):
            continue  # a text that no file can have as its name


def _names(error: BaseException) -> Iterator[str]:
    """Yield words of an error that may be names of files."""
    text = text_of(error)
    if isinstance(error, CommandFailedError):
        words = error.script if error.cmd.startswith("%") else error.cmd[1:]
        yield from re.split(r"[\s|&;<>()='\"`]+", words)
    elif isinstance(error, OSError) or _MISSING.search(text):
        named = (getattr(error, "filename", None), getattr(error, "filename2", None))
        yield from (os.fsdecode(name) for name in named if isinstance(name, (str, bytes)))
        yield from (found[1] for found in re.finditer(r"(?=['\"`]([^'\"`\n]+)['\"`])", text))
        yield from (word.strip(".,:;!?") for word in text.split() if "." in word or "/" in word)
