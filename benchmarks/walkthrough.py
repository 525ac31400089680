"""All lessons: cold, unchanged, and with one changed, against papermill one after the other.

Papermill has Prefect's server running and its stores made before it begins; our run starts its own.
"""

import json
import os
import shutil
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell

from benchmarks.made_up import write_prints
from benchmarks.paired import Row, in_turn, main, own_workspace, program
from taxi_lib import settings
from taxi_lib.services import prefect_server

PAPERMILL = """
import os, pathlib, sys, papermill
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.ipynb")):
    output = pathlib.Path(os.environ["TAXI_RUNS_DIR"], path.name)
    papermill.execute_notebook(
        path, output, cwd=output.parent, kernel_name="python3", progress_bar=False
    )
"""
CHANGED = "05_first_flows"


def copy_lessons(folder: Path) -> Path:
    """Copy the lessons, because one is going to be changed; return their folder, which is new."""
    folder.mkdir()
    for path in settings.notebooks_dir().glob("[0-9]*.ipynb"):
        shutil.copy(path, folder)
    return folder


def by_papermill(folder: Path) -> float:
    """Return the seconds of a plain loop over the notebooks."""
    with own_workspace(), prefect_server():
        return program(["-c", PAPERMILL, folder]).seconds


def run(folder: Path) -> float:
    """Return the seconds of our run, as many notebooks at once as there are cores."""
    jobs = os.cpu_count() or 1
    return program(["-m", "taxi_lib", "run", "--folder", folder, "--jobs", jobs]).seconds


def change(path: Path) -> None:
    """Give a notebook one more cell."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(new_code_cell(f"print({len(notebook.cells)})"))
    nbformat.write(notebook, path)


def one_changed(path: Path) -> tuple[float, float]:
    """Return the seconds of a run with one changed notebook, and those of the notebook alone."""
    change(path)
    spent = run(path.parent)
    summary = json.loads((settings.runs_dir() / "latest" / "summary.json").read_text())
    statuses = {each["name"]: each["status"] for each in summary["notebooks"]}
    anew = [each for each in summary["notebooks"] if each["status"] == "completed"]
    if [each["name"] for each in anew] != [path.stem]:
        raise SystemExit(f"{path.stem} was changed, and this came of it: {statuses}")
    return spent, anew[0]["seconds"]


def measure(quick: bool) -> list[Row]:
    """Measure the cold run once, since it takes minutes, and what follows it some times."""
    with own_workspace() as base:
        folder = write_prints(base / "one", 1) if quick else copy_lessons(base / "lessons")
        lesson = folder / ("01_print.ipynb" if quick else f"{CHANGED}.ipynb")
        plain, cold = in_turn(1, lambda: by_papermill(folder), lambda: run(folder))
        rounds = 1 if quick else 5
        (again,) = in_turn(rounds, lambda: run(folder))
        changed, alone = zip(*(one_changed(lesson) for _ in range(rounds)), strict=True)
    what = "a small notebook" if quick else "all lessons"
    one = f"{what}, {lesson.stem} changed"
    return [
        Row(f"{what}, cold", "papermill, one by one", cold, plain, bound=0.6),
        Row(f"{what}, nothing changed", "the cold run", again, cold * rounds, bound=0.02),
        Row(one, "that notebook alone", list(changed), list(alone), "difference", bound=3),
    ]


if __name__ == "__main__":
    main(measure)
