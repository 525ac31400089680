"""Notebooks that do next to nothing, so that what is measured is the running of them."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

REPORT = "from taxi_lib.results import report_results\nsquare: int\nreport_results(square=n * n)"


def write_prints(folder: Path, count: int) -> Path:
    """Write notebooks that print one number each; return their folder, which is new."""
    folder.mkdir()
    for number in range(1, count + 1):
        _write(folder / f"{number:02d}_print.ipynb", new_code_cell(f"print({number})"))
    return folder


def write_chain(folder: Path, count: int) -> Path:
    """Write notebooks of which each takes from the one before; return their new folder."""
    folder.mkdir()
    for number in range(1, count + 1):
        taken = f"  # [from {number - 1:02d}_step.square]" if number > 1 else "  # to square"
        parameters = new_code_cell(f"n: int = 2{taken}", metadata={"tags": ["parameters"]})
        results = new_code_cell(REPORT, metadata={"tags": ["results"]})
        _write(folder / f"{number:02d}_step.ipynb", parameters, results)
    return folder


def _write(path: Path, *cells: NotebookNode) -> None:
    title = new_markdown_cell(f"# {int(path.name[:2])}. Next to nothing")
    nbformat.write(new_notebook(cells=[title, *cells]), path)
