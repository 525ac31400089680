"""The course's training pipeline as a Prefect flow, and a backfill for a range of months.

The tasks call plain functions of other modules, which do not use Prefect.
"""

from itertools import pairwise
from typing import Any

import pandas as pd
from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Failed
from prefect.tasks import Task
from pydantic import PositiveInt

from taxi_lib.errors import DataError, MissingMonthError, UnreachableError
from taxi_lib.months import Source, check_different, check_month, month_range, previous_month
from taxi_lib.trips import data, sources
from taxi_lib.trips.month_file import MonthFile


def is_transient(task: Task, task_run: TaskRun, state: State) -> bool:
    """Return whether a retry may help: a network or a disk can recover, a bad file cannot."""
    return isinstance(state.result(raise_on_failure=False), UnreachableError | OSError)


def real_if_deployed(source: Source) -> Source:
    """Return ``"tlc"`` for ``"auto"`` in a deployment's run, where nobody sees the banner."""
    if source != "auto" or not runtime.deployment.id:
        return source
    get_run_logger().info("A deployment started this run: source=auto takes real months or fails.")
    return "tlc"


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=is_transient, cache_policy=NO_CACHE)
def fetch_data(months: list[str], source: Source) -> list[MonthFile]:
    """Find, download or make up the months, which are all real or all synthetic."""
    files = sources.fetch_months(*months, source=source)
    for file in files:
        get_run_logger().info("%s: %s (%s)", file.month, file.path, file.source)
    return files


@task(retries=3, retry_delay_seconds=2, retry_condition_fn=is_transient, cache_policy=NO_CACHE)
def read_data(file: MonthFile) -> pd.DataFrame:
    """Read a month and clean it."""
    trips, report = data.read_trips(file)
    get_run_logger().info("Cleaning report:\n%s", report.to_frame())
    return trips


@task(cache_policy=NO_CACHE)
def add_features(trips: pd.DataFrame) -> pd.DataFrame:
    """Add the pair of zones; the other features are part of the model's pipeline."""
    from taxi_lib import features  # here, because the walkthrough does not need scikit-learn

    return features.add_pair(trips)


@task(cache_policy=NO_CACHE)
def train_best_model(
    train: pd.DataFrame, val: pd.DataFrame, tags: dict[str, str], boost_rounds: int = 100
) -> float:
    """Train the course's XGBoost, log the model that is scored, and return its RMSE in minutes."""
    import mlflow

    from taxi_lib import features, models, tracking

    tracking.use_store()
    # So that you find a model's flow run from MLflow's page.
    tags = tags | {"prefect_flow_run": str(runtime.flow_run.id)}
    with mlflow.start_run(run_name="train_best_model", tags=tags):
        mlflow.log_params(models.COURSE_PARAMETERS | {"n_estimators": boost_rounds})
        model = models.course_model(n_estimators=boost_rounds)
        model.fit(train[features.PAIR_COLUMNS], train["duration"])
        rmse = models.rmse(model, val)
        mlflow.log_metrics({"rmse": rmse, "unseen_trips": features.count_unseen(train, val)})
        tracking.log_pipeline(model, val[features.PAIR_COLUMNS])
    return rmse


@flow(flow_run_name="train on {train_month}, validate on {val_month}")
def train_duration_model(
    train_month: str = "2021-01",
    val_month: str = "2021-02",
    source: Source = "auto",
    boost_rounds: PositiveInt = 100,
) -> dict[str, Any]:
    """Train the course's model on one month and score it on another: the course's main flow.

    Parameters
    ----------
    train_month, val_month : str
        Such as ``"2021-01"``; two different months.
    source : {"auto", "local", "tlc", "synthetic"}
        Where the months come from; in a deployment's run ``auto`` means ``tlc``.
    boost_rounds : int
        Trees of the model; fewer are quicker and less accurate.

    Returns
    -------
    dict
        ``data_source``, ``train_rows``, ``val_rows``, ``unseen_trips`` (those of ``val_rows``
        whose pair of zones training never met), ``xgboost_rmse`` (minutes).
    """
    from taxi_lib import features

    source = real_if_deployed(source)
    months = {"train_month": train_month, "val_month": val_month}
    check_different({what: check_month(month, what) for what, month in months.items()})
    files = fetch_data(list(months.values()), source)
    train, val = (add_features(read_data(file)) for file in files)
    rmse = train_best_model(train, val, {"data_source": files[0].source} | months, boost_rounds)
    create_markdown_artifact(
        key="duration-model-report",
        description="Validation error of the course's XGBoost",
        markdown=f"# RMSE report\n\n| Validation month | RMSE (minutes) | Data |\n|---|---|---|\n"
        f"| {val_month} | {rmse:.2f} | {files[0].source} |\n",
    )
    return {
        "data_source": files[0].source,
        "train_rows": len(train),
        "val_rows": len(val),
        "unseen_trips": features.count_unseen(train, val),
        "xgboost_rmse": rmse,
    }


def resolve_source(months: list[str], source: Source) -> tuple[Source, str]:
    """Find the months once, so that all runs of a flow use real months or all use synthetic ones.

    Returns
    -------
    source, data_source
        The source for each run, and where the months came from.
    """
    source = real_if_deployed(source)
    found = fetch_data(months, source)[0].source
    return (source if found == "local" else found), found


@flow(flow_run_name="backfill {first_month} to {last_month}")
def backfill(
    first_month: str = "2021-02",
    last_month: str = "2021-02",
    source: Source = "auto",
    boost_rounds: PositiveInt = 100,
) -> list[dict[str, Any]] | State:
    """Run the training flow for each month of a range, trained on the month before it.

    Parameters
    ----------
    first_month, last_month : str
        The first and the last month to validate on, such as ``"2021-02"``.
    source : {"auto", "local", "tlc", "synthetic"}
        Where all the months come from; in a deployment's run ``auto`` means ``tlc``.
    boost_rounds : int
        Trees of each model.

    Returns
    -------
    list of dict
        For each month ``train_month``, ``val_month``, ``state``, and what the training flow
        returned, or ``error``. The flow's state is failed when a month failed.
    """
    months = month_range(first_month, last_month)
    with_first = [previous_month(first_month), *months]
    # A bad file makes only its own months fail.
    sound = [month for month in with_first if _is_sound(month, source)]
    source, _ = resolve_source(sound or with_first, source)
    rows = [_train(*pair, source, boost_rounds) for pair in pairwise(with_first)]
    create_table_artifact(key="backfill", table=rows, description="One training run a month")
    draw_trend([row for row in rows if row["state"] == "Completed"])
    failed = [f"{row['val_month']}: {row['error']}" for row in rows if "error" in row]
    message = f"{len(failed)} of {len(rows)} months failed: {'; '.join(failed)}"
    return Failed(message=message, data=rows) if failed else rows


def _is_sound(month: str, source: Source) -> bool:
    try:
        sources.fetch_months(month, source=real_if_deployed(source))
    except MissingMonthError:
        return True  # missing, not bad
    except DataError:
        return False
    return True


def _train(train_month: str, val_month: str, source: Source, boost_rounds: int) -> dict[str, Any]:
    state = train_duration_model(train_month, val_month, source, boost_rounds, return_state=True)
    row = {"train_month": train_month, "val_month": val_month, "state": state.name}
    outcome = state.result(raise_on_failure=False)
    return row | (outcome if state.is_completed() else {"error": str(outcome)})


@task(cache_policy=NO_CACHE)
def draw_trend(rows: list[dict[str, Any]]) -> None:
    """Draw the error of each month, as an artifact."""
    from taxi_lib import plots

    if rows:
        months, errors = ([row[name] for row in rows] for name in ("val_month", "xgboost_rmse"))
        picture = plots.as_data_uri(plots.trend(months, errors))
        create_image_artifact(picture, key="backfill-trend", description="RMSE from month to month")
