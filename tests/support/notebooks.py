"""Notebooks made of a few cells, and running them."""

import os
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from taxi_lib.runner.contracts import read_contract
from taxi_lib.runner.execution import run_notebook
from taxi_lib.runner.notebook_run import NotebookRun
from taxi_lib.runner.run_context import RunContext

GREETING = 'greeting: str = "hello"  # what to say'


def write_cells(
    folder: Path,
    *sources: str,
    name: str = "01_test",
    parameters: str = GREETING,
    results: str = "",
) -> Path:
    """Write a notebook: a title, its parameters, a section, and a code cell for each source."""
    declared = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    title, section = new_markdown_cell("# 1. Test"), new_markdown_cell("## Work")
    cells = [title, declared, section, *map(new_code_cell, sources)]
    if results:
        cells.append(new_code_cell(results, metadata={"tags": ["results"]}))
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path


def run_path(
    path: Path, folder: Path, values: dict | None = None, **options: object
) -> NotebookRun:
    """Run a notebook with checked values; options are of its context, ``on_text``, …."""
    contract = read_contract(path)
    listeners = {name: options.pop(name) for name in ("on_progress", "on_text") if name in options}
    context = RunContext(folder, **{"env": dict(os.environ)} | options)
    return run_notebook(contract, contract.check(values or {}), context, **listeners)


def printed(run: NotebookRun) -> str:
    """Return what the cells of an executed notebook printed."""
    assert run.output, run.error
    cells = nbformat.read(run.output, as_version=4).cells
    return "".join(o.get("text", "") for c in cells for o in c.get("outputs", []))


def tag(path: Path, tags: object, *places: int) -> Path:
    """Tag the cells at these places of a notebook that :func:`write_cells` wrote: 0 is its first.

    The title, the parameters and the section are not counted.
    """
    notebook = nbformat.read(path, as_version=4)
    for place in places or range(len(notebook.cells) - 3):
        notebook.cells[3 + place].metadata["tags"] = tags
    nbformat.write(notebook, path)
    return path


def raised(run: NotebookRun) -> list[str]:
    """Return the error that each cell with code shows, as ``"Type: message"``; "" for none."""
    assert run.output, run.error
    cells = [c for c in nbformat.read(run.output, as_version=4).cells if c.cell_type == "code"]
    errors = ([o for o in c.outputs if o.output_type == "error"] for c in cells[1:])
    return [f"{e[0].ename}: {e[0].evalue}" if e else "" for e in errors]
