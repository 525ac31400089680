from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import mlflow
import numpy as np
import pandas as pd
import pytest
from prefect import Task, flow

from taxi_lib import flows, tracking
from taxi_lib.errors import MissingMonthError, UnreachableError
from taxi_lib.trips import sources
from taxi_lib.walkthrough import walkthrough

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]
WriteMonth = Callable[..., Path]


def test_the_training_flow_returns_rows_and_rmse(
    write_month: WriteMonth, monkeypatch: pytest.MonkeyPatch
):
    write_month("2021-01")
    write_month("2021-02", PULocationID=[74, 1, 1, 41, 42])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    outcome = flows.train_duration_model("2021-01", "2021-02", "local", boost_rounds=100)
    # 14.1 minutes is what the mean alone is off by, for 10, 20, 30, 40 and 50 minutes.
    assert outcome.pop("xgboost_rmse") < 0.9 * np.std([10, 20, 30, 40, 50])
    rows = {"train_rows": 5, "val_rows": 5, "unseen_trips": 2}
    assert outcome == {"data_source": "local"} | rows
    (run,) = mlflow.search_runs(experiment_names=[tracking.EXPERIMENT], output_format="list")[:1]
    assert run.data.metrics["unseen_trips"] == 2


def test_the_same_month_twice_fails_the_flow_before_any_task():
    state = flows.train_duration_model("2021-01", "2021-01", return_state=True)
    assert state.is_failed()
    assert "train_month and val_month are both 2021-01" in state.message


@pytest.fixture
def deployed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the flows find that a deployment started them, and no network."""
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", str(uuid4()))
    monkeypatch.setattr(flows, "fetch_data", flows.fetch_data.with_options(retries=0))


@pytest.mark.parametrize(
    "start",
    [
        lambda **options: flows.train_duration_model("2021-01", "2021-02", **options),
        lambda **options: flows.backfill("2021-02", "2021-03", **options),
        lambda **options: walkthrough(["01"], **options),
        lambda **options: walkthrough(["01"], {"source": "auto"}, **options),
    ],
    ids=["training", "backfill", "walkthrough", "walkthrough with a parameter"],
)
def test_what_a_deployment_starts_makes_no_months_up(deployed: None, start: Callable):
    state = start(return_state=True)
    assert state.is_failed() and "cannot be reached: put the file there" in state.message


def test_what_a_deployment_starts_makes_months_up_when_it_is_told_to(deployed: None):
    assert fetch_source("synthetic") == ("synthetic", "synthetic")


def test_what_a_deployment_starts_takes_no_made_up_month_for_a_real_one(
    deployed: None, data_dir: Path
):
    path = sources.fetch_months("2021-01", source="synthetic")[0].path
    (data_dir / path.name).write_bytes(path.read_bytes())
    state = fetch_source("auto", return_state=True)
    assert state.is_failed() and "holds made-up trips" in state.message


@flow
def fetch_source(source: str) -> tuple[str, str]:
    return flows.resolve_source(["2021-01"], source)


@flow
def fetch_and_see(fetch_data: Task) -> bool:
    return fetch_data(["2021-01"], "tlc", return_state=True).is_failed()


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (UnreachableError("the network is down"), 3),
        (OSError("the disk is busy"), 3),
        (MissingMonthError("HTTP 404"), 1),
    ],
)
def test_only_what_may_pass_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int
):
    calls = []

    def fetch(*months: str, source: str) -> list:
        calls.append(months)
        raise error

    monkeypatch.setattr(flows.sources, "fetch_months", fetch)
    assert fetch_and_see(flows.fetch_data.with_options(retry_delay_seconds=0))
    assert len(calls) == tries


def test_a_backfill_has_a_row_a_month_each_trained_on_the_month_before(write_month: WriteMonth):
    for month in ("2020-12", "2021-01", "2021-02"):
        write_month(month)
    rows = flows.backfill("2021-01", "2021-02", "local", boost_rounds=3)
    assert [(row["train_month"], row["val_month"]) for row in rows] == [
        ("2020-12", "2021-01"),
        ("2021-01", "2021-02"),
    ]
    assert {row["state"] for row in rows} == {"Completed"}
    assert {row["train_rows"] for row in rows} == {5}


def test_a_backfill_goes_on_after_a_month_that_failed_and_ends_failed(write_month: WriteMonth):
    write_month("2020-12")
    write_month("2021-01", lpep_dropoff_datetime=pd.Timestamp("2021-01-09"))  # rides of days
    for month in ("2021-02", "2021-03"):
        write_month(month)
    state = flows.backfill("2021-01", "2021-03", "local", boost_rounds=3, return_state=True)
    rows = state.result(raise_on_failure=False)
    assert state.is_failed() and state.message.startswith("2 of 3 months failed: 2021-01")
    assert [row["state"] for row in rows] == ["Failed", "Failed", "Completed"]


def test_a_backfill_that_ends_before_it_begins_is_refused():
    state = flows.backfill("2021-03", "2021-02", return_state=True)
    assert state.is_failed() and "last_month 2021-02 is before first_month 2021-03" in state.message
