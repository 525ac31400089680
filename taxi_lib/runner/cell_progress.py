"""Progress of a notebook that runs: its cells by number and section, and what they print."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from nbformat import NotebookNode

from taxi_lib.runner.console import printable
from taxi_lib.runner.notebook_file import headings, is_error_mark, is_injected, label
from taxi_lib.runner.screen import added, settled

_PATIENCE = 10  # seconds between two states of a line that is written over
_LONG = 100_000  # characters of a line without an end


class CellProgress:
    """Reports each cell as it starts and what it prints, to the log and to two callbacks.

    ``place``, ``source`` and ``tags`` are those of the cell that runs: ``"cell 7/23 · Train"``.
    ``index`` is its number, with papermill's own cells counted.
    """

    def __init__(
        self,
        name: str,
        title: str,
        notebook: NotebookNode,
        log: TextIO,
        on_progress: Callable[[str, float], None],
        on_text: Callable[[str], None],
    ) -> None:
        self.log, self.on_progress, self.on_text = log, on_progress, on_text
        self.label = label(name)
        self.place, self.source, self.index = "before the first cell", None, None
        self.tags: list[str] = []
        self.line, self.reported = "", time.monotonic()
        self.injected = 0  # cells that papermill has added so far
        self.cells: list[tuple[str, str]] = []  # the place and the source of each
        section, total = title, len(notebook.cells)
        for number, cell in enumerate(notebook.cells, start=1):
            if is_error_mark(cell):  # papermill removes its marks of an earlier failure
                continue
            if cell.cell_type == "markdown" and (found := headings(cell.source)):
                _, section = found[-1]
            self.cells.append((f"cell {number}/{total} · {section}", cell.source))

    def cell(self, cell: NotebookNode, cell_index: int) -> None:
        """Report that a cell starts."""
        self.settle()
        self.index, self.tags = cell_index, cell.metadata.get("tags", [])
        if is_injected(cell):
            self.injected = 1
            self.place, self.source = "the parameters as given", cell.source
        elif cell.cell_type == "code":
            self.place, self.source = self.cells[cell_index - self.injected]
        else:
            return
        line = f"{self.label} · {self.place}"
        self.log.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
        self.on_progress(line, max(0, cell_index - self.injected) / len(self.cells))

    def text(self, text: str) -> None:
        """Report what a cell prints, line by line.

        Of a line that is written over, it reports the last state, and every few seconds the
        present one, on a line for each.
        """
        self.line = added(self.line, text)
        whole, newline, rest = self.line.rpartition("\n")
        if newline:
            self._report(whole + newline)
            self.line = rest
        elif len(rest) > _LONG:
            self._report(rest)
            self.line = ""
        elif time.monotonic() - self.reported > _PATIENCE:
            self._report(f"{settled(rest)}\n")

    def settle(self) -> None:
        """Report the beginning of a line that has not ended."""
        if self.line:
            self._report(f"{settled(self.line)}\n")
            self.line = ""

    def _report(self, text: str) -> None:
        self.log.write(printable(text))  # a log is read in a terminal, too
        self.on_text(text)
        self.reported = time.monotonic()
