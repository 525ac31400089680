"""The terminal: harmless text, lines of progress, and the table at the end."""

import os
import re
import sys
from pathlib import Path
from shlex import quote
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from taxi_lib import settings
from taxi_lib.runner.each_value import table

_FOLDED = {"results", "error", "before", "now", "what"}  # columns whose texts may be long
_PASSWORD = re.compile(r"(?<=://)([^/:@\s]*):[^/@\s]+@")  # in the address of a server or database
_WIDEST = 500  # characters of a line; the log and Prefect's page have all of it
# Colours, moves of the cursor, window titles and links begin with ESC and another character, or
# with one control character for both.
_SEQUENCES = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c\n]*(?:\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]"
)
# Ends of lines other than \n; other control characters, and those that reverse the text.
_BREAKS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)


def printable(text: str) -> str:
    r"""Return a text without what acts on a terminal; tabs and ends of lines stay.

    Examples
    --------
    >>> printable("\x1b[31mred\x1b[0m and \x1b]0;a title\x07plain\x08")
    'red and plain'
    """
    whole = text.encode("utf-8", "backslashreplace").decode()  # half characters become escapes
    return _CONTROLS.sub("", _BREAKS.sub(" ", _SEQUENCES.sub("", whole)))


def say(text: object, file: TextIO | None = None) -> None:
    """Print a text to the terminal at once, whatever is in it."""
    file = file or sys.stdout
    file.write(f"{printable(str(text))}\n")
    file.flush()


class Board:
    """The lines of progress. In a terminal, one line that changes shows all that runs.

    Parameters
    ----------
    stream : bool
        Show also what the cells print.
    """

    def __init__(self, stream: bool = False) -> None:
        self.stream = stream
        self.running: dict[str, str] = {}
        self.live = Live(
            get_renderable=lambda: Text("   ".join(self.running.values()), no_wrap=True),
            console=Console(force_terminal=sys.stdout.isatty()),
            auto_refresh=False,
            transient=True,
        )

    def update(self, name: str, line: str, aside: str = "") -> None:
        """Show how far a notebook is; the aside once, where lines stay."""
        begins = name not in self.running
        self.running[name] = _in_a_line(line)
        if not self.live.console.is_interactive:
            say(f"{self.running[name]}{aside if begins else ''}")
            return
        self.running[name] += aside
        self.live.start()
        self.live.console.show_cursor()  # which a killed run could not do
        self.live.refresh()

    def text(self, label: str, text: str) -> None:
        """Show what a cell prints, if that was asked for."""
        if self.stream:
            lines = (f"{label} │ {line}" for line in text.splitlines())
            self._print("\n".join(map(_in_a_line, lines)))

    def end(self, name: str, line: str) -> None:
        """Show how a notebook ended, and of a long error only the beginning."""
        first, *more = line.splitlines()
        cut = " …" if more or len(first) > _WIDEST else ""
        self.running.pop(name, None)
        self._print(f"{_in_a_line(first)[:_WIDEST]}{cut}")
        if not self.running:
            self.live.stop()

    def close(self) -> None:
        """Show nothing more of what was running."""
        self.running.clear()
        self.live.stop()

    def _print(self, lines: str) -> None:
        if self.live.is_started:
            self.live.refresh()
            self.live.console.out(lines, highlight=False)  # above the line that changes
        else:
            say(lines)


class BoardPart(Board):
    """A board that other runs write to as well: its lines begin with a label."""

    def __init__(self, board: Board, label: str) -> None:
        self.board, self.part, self.stream = board, label, board.stream

    def update(self, name: str, line: str, aside: str = "") -> None:
        """Show how far a notebook is."""
        self.board.update(f"{self.part} {name}", f"{self.part} · {line}", aside)

    def text(self, label: str, text: str) -> None:
        """Show what a cell prints, if that was asked for."""
        self.board.text(f"{self.part} · {label}", text)

    def end(self, name: str, line: str) -> None:
        """Show how a notebook ended."""
        self.board.end(f"{self.part} {name}", f"{self.part} · {line}")

    def close(self) -> None:
        """Leave the board to the other runs."""


def _in_a_line(text: str) -> str:
    return printable(text).replace("\n", " ")


def rows(report: dict[str, Any]) -> list[dict[str, str]]:
    """Return a row for each notebook: name, status, seconds, and its results or its error.

    For a run over several values, a row for each value.
    """
    if each := report.get("each"):
        return table(each["name"], each["runs"])
    return [
        {
            "notebook": run["name"],
            "status": run["status"],
            "seconds": f"{run['seconds']:.1f}",
            "results": run["error"] or results_line(run),
        }
        for run in report["notebooks"]
    ]


def failures(report: dict[str, Any]) -> str:
    """Return a sentence that says which notebooks failed and how, or an empty text."""
    if each := report.get("each"):
        bad = [f"{run['value']}: {run['error']}" for run in each["runs"] if run["error"]]
        words = f"{len(bad)} of {len(each['runs'])} runs failed: {'; '.join(bad)}."
        return words if bad else ""
    failed = [run for run in report["notebooks"] if run["status"] == "failed"]
    if not failed:
        return ""
    errors = "; ".join(f"{run['name']}: {run['error']}" for run in failed)
    skipped = sum(run["status"] == "skipped" for run in report["notebooks"])
    rest = f", and {skipped} not run because of that" if skipped else ""
    return f"{len(failed)} of {len(report['notebooks'])} notebooks failed{rest}: {errors}."


def show(report: dict[str, Any]) -> None:
    """Print the summary as a table, and where to look next."""
    runs = report["each"]["runs"] if report.get("each") else []
    # In a terminal the table of several runs is wide enough: the errors come below it.
    shown = [row | {"error": ""} for row in rows(report)] if runs else rows(report)
    show_rows(f"Run {report['status']} in {report['seconds']:.0f} s", shown)
    errors = [f"{run['value']}: {run['error']}" for run in runs if run["error"]]
    text = printable("\n".join([*errors, _next_steps(report)]))
    _console().print(text, soft_wrap=True, highlight=False, markup=False)


def show_rows(title: str, rows: list[dict[str, str]]) -> None:
    """Print rows as a table; columns without a text are left out."""
    lines = Table(title=title)
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    for name in names:
        justify = "right" if name == "seconds" else "left"
        folded = name in _FOLDED
        overflow = "fold" if folded else "ellipsis"  # a long path has no place to break a line
        lines.add_column(name, justify=justify, no_wrap=not folded, overflow=overflow)
    for row in rows:
        style = {"failed": "red", "skipped": "yellow"}.get(row.get("status", ""))
        lines.add_row(*(escape(printable(row[name])) for name in names), style=style)
    console = _console()
    console.print()
    console.print(lines)


def _console() -> Console:
    # For a log file whose width is not given, rich would take 80 columns and fold every name.
    return Console(width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else 120)


def _next_steps(report: dict[str, Any]) -> str:
    # The command for the pages names only the folders that are not the usual ones.
    usual = {
        "TAXI_RUNS_DIR": settings.workspace() / "runs",
        "PREFECT_HOME": settings.runs_dir() / "prefect",
        "MLFLOW_TRACKING_URI": f"sqlite:///{settings.runs_dir() / 'mlflow.db'}",
    }
    here = settings.environment()
    moved = "".join(
        f"{name}={quote(here[name])} " for name, where in usual.items() if here[name] != str(where)
    )
    moved = _PASSWORD.sub(r"\1:***@", moved)
    data = f"Data            : {source}\n" if (source := report["data_source"]) else ""
    return (
        f"{data}"
        f"Executed copies : {report['folder']}  (.ipynb, .html, .log, .json, and summary.json)\n"
        f"Prefect, MLflow : {moved}{quote(sys.executable)} -m taxi_lib ui"
    )


def results_line(run: dict[str, Any]) -> str:
    """Return the results of a notebook in one line; files by their place in the run's folder."""
    texts, folder = [], str(Path(run["output"]).parent) if run.get("output") else ""
    for name, value in run["results"].items():
        if folder and isinstance(value, str) and value in run.get("made", {}):
            value = os.path.relpath(value, folder)
        form = ".3f" if isinstance(value, float) else "," if type(value) is int else ""
        if name != "data_source":
            texts.append(f"{name} {value:{form}}")
    changed = f" ({run['changed']} changed since it began: run again)" if run["changed"] else ""
    return ", ".join(texts) + changed
