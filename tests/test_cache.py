"""Records of runs: which is found again, and why not. No kernel runs here."""

from dataclasses import replace
from pathlib import Path

import pytest

from support.notebooks import write_cells
from taxi_lib import settings
from taxi_lib.runner import cache
from taxi_lib.runner.contracts import read_contract
from taxi_lib.runner.notebook_run import NotebookRun
from taxi_lib.runner.steps import Step, changes, clash


@pytest.fixture
def step(project: Path) -> Step:
    return Step(read_contract(write_cells(project, "1 + 1")), {})


def pretend(step: Step, folder: Path, **changes: object) -> NotebookRun:
    """Leave what a run of a notebook leaves, and keep its record."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {ending: folder / f"{step.name}.{ending}" for ending in ("ipynb", "html", "log")}
    files["ipynb"].write_text(step.contract.path.read_text())
    files["html"].write_text("<html>")
    files["log"].write_text("a line")
    paths = map(str, files.values())
    run = NotebookRun(step.name, "completed", 1.5, *paths, results={"rmse": 6.5})
    cache.keep(replace(run, **changes), step.contract, step.read_inputs(folder), folder)
    return run


def reason(step: Step) -> str:
    return step.find_record()[2]


def test_a_notebook_that_has_not_run_has_no_record(step: Step):
    assert reason(step) == "no good run yet"


def test_the_record_of_a_good_run_is_found(step: Step, tmp_path: Path):
    run = pretend(step, tmp_path / "runs" / "one")
    _, record, reason = step.find_record()
    assert (record.run, reason) == (run, "")
    assert record.versions["prefect"] and record.ended.endswith("+00:00")
    assert (tmp_path / "runs" / "one" / "01_test.json").is_file()


def test_a_run_that_failed_is_not_believed_and_says_so(step: Step, tmp_path: Path):
    pretend(step, tmp_path / "runs" / "one", status="failed", error="cell 4/4 · Work: no")
    assert reason(step) == "its last run failed"


def test_a_run_whose_inputs_changed_meanwhile_is_not_believed(step: Step, tmp_path: Path):
    pretend(step, tmp_path / "runs" / "one", changed="helpers")
    assert reason(step) == "helpers changed while it ran"


@pytest.mark.parametrize("ending", ["ipynb", "html", "log"])
def test_a_file_that_is_gone_or_changed_is_named(step: Step, tmp_path: Path, ending: str):
    run = pretend(step, tmp_path / "runs" / "one")
    path = Path(run.log).with_suffix(f".{ending}")
    path.write_text("other")
    assert reason(step) == f"01_test.{ending} was changed"
    path.unlink()
    assert reason(step) == f"01_test.{ending} is gone"


def test_a_changed_parameter_is_named_and_the_first_run_is_found_again(step: Step, tmp_path: Path):
    pretend(step, tmp_path / "runs" / "one")
    other = replace(step, values={"greeting": "good day"})
    assert reason(other) == "parameters (greeting)"
    pretend(other, tmp_path / "runs" / "two")
    assert (reason(step), reason(other)) == ("", "")


def test_what_a_value_does_not_change_is_no_input(step: Step, tmp_path: Path):
    step = replace(step, values={"greeting": "good day"}, no_inputs=frozenset({"greeting"}))
    pretend(step, tmp_path / "runs" / "one")
    assert reason(replace(step, values={"greeting": "hello"})) == ""


def test_changed_data_is_named(step: Step, tmp_path: Path):
    pretend(step, tmp_path / "runs" / "one")
    changed = replace(step, read_data=lambda _: {"trips.parquet": "another fingerprint"})
    assert reason(changed) == "data (trips.parquet)"


def test_a_record_of_a_store_that_is_gone_is_not_believed(
    step: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = tmp_path / "store.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
    store.touch()
    pretend(step, tmp_path / "runs" / "one")
    assert reason(step) == ""
    store.unlink()
    assert reason(step) == "the MLflow store is gone"


def test_a_notebook_of_the_same_name_elsewhere_has_records_of_its_own(step: Step, tmp_path: Path):
    pretend(step, tmp_path / "runs" / "one")
    (tmp_path / "other").mkdir()
    path = write_cells(tmp_path / "other", "1 + 2")
    assert reason(Step(read_contract(path), {})) == "no good run yet"


def test_a_run_that_is_used_again_is_copied(step: Step, tmp_path: Path):
    pretend(step, tmp_path / "runs" / "one")
    now, record, _ = step.find_record()
    (tmp_path / "two").mkdir()
    run = cache.reuse(record, step.contract, now, tmp_path / "two")
    assert (run.status, run.results) == ("cached", {"rmse": 6.5})
    for path in map(Path, run.files):
        assert path.parent == tmp_path / "two"
        assert path.read_bytes() == (tmp_path / "runs" / "one" / path.name).read_bytes()


def test_a_run_that_does_not_count_leaves_its_record_only_beside_its_files(
    step: Step, tmp_path: Path
):
    folder = tmp_path / "runs" / "one"
    run = pretend(step, folder)
    for kept in settings.runs_dir().glob(".records/*/*.json"):
        kept.unlink()
    cache.keep(run, step.contract, step.read_inputs(folder), folder, reusable=False)
    assert (folder / "01_test.json").is_file() and reason(step) == "no good run yet"


def test_what_changed_since_a_step_began_is_named(step: Step, tmp_path: Path):
    table = tmp_path / "table.csv"
    table.write_text("a")
    line = f'table: "Path" = {str(table)!r}  # what is read'
    path = write_cells(step.contract.path.parent, "1", name="02_table", parameters=line)
    reader = Step(read_contract(path), {"table": str(table)})
    before = reader.read_inputs()
    assert changes(before, reader.read_again(tmp_path)) == ""
    table.write_text("b")
    after = reader.read_again(tmp_path)
    assert changes(before, after) == f"data ({table})"
    beside = [("03_other", before)]
    assert clash(before, after, beside) == f"{table} changed while 03_other ran beside it"
    assert clash(before, after, []) == clash(before, before, beside) == ""


def test_a_notebook_that_is_gone_after_its_run_has_changed(step: Step, tmp_path: Path):
    before = step.read_inputs()
    step.contract.path.unlink()
    assert changes(before, step.read_again(tmp_path)) == "the notebook"
