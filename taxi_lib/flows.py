"""The Prefect flows: the course's training pipeline, and the walkthrough of the lessons.

Only this module knows Prefect; what its tasks do are plain functions of the other modules.
"""

import os
import time
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock
from prefect import flow, get_client, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Failed
from prefect.tasks import Task

from taxi_lib import contracts, data, runner, settings, sources, summary
from taxi_lib.contracts import Contract
from taxi_lib.errors import UnreachableError
from taxi_lib.files import MonthFile
from taxi_lib.months import check_different, check_month
from taxi_lib.results import NotebookRun
from taxi_lib.settings import Source


def is_transient(task: Task, task_run: TaskRun, state: State) -> bool:
    """Tell whether trying again may help: a network or a disk can recover, a bad file cannot."""
    return isinstance(state.result(raise_on_failure=False), UnreachableError | OSError)


def connect() -> str:
    """Return the address of Prefect's API; start a private server if none is named."""
    # One process at a time: two that make Prefect's database at once trip over each other.
    lock = FileLock(settings.lock_file("prefect.lock"))
    with lock, get_client(sync_client=True) as client:
        return str(client.api_url).rstrip("/")


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=is_transient, cache_policy=NO_CACHE)
def fetch_data(months: list[str], source: Source) -> list[MonthFile]:
    """Find, download or make up the months; all real or all made up."""
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
    """Add the pair of zones; the rest of the features live in the model's pipeline."""
    from taxi_lib import features  # brings scikit-learn, which the walkthrough does without

    return features.add_pair(trips)


@task(cache_policy=NO_CACHE)
def train_best_model(train: pd.DataFrame, val: pd.DataFrame, tags: dict[str, str]) -> float:
    """Train the course's XGBoost, log the model that is scored, and return its RMSE in minutes."""
    import mlflow

    from taxi_lib import features, models, tracking

    tracking.use_store()
    # From a model in MLflow one finds the run in Prefect that made it, and the other way round.
    tags = tags | {"prefect_flow_run": str(runtime.flow_run.id)}
    with mlflow.start_run(run_name="train_best_model", tags=tags):
        mlflow.log_params(models.COURSE_PARAMETERS)
        model = models.course_model().fit(train[features.PAIR_COLUMNS], train["duration"])
        rmse = models.rmse(model, val)
        mlflow.log_metric("rmse", rmse)
        tracking.log_pipeline(model, val[features.PAIR_COLUMNS])
    return rmse


@flow(flow_run_name="train on {train_month}, validate on {val_month}")
def train_duration_model(
    train_month: str = "2021-01", val_month: str = "2021-02", source: Source = "auto"
) -> dict[str, Any]:
    """Train the course's model on one month and score it on another: the course's main flow.

    Parameters
    ----------
    train_month, val_month : str
        Such as ``"2021-01"``; two different months.
    source : {"auto", "local", "tlc", "synthetic"}
        Where the months come from.

    Returns
    -------
    dict
        ``data_source``, ``train_rows``, ``val_rows``, ``xgboost_rmse`` (minutes).
    """
    months = {"train_month": train_month, "val_month": val_month}
    check_different({what: check_month(month, what) for what, month in months.items()})
    files = fetch_data(list(months.values()), source)
    train, val = (add_features(read_data(file)) for file in files)
    rmse = train_best_model(train, val, {"data_source": files[0].source} | months)
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
        "xgboost_rmse": rmse,
    }


@task(task_run_name="{contract.name}", cache_policy=NO_CACHE)
def run_notebook(
    contract: Contract, parameters: dict[str, Any], folder: Path, env: dict[str, str]
) -> NotebookRun | State:
    """Run one lesson, telling each cell in the terminal and in the task's log."""
    logger = get_run_logger()

    def progress(line: str) -> None:
        logger.info(line)
        summary.say(line)

    run = runner.run_notebook(contract, parameters, folder, env, progress)
    return Failed(message=run.error, data=run) if run.error else run


@flow
def walkthrough(
    notebooks: list[str] | None = None,
    parameters: dict[str, Any] | None = None,
    source: Source = "auto",
    run_dir: Path | None = None,
) -> dict[str, Any] | State:
    """Run the lessons in order, each with its parameters, and sum up what came of them.

    Parameters
    ----------
    notebooks : list of str, optional
        Names or numbers, such as ``["01", "06"]``; all when left out.
    parameters : dict, optional
        Values by name; each notebook is given those that it takes.
    source : {"auto", "local", "tlc", "synthetic"}
        Where the months come from; decided once, for every notebook.
    run_dir : pathlib.Path, optional
        Where the executed notebooks go; a new folder under ``runs/`` when left out.

    Returns
    -------
    dict
        The summary, as ``summary.json`` in the run folder holds it; the flow's state is
        failed when a notebook failed, after all have been tried.

    Raises
    ------
    ContractError, DataError
        When something asked for cannot be had, before any kernel starts.
    """
    started = time.monotonic()
    given = parameters or {}
    lessons = contracts.find_notebooks(notebooks or ())
    contracts.check_request(lessons, given)
    months = [m for lesson in lessons for m in lesson.months(given, needed=True).values()]
    source = given.get("source", source)
    files = fetch_data(list(dict.fromkeys(months)), source) if months else []
    if files and files[0].source != "local":
        source = files[0].source  # one decision for every notebook
    folder = summary.run_folder(run_dir)
    # The lessons' own flows appear on the server that this very run is recorded on.
    env = os.environ | settings.environment() | {"PREFECT_API_URL": connect()}
    runs = []
    for lesson in lessons:
        values = lesson.check(given | {"source": source})
        state = run_notebook(lesson, values, folder, env, return_state=True)
        runs.append(_outcome(lesson, state))
    made_by = files[0].source if files else None
    report = summary.write(runs, made_by, time.monotonic() - started, folder)
    create_table_artifact(
        key="walkthrough-summary", description=report["status"], table=summary.rows(report)
    )
    failures = summary.failures(report)
    return Failed(message=failures, data=report) if failures else report


def _outcome(lesson: Contract, state: State) -> NotebookRun:
    """Return what came of a lesson, also when the task around it broke."""
    run = state.result(raise_on_failure=False)
    if isinstance(run, NotebookRun):
        return run
    return NotebookRun(lesson.name, "failed", error=f"{type(run).__name__}: {run}")
