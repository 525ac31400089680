from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import Task, flow

from taxi_lib import flows, models
from taxi_lib.errors import MissingMonthError, UnreachableError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]
WriteMonth = Callable[..., Path]


def test_the_training_flow_returns_rows_and_rmse(
    write_month: WriteMonth, monkeypatch: pytest.MonkeyPatch
):
    write_month("2021-01")
    write_month("2021-02")
    monkeypatch.setitem(models.COURSE_PARAMETERS, "n_estimators", 3)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    outcome = flows.train_duration_model("2021-01", "2021-02", source="local")
    assert outcome.pop("xgboost_rmse") < 15
    assert outcome == {"data_source": "local", "train_rows": 5, "val_rows": 5}


def test_the_same_month_twice_fails_the_flow_before_any_task():
    state = flows.train_duration_model("2021-01", "2021-01", return_state=True)
    assert state.is_failed()
    assert "train_month and val_month are both 2021-01" in state.message


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
