"""What is told of a notebook while it runs: which cell, in which section, and what it prints."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from nbformat import NotebookNode

from taxi_lib.runner.console import printable
from taxi_lib.runner.contracts import Contract
from taxi_lib.runner.notebook_file import headings, is_error_mark, is_injected, label, read_notebook
from taxi_lib.runner.screen import added, settled
from taxi_lib.runner.shadowed_modules import warnings_about

_PATIENCE = 10  # seconds
_LONG = 100_000  # characters of a line that is not at its end


class Narrator:
    """Tell each cell as it starts, by its number in the lesson and the section it stands in.

    Attributes
    ----------
    place : str
        Where the run has got to: ``"cell 7/23 · Train"``.
    notebook : nbformat.NotebookNode
        What is run.
    source : str or None
        The source of that cell.
    index : int or None
        Its place in the notebook that papermill runs.
    tags : list of str
        Its tags.
    """

    def __init__(
        self,
        contract: Contract,
        log: TextIO,
        on_progress: Callable[[str, float], None],
        on_text: Callable[[str], None],
    ) -> None:
        self.log, self.on_progress, self.on_text = log, on_progress, on_text
        self.lesson = label(contract.name)
        self.place, self.source, self.index = "before the first cell", None, None
        self.tags: list[str] = []
        section = contract.title
        self.places: list[str] = []
        self.notebook = read_notebook(contract.path)
        cells = self.notebook.cells
        # papermill takes its marks out of a copy that it left after a failure.
        self.cells = [cell for cell in cells if not is_error_mark(cell)]
        self.line, self.told = "", time.monotonic()
        for warning in warnings_about(cells, contract.path.parent):
            log.write(f"{warning}\n")
        self.given = 0  # how many cells papermill has put in so far
        for number, cell in enumerate(cells, start=1):
            if is_error_mark(cell):
                continue
            if cell.cell_type == "markdown" and (found := headings(cell.source)):
                _, section = found[-1]
            self.places.append(f"cell {number}/{len(cells)} · {section}")

    def cell(self, cell: NotebookNode, cell_index: int) -> None:
        """Tell that a cell starts."""
        self.settle()
        self.index, self.tags = cell_index, cell.metadata.get("tags", [])
        if is_injected(cell):
            self.given = 1
            self.place, self.source = "the parameters as given", cell.source
        elif cell.cell_type == "code":
            self._look_at(cell_index - self.given)
        else:
            return
        line = f"{self.lesson} · {self.place}"
        self.log.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
        self.on_progress(line, max(0, cell_index - self.given) / len(self.cells))

    def _look_at(self, index: int) -> None:
        if 0 <= index < len(self.cells):
            self.place, self.source = self.places[index], self.cells[index].source

    def text(self, text: str) -> None:
        """Tell what a cell prints, line by line; of a line that is written over, the last state.

        A bar that takes long is told every few seconds, on a line of its own.
        """
        self.line = added(self.line, text)
        whole, newline, rest = self.line.rpartition("\n")
        if newline:
            self._tell(whole + newline)
            self.line = rest
        elif len(rest) > _LONG:
            self._tell(rest)
            self.line = ""
        elif time.monotonic() - self.told > _PATIENCE:
            self._tell(f"{settled(rest)}\n")

    def settle(self) -> None:
        """Tell what is left of a line that did not end."""
        if self.line:
            self._tell(f"{settled(self.line)}\n")
            self.line = ""

    def _tell(self, text: str) -> None:
        self.log.write(printable(text))  # a log is read in a terminal, too
        self.on_text(text)
        self.told = time.monotonic()
