"""What went wrong in a cell, as the kernel saw it: plain values that the runner makes words of."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

# Names the folder of the notebook in its kernel's environment: it works in another one.
BESIDE = "TAXI_NOTEBOOK_DIR"
_LONGEST = 1000  # characters of a message; the notebook has all of it
_MEMBERS = 3  # of an exception group
_MISSING = re.compile(
    r"no such file|not found|cannot find|could not find|couldn't find|does ?n[o']t exist"
    r"|(unable|failed|cannot|could not) to open|no files found",
    re.IGNORECASE,
)


class CommandFailedError(CalledProcessError):
    """A command of a cell ended with another status than 0.

    Attributes
    ----------
    cmd : str
        As the cell says it: ``!wget …``, ``%pip install …``, ``%%bash``.
    returncode : int
        Its status; the negative number of the signal that stopped it.
    reason : str
        What it said for itself, if anything.
    """

    def __init__(self, returncode: int, cmd: str, reason: str = "", script: str = "") -> None:
        super().__init__(returncode, cmd)
        self.reason, self.script = reason, script

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.returncode, self.cmd, self.reason, self.script)

    def __str__(self) -> str:
        first, *more = self.cmd.strip().splitlines() or [""]
        shown = first if len(first) <= 200 and not more else f"{first[:200]} …"
        return f"`{shown}` {self.reason or _status(self.returncode)}"


def _status(code: int) -> str:
    """Return how a command ended, in words; a shell adds 128 to the number of a signal."""
    if code < 0:
        try:
            return f"was stopped by {signal.Signals(-code).name}"
        except ValueError:
            code = 128 - code
    return f"ended with status {code}"


def describe(error: BaseException, cell: str) -> dict[str, Any]:
    """Return what the runner has to know about an exception that ended a cell.

    Parameters
    ----------
    error : BaseException
        The exception.
    cell : str
        The source of the cell.

    Returns
    -------
    dict
        ``name`` and ``text``, its type and the first line of its message; ``types``, the full
        names of its type, of those it derives from, and of those of its causes; ``line`` of the
        cell that raised it; ``beside``, the names that it did not find and that lie beside the
        notebook.
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
    """Return the message of an exception, whatever its own class does."""
    try:
        return str(error)
    except Exception as fault:
        return f"its message cannot be shown ({type(fault).__name__})"


def _first_line(text: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    first = next(filter(None, lines), "")
    return first if len(first) <= _LONGEST else f"{first[:_LONGEST]} …"


def _types(error: BaseException) -> Iterator[str]:
    """Yield the full names of an exception's types, and of those that it was raised from."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield from (f"{kind.__module__}.{kind.__qualname__}" for kind in type(at).__mro__[:-1])
        # urllib hides what happened in an attribute.
        reason = getattr(at, "reason", None)
        at = at.__cause__ or (reason if isinstance(reason, BaseException) else None)


def _line(error: BaseException, cell: str) -> str:
    """Return the line of the cell that raised: an assert without a message says nothing else."""
    lines, trace = cell.splitlines(), error.__traceback__
    while trace:
        # IPython compiles a cell as a file of its own in a temporary folder, or "<ipython-…>".
        name = trace.tb_frame.f_code.co_filename
        if "ipykernel_" in name or name.startswith("<ipython-input"):
            return lines[trace.tb_lineno - 1].strip() if trace.tb_lineno <= len(lines) else ""
        trace = trace.tb_next
    return ""


def _beside(error: BaseException) -> Iterator[str]:
    """Yield the names that were not found and would be, from where the notebook lies."""
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
            continue  # no name of a file at all


def _names(error: BaseException) -> Iterator[str]:
    """Yield what may be the names of files in an error."""
    text = text_of(error)
    if isinstance(error, CommandFailedError):
        words = error.script if error.cmd.startswith("%") else error.cmd[1:]
        yield from re.split(r"[\s|&;<>()='\"`]+", words)
    elif isinstance(error, OSError) or _MISSING.search(text):
        named = (getattr(error, "filename", None), getattr(error, "filename2", None))
        yield from (os.fsdecode(name) for name in named if isinstance(name, (str, bytes)))
        yield from (found[1] for found in re.finditer(r"(?=['\"`]([^'\"`\n]+)['\"`])", text))
        yield from (word.strip(".,:;!?") for word in text.split() if "." in word or "/" in word)
