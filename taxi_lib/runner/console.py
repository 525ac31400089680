"""The terminal: text made harmless, lines of progress, and the table at the end."""

import re
import shutil
import sys
import threading
from shlex import quote
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from taxi_lib import settings
from taxi_lib.runner.notebook_file import label

# Colours, moves of the cursor, titles of the window, links: sequences that begin with ESC, or with
# one character that stands for ESC and another.
_SEQUENCES = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c\n]*(?:\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]"
)
# Ends of lines that are not \n; what else controls, or turns the direction of writing.
_BREAKS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)


def printable(text: str) -> str:
    r"""Return a text that a terminal only shows: letters, signs, tabs and ends of lines.

    Examples
    --------
    >>> printable("\x1b[31mred\x1b[0m and \x1b]0;a title\x07plain\x08")
    'red and plain'
    """
    whole = text.encode("utf-8", "backslashreplace").decode()  # half a character is none
    return _CONTROLS.sub("", _BREAKS.sub(" ", _SEQUENCES.sub("", whole)))


def say(text: object, file: TextIO | None = None) -> None:
    """Print a text to the terminal at once, whatever is in it."""
    file = file or sys.stdout
    file.write(f"{printable(str(text))}\n")
    file.flush()


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


def rows(report: dict[str, Any]) -> list[dict[str, str]]:
    """Return one row a notebook: name, status, seconds, and its results in a line."""
    return [
        {
            "notebook": run["name"],
            "status": run["status"],
            "seconds": f"{run['seconds']:.1f}",
            "results": run["error"] or _results_line(run["results"]) + _since(run["changed"]),
        }
        for run in report["notebooks"]
    ]


def failures(report: dict[str, Any]) -> str:
    """Return in one sentence which notebooks failed, where and how; empty when none did."""
    failed = [run for run in report["notebooks"] if run["status"] == "failed"]
    if not failed:
        return ""
    told = "; ".join(f"{run['name']}: {run['error']}" for run in failed)
    return f"{len(failed)} of {len(report['notebooks'])} notebooks failed: {told}."


def show(report: dict[str, Any]) -> None:
    """Print the summary as a table, and where to look next."""
    # A log file has no width of its own; rich would take 80 columns and fold every name.
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title=f"Walkthrough {report['status']} in {report['seconds']:.0f} s")
    for name in ("notebook", "status", "seconds", "results"):
        justify = "right" if name == "seconds" else "left"
        table.add_column(name, justify=justify, no_wrap=name != "results")
    for row in rows(report):
        table.add_row(
            *(escape(printable(value)) for value in row.values()),
            style="red" if row["status"] == "failed" else None,
        )
    console.print()
    console.print(table)
    console.print(printable(_next_steps(report)), soft_wrap=True, highlight=False, markup=False)


def _next_steps(report: dict[str, Any]) -> str:
    # Only what is not where it would be by itself has to be said.
    usual = {
        "TAXI_RUNS_DIR": settings.workspace() / "runs",
        "PREFECT_HOME": settings.runs_dir() / "prefect",
        "MLFLOW_TRACKING_URI": f"sqlite:///{settings.runs_dir() / 'mlflow.db'}",
    }
    here = settings.environment()
    moved = "".join(
        f"{name}={quote(here[name])} " for name, where in usual.items() if here[name] != str(where)
    )
    return "\n".join(
        [
            f"Data            : {report['data_source'] or 'no months'}",
            f"Executed lessons: {report['folder']}  (.ipynb, .html, .log, .json, and summary.json)",
            f"Prefect, MLflow : {moved}{quote(sys.executable)} -m taxi_lib ui",
        ]
    )


def _since(changed: str) -> str:
    return f" ({changed} changed since it began: run again)" if changed else ""


def _results_line(results: dict[str, Any]) -> str:
    def short(value: object) -> str:
        if isinstance(value, float):
            return f"{value:.3f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    figures = {name: value for name, value in results.items() if name != "data_source"}
    return ", ".join(f"{name} {short(value)}" for name, value in figures.items())
