"""The notebooks that lessons 13 and 14 run as steps: two that stand alone, two with contracts."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from nbformat import NotebookNode
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from support import ROOT
from taxi_lib.results import read_results
from taxi_lib.runner.contracts import read_contract
from taxi_lib.runner.references import link

STEPS = ROOT / "notebooks" / "steps"
NAMES = ["01_count_trips.ipynb", "02_train.ipynb"]
CHAIN = STEPS / "with_contracts"
EVERY_STEP = pytest.mark.parametrize("path", sorted(STEPS.rglob("*.ipynb")), ids=str)


def cells_of(path: Path) -> list[NotebookNode]:
    return nbformat.read(path, as_version=4).cells


def test_the_second_step_with_a_contract_takes_from_the_first():
    first, second = link([read_contract(CHAIN / "02_train.ipynb")])
    assert first.contract.path == CHAIN / "01_prepare.ipynb"
    assert {name: str(taken) for name, taken in second.takes.items()} == {
        "clean": "01_prepare.clean",
        "longest": "01_prepare.most_miles",
    }


@pytest.mark.slow
def test_steps_with_contracts_run_by_bare_papermill_one_after_the_other(
    write_month: Callable[..., Path], tmp_path: Path
):
    """As in JupyterLab, where the second one finds the file of the first by its default."""
    begin = pd.date_range("2021-01-15", periods=5, freq="3D")  # three of five in three weeks
    times = {"lpep_pickup_datetime": begin, "lpep_dropoff_datetime": begin + pd.Timedelta("10min")}
    given = [{"trips_file": str(write_month("2021-01", **times))}, {}]
    found: dict[str, object] = {}
    for name, values in zip(("01_prepare.ipynb", "02_train.ipynb"), given, strict=True):
        executed = papermill.execute_notebook(
            CHAIN / name, tmp_path / name, values, progress_bar=False, cwd=tmp_path
        )
        found |= read_results(executed)
    assert (found["trips"], found["clean"], found["train_trips"]) == (5, "clean.parquet", 3)


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
