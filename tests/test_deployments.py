"""The deployments of prefect.yaml, each proven by a run: a real server and a real worker."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

from support import ROOT
from support.notebooks import write_cells
from taxi_lib.services import process_worker
from taxi_lib.services.commands import shell
from taxi_lib.services.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def runs(
    prefect_api: str,
    write_month: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[dict[str, FlowRun]]:
    """Deploy all, and run each with parameters of its own by a worker in another folder."""
    for month in ("2020-12", "2021-01", "2021-02"):
        write_month(month)
    write_cells(tmp_path, "print(greeting)", name="01_greets")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    quick = {"source": "local", "boost_rounds": 3}
    wanted = {
        "walkthrough/walkthrough": {
            "folder": str(tmp_path),
            "parameters": {"greeting": "good day"},
            "run_dir": str(tmp_path / "walkthrough"),
        },
        "train-duration-model/train_duration_model": quick | {"val_month": "2020-12"},
        "backfill/backfill": quick | {"first_month": "2021-01", "last_month": "2021-02"},
    }

    with process_worker("taxi"):
        shell("prefect --no-prompt deploy --all", cwd=ROOT, show=False)
        with get_client(sync_client=True) as client:
            started = {
                name: run_deployment(name, parameters=parameters, timeout=0)
                for name, parameters in wanted.items()
            }

            def ended() -> dict[str, FlowRun]:
                now = {name: client.read_flow_run(run.id) for name, run in started.items()}
                return now if all(run.state.is_final() for run in now.values()) else {}

            yield wait_for(ended, seconds=500, pause=2)


def test_every_deployment_runs_from_another_folder(runs: dict[str, FlowRun], tmp_path: Path):
    assert {name: run.state.name for name, run in runs.items()} == dict.fromkeys(runs, "Completed")
    summary = json.loads((tmp_path / "walkthrough" / "summary.json").read_text())
    assert [run["status"] for run in summary["notebooks"]] == ["completed"]
    with get_client(sync_client=True) as client:
        deployments = {deployment.name: deployment for deployment in client.read_deployments()}
    assert {name.split("/")[1] for name in runs} <= set(deployments)
    (monthly,) = deployments["train_duration_model"].schedules
    assert (monthly.schedule.cron, monthly.schedule.timezone) == ("0 9 3 * *", "UTC")
    assert monthly.active is False
    (step,) = deployments["train_duration_model"].pull_steps
    assert list(step.values()) == [{"directory": str(ROOT)}]
    assert list((tmp_path / "elsewhere").iterdir()) == []
