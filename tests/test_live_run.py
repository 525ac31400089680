"""Which runs are live, which have crashed, and what is cleaned up after those."""

import json
from pathlib import Path

import pytest

from support.refusals import refused
from taxi_lib import settings
from taxi_lib.errors import ContractError
from taxi_lib.runner.live_run import LiveRun, recover, registered, registered_runs

NO_SERVER = "http://127.0.0.1:9/api"


@pytest.fixture
def run(runs_dir: Path) -> LiveRun:
    return LiveRun(str(runs_dir / "one"), "one-12345678")


def leave(run: LiveRun) -> None:
    """Register a run that is interrupted."""
    with pytest.raises(KeyboardInterrupt), registered(run):
        raise KeyboardInterrupt


def test_a_run_is_registered_while_it_lives(run: LiveRun):
    with registered(run):
        assert registered_runs() == [run]
        assert recover(NO_SERVER) == []
    assert registered_runs() == []


@pytest.mark.slow  # it waits three seconds for the other run
def test_a_folder_has_one_live_run(run: LiveRun):
    refusal = refused(ContractError, run.folder, "wait for it, or choose another")
    with registered(run), refusal, registered(run):
        pass


def test_runs_in_other_folders_live_side_by_side(run: LiveRun):
    other = run._replace(folder=f"{run.folder}-too")
    with registered(run), registered(other):
        assert sorted(registered_runs()) == [run, other]


def test_a_run_that_was_interrupted_has_crashed_until_it_is_cleaned_up_after(run: LiveRun):
    leave(run)
    assert registered_runs() == [run]
    assert recover(NO_SERVER) == [run]
    assert registered_runs() == recover(NO_SERVER) == []


def test_the_flow_run_that_was_started_again_is_not_called_crashed(
    run: LiveRun, monkeypatch: pytest.MonkeyPatch
):
    crashed = []
    monkeypatch.setattr(
        "taxi_lib.runner.live_run.crash", lambda api, id: crashed.extend(id["any_"])
    )
    again, other = run._replace(flow_run="again"), LiveRun(f"{run.folder}-too", "two", "other")
    leave(again)
    leave(other)
    assert {each.flow_run for each in recover(NO_SERVER, "again")} == {"again", "other"}
    assert crashed == ["other"]


def test_a_folder_can_be_used_again_after_a_crash(run: LiveRun):
    leave(run)
    with registered(run):
        assert registered_runs() == [run]
    assert registered_runs() == []


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"folder": "x", "other": 1}'])
def test_what_is_no_record_of_a_run_is_passed_over(run: LiveRun, content: str):
    leave(run)
    (record,) = (settings.runs_dir() / ".running").glob("*.json")
    record.write_text(content)
    assert registered_runs() == recover(NO_SERVER) == []


def test_the_summary_of_a_crashed_run_calls_it_interrupted(run: LiveRun):
    summary = {"status": "running", "folder": run.folder, "request": {}, "notebooks": []}
    path = Path(run.folder) / "summary.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(summary))
    leave(run)
    assert recover(NO_SERVER) == [run]
    assert json.loads(path.read_text())["status"] == "interrupted"
    assert recover(NO_SERVER) == []
