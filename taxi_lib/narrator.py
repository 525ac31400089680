"""What is told of a notebook while it runs: which cell, in which section, and what it prints."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol, TextIO

import nbformat
from nbformat import NotebookNode

from taxi_lib.contracts import Contract


class Listener(Protocol):
    """Who is told each cell as it starts, and what it prints."""

    progress: Callable[[str, float], None]
    text: Callable[[str], None]


class Narrator:
    """Tell each cell as it starts, by its number in the lesson and the section it stands in.

    Attributes
    ----------
    place : str
        Where the run has got to: ``"cell 7/23 · Train"``.
    source : str or None
        The source of that cell.
    """

    def __init__(self, contract: Contract, listener: Listener, log: TextIO) -> None:
        self.listener, self.log = listener, log
        self.lesson = contract.name.split("_")[0]
        self.place, self.source = "before the first cell", None
        self.places, self.done, section = {}, {}, contract.title
        cells = nbformat.read(contract.path, as_version=4).cells
        for number, cell in enumerate(cells, start=1):
            headings = [line for line in cell.source.splitlines() if line.startswith("## ")]
            if cell.cell_type == "markdown" and headings:
                section = headings[-1].removeprefix("## ")
            self.places[cell.id] = f"cell {number}/{len(cells)} · {section}"
            self.done[cell.id] = (number - 1) / len(cells)

    def cell(self, cell: NotebookNode, cell_index: int) -> None:
        """Tell that a cell starts."""
        if cell.cell_type == "code":
            # papermill puts in one cell that the lesson does not have
            self.place = self.places.get(cell.id, "the parameters as given")
            self.source = cell.source
            line = f"{self.lesson} · {self.place}"
            self.log.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
            self.listener.progress(line, self.done.get(cell.id, 0.0))

    def text(self, text: str) -> None:
        """Tell what a cell prints."""
        self.log.write(text)
        self.listener.text(text)
