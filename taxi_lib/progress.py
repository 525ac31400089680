"""How far a walkthrough has got: lines in the terminal, and a bar on Prefect's page."""

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_progress_artifact

from taxi_lib.notebooks import label
from taxi_lib.results import NotebookRun
from taxi_lib.terminal import printable

_WIDEST = 500  # characters of a line: the log and Prefect's page have all of it


class Board:
    """The lines of progress; in a terminal one line that changes, with all that runs side by side.

    Parameters
    ----------
    stream : bool
        Show also what the cells print.
    """

    def __init__(self, stream: bool = False) -> None:
        self.stream, self.lock = stream, threading.Lock()
        self.now: dict[str, str] = {}

    def tell(self, name: str, line: str) -> None:
        """Show what a notebook has come to."""
        with self.lock:
            self.now[name] = _in_a_line(line)
            self._show(self.now[name])

    def text(self, name: str, text: str) -> None:
        """Show what a cell prints, if that was asked for."""
        if self.stream:
            number = label(name)
            with self.lock:
                self._clear()
                lines = map(_in_a_line, text.splitlines())
                sys.stdout.write("".join(f"{_in_a_line(number)} │ {line}\n" for line in lines))
                self._show()

    def end(self, name: str, line: str) -> None:
        """Show for good how a notebook ended; of a long error, how it begins."""
        first, *more = line.splitlines()
        cut = " …" if more or len(first) > _WIDEST else ""
        with self.lock:
            self.now.pop(name, None)
            self._clear()
            sys.stdout.write(f"{_in_a_line(first)[:_WIDEST]}{cut}\n")
            self._show()

    def _show(self, line: str = "") -> None:
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            self._clear()
            sys.stdout.write("   ".join(self.now.values())[:width])
        elif line:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def _clear(self) -> None:
        if sys.stdout.isatty():
            sys.stdout.write("\r\033[K")


def _in_a_line(text: str) -> str:
    return printable(text).replace("\n", " ")


class Bar:
    """A progress artifact of Prefect, brought up to date about once a second."""

    def __init__(self) -> None:
        self.done, self.line = 0.0, ""

    def tell(self, line: str, done: float) -> None:
        """Note how far it is; cheap, and from any thread."""
        self.line, self.done = line, done


@contextmanager
def bar(api: str, key: str, description: str) -> Iterator[Bar]:
    """Show a bar on Prefect's page for the task that calls this, until the block ends.

    Parameters
    ----------
    api : str
        The address of Prefect's API.
    key, description : str
        Of the progress artifact.
    """
    mark, ended = Bar(), threading.Event()
    artifact = create_progress_artifact(0.0, key=key, description=description)

    def publish() -> None:
        shown, last = "", False
        while not last:
            last = ended.wait(1)
            if mark.line != shown:
                shown = mark.line
                told = {"data": 100 * mark.done, "description": shown}
                # A plain request: Prefect's own update leaves a connection open each time.
                with suppress(requests.RequestException):  # a server that is away: it stands still
                    requests.patch(f"{api}/artifacts/{artifact}", json=told, timeout=10)

    # A thread of its own: a slow server shall not slow the notebook down.
    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        yield mark
    finally:
        ended.set()
        thread.join()


def tell_failure(run: NotebookRun) -> None:
    """Say on Prefect's page which cell failed and how, and where the evidence is."""
    source = f"\n\n```python\n{run.cell}\n```" if run.cell else ""
    get_run_logger().error("%s failed at %s%s", run.name, run.error, source)
    files = "".join(
        f"\n- [{Path(name).name}]({Path(name).as_uri()}): `{name}`" for name in run.files
    )
    create_markdown_artifact(
        key=f"failed-{as_key(run.name)}",
        description=f"{run.name}: {run.error}",
        markdown=f"# {run.name} failed\n\n{run.error}{source}\n\n{files}",
    )


def as_key(name: str) -> str:
    """Return a name as an artifact's key may be: lower case, digits and dashes."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in name.lower())
