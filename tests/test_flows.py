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


def test_a_network_that_is_down_is_tried_again(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    tries = []

    def fetch(*months: str, source: str) -> list:
        tries.append(months)
        raise UnreachableError("cannot be reached")

    monkeypatch.setattr(flows.sources, "fetch_months", fetch)
    quick = flows.fetch_data.with_options(retry_delay_seconds=0)
    assert fetch_and_see(quick)
    assert len(tries) == 3


def test_a_bad_file_is_not_tried_again(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    tries = []

    def fetch(*months: str, source: str) -> list:
        tries.append(months)
        raise MissingMonthError("HTTP 404")

    monkeypatch.setattr(flows.sources, "fetch_months", fetch)
    assert fetch_and_see(flows.fetch_data)
    assert len(tries) == 1
