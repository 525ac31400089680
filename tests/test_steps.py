"""The notebooks that lessons 13 and 14 run as steps: two that stand alone, and their twins."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat import NotebookNode
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from support import ROOT

STEPS = ROOT / "notebooks" / "steps"
NAMES = ["01_count_trips.ipynb", "02_train.ipynb"]
EVERY_STEP = pytest.mark.parametrize("path", sorted(STEPS.rglob("*.ipynb")), ids=str)


def cells_of(path: Path) -> list[NotebookNode]:
    return nbformat.read(path, as_version=4).cells


def test_each_step_has_a_twin_with_a_contract():
    found = [path.relative_to(STEPS).as_posix() for path in sorted(STEPS.rglob("*.ipynb"))]
    assert found == [f"{pair}/{name}" for pair in ("plain", "with_contracts") for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_twins_differ_only_in_what_they_take_import_and_promise(name: str):
    plain, contract = (cells_of(STEPS / pair / name) for pair in ("plain", "with_contracts"))
    assert [cell.id for cell in plain] == [cell.id for cell in contract]
    differ = [a.id for a, b in zip(plain, contract, strict=True) if a.source != b.source]
    assert differ == ["parameters", "imports", "results"]


@EVERY_STEP
def test_a_step_has_both_tags_and_no_outputs(path: Path):
    cells = cells_of(path)
    assert [tag for cell in cells for tag in cell.metadata.get("tags", [])] == [
        "parameters",
        "results",
    ]
    for cell in (cell for cell in cells if cell.cell_type == "code"):
        assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.slow
def test_plain_steps_run_by_bare_papermill_and_print_their_results(
    write_month: Callable[..., Path], tmp_path: Path
):
    train, val = str(write_month("2021-01")), str(write_month("2021-02"))
    given = [{"trips_file": train}, {"train_file": train, "val_file": val, "most_miles": 10.0}]
    printed = []
    for name, values in zip(NAMES, given, strict=True):
        step = STEPS / "plain" / name
        assert "taxi_lib" not in step.read_text(encoding="utf-8")
        executed = papermill.execute_notebook(step, tmp_path / name, values, progress_bar=False)
        printed.append(json.loads(executed.cells[-1].outputs[0].text))
    assert printed[0] == {"trips": 5, "most_miles": 5.0}
    assert printed[1]["train_trips"] == 5 and 0 < printed[1]["rmse"] < 60


def test_papermill_writes_a_name_into_the_notebook_as_code():
    """Lesson 14 says so."""
    notebook = load_notebook_node(str(STEPS / "plain" / NAMES[0]))
    cells = parameterize_notebook(notebook, {"print(1); x": 1}).cells
    assert "print(1); x = 1" in "\n".join(cell.source for cell in cells)


def test_the_file_that_lesson_13_writes_is_well_formed():
    """It is written in parts, which no formatter sees as a whole."""
    (lesson,) = (ROOT / "notebooks").glob("13_*.ipynb")
    parts = [cell.source for cell in cells_of(lesson) if "pipeline.py" in cell.source[:60]]
    text = "\n".join(re.sub(r"\A%%writefile.*\n", "", part) for part in parts)
    assert "taxi_lib" not in text and max(map(len, text.splitlines())) <= 100
    compile(text, "pipeline.py", "exec")
