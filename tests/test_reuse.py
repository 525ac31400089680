"""A run in which nothing has changed: done without Prefect, from what an earlier run left."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.notebooks import run_path, write_cells
from taxi_lib import plan, settings
from taxi_lib.runner import cache
from taxi_lib.runner.references import Reference
from taxi_lib.runner.reuse import reuse_all
from taxi_lib.runner.steps import Step


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose notebook was run, and the run's record kept."""
    monkeypatch.setenv("TAXI_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    folder = tmp_path / "steps"
    folder.mkdir()
    path = write_cells(folder, "from taxi_lib.results import report_results; report_results(n=1)")
    (step,) = steps_in(folder)
    before = step.read_inputs()
    run = run_path(path, tmp_path / "runs" / "first")
    cache.keep(run, step.contract, before, tmp_path / "runs" / "first")
    return folder


def steps_in(folder: Path) -> list[Step]:
    return plan.make_plan(plan.Request(folder=folder)).steps


def reuse(folder: Path) -> dict[str, Any] | None:
    request = plan.Request(folder=folder).to_json()
    return reuse_all(steps_in(folder), None, settings.runs_dir() / "second", request)


def test_a_run_in_which_nothing_has_changed_leaves_what_every_run_leaves(fresh: Path):
    report = reuse(fresh)
    (run,) = report["notebooks"]
    assert (run["status"], run["results"]) == ("cached", {"n": 1})
    second = settings.runs_dir() / "second"
    assert {path.name for path in second.iterdir()} == {
        *("01_test.html", "01_test.ipynb", "01_test.json", "01_test.log"),
        *("summary.json", "index.html"),
    }
    assert (settings.runs_dir() / "latest").resolve() == second
    assert plan.Request.from_json(report["request"]) == plan.Request(folder=fresh)
    assert [reason for _, reason in plan.stale_reasons(plan.Request(folder=fresh))] == [""]


def test_prefect_is_needed_for_a_changed_notebook_and_where_its_server_is_named(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
        assert reuse(fresh) is None
    write_cells(fresh, "'changed'")
    assert reuse(fresh) is None
    assert not (settings.runs_dir() / "second").exists()


def test_a_value_that_does_not_fit_the_step_that_takes_it_is_left_to_the_run(fresh: Path):
    (step,) = steps_in(fresh)
    taker = replace(step, takes={"greeting": Reference("01_test", "n")})  # n is no text
    place = settings.runs_dir() / "second"
    assert reuse_all([step, taker], None, place, plan.Request(folder=fresh).to_json()) is None
