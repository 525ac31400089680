"""The walkthrough: the lessons, or any folder of notebooks, run as one Prefect flow."""

import os
import time
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any

from prefect import flow, get_client, get_run_logger, runtime
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import PositiveFloat, PositiveInt, WithJsonSchema

from taxi_lib import mlflow_store, settings
from taxi_lib.errors import TaxiError
from taxi_lib.flows import real_if_deployed, resolve_source
from taxi_lib.months import Source
from taxi_lib.plan import Plan, Request, make_plan
from taxi_lib.runner import console, contracts, live_run, masking, run_folder
from taxi_lib.runner.console import Board
from taxi_lib.runner.live_run import LiveRun
from taxi_lib.runner.run_context import RunContext
from taxi_lib.runner.tasks import run_side_by_side
from taxi_lib.services.processes import RUN_TAG, run_tag


def _form() -> dict[str, Any]:
    """Return what Prefect's page asks for: the parameters of all lessons."""
    try:
        return contracts.form(contracts.find_notebooks())
    except TaxiError:
        return {"type": "object"}  # a broken lesson is refused when someone runs it


@flow(task_runner=ThreadPoolTaskRunner())
def walkthrough(
    notebooks: list[str] | None = None,
    parameters: Annotated[dict[str, Any], WithJsonSchema(_form())] | None = None,
    source: Source = "auto",
    run_dir: Path | None = None,
    folder: Path | None = None,
    jobs: PositiveInt | None = None,
    force: bool = False,
    cell_seconds: PositiveFloat = 900,
    notebook_seconds: PositiveFloat = 3600,
    stream: bool = False,
    work_beside: bool = False,
) -> dict[str, Any] | State:
    """Run the lessons, each with its parameters, and sum up what came of them.

    A notebook is not run again when its code, parameters, library, packages, data and files are
    as they were.

    Parameters
    ----------
    notebooks : list of str, optional
        Names or numbers, such as ``["01", "06"]``; all when left out.
    parameters : dict, optional
        Values by name; each notebook is given those that it takes.
    source : {"auto", "local", "tlc", "synthetic"}
        Where the months come from; decided once, for every notebook. A run that a deployment
        started makes none up unless it is asked to (``synthetic``).
    run_dir : pathlib.Path, optional
        Where the executed notebooks go; a new folder under ``runs/`` when left out.
    folder : pathlib.Path, optional
        Where the notebooks are; the workbook's lessons when left out.
    jobs : int, optional
        How many run side by side. When left out, as many as there are cores; in a folder of
        your own one at a time, because one may read what another writes.
    force : bool
        Run also what has not changed.
    cell_seconds, notebook_seconds : float
        How long one cell, and one notebook, may take.
    stream : bool
        Show what the cells print.
    work_beside : bool
        Let each notebook work in its own folder, not in the run's: relative paths are found,
        but what it reads is unknown, so it is always run and never reused.

    Returns
    -------
    dict
        The summary, as ``summary.json`` in the run folder holds it; the flow's state is
        failed when a notebook failed, after all have been tried.

    Raises
    ------
    ContractError, DataError
        When a notebook, a value or a month is refused, before any kernel starts.
    """
    started = time.monotonic()
    request = Request(
        notebooks=notebooks,
        parameters=parameters or {},
        source=source,
        folder=folder,
        jobs=jobs,
        cell_seconds=cell_seconds,
        notebook_seconds=notebook_seconds,
        stream=stream,
        work_beside=work_beside,
    )
    plan = make_plan(request, _find_months)
    _check_secrets(plan)
    target, jobs = plan.run_folder(run_dir), jobs or (1 if folder else _cores())
    api, tag = _server(), run_tag(os.environ, token_hex(4))
    _clean_up(api)
    env = os.environ | settings.environment() | _threads(jobs)
    context = RunContext(
        folder=target,
        env=env | {"PREFECT_API_URL": api, RUN_TAG: tag},
        cell_seconds=cell_seconds,
        notebook_seconds=notebook_seconds,
        work_beside=work_beside,
        board=Board(stream),
    )
    this = LiveRun(str(target), tag, str(runtime.flow_run.id), api)
    with live_run.registered(this), run_folder.recorded(target, request.to_json()):
        runs = run_side_by_side(plan.steps, context, jobs, force)
        outcome = run_folder.finish(runs, plan.data_source, time.monotonic() - started, target)
    create_table_artifact(
        key="walkthrough-summary", description=outcome["status"], table=console.rows(outcome)
    )
    failures = console.failures(outcome)
    return Failed(message=failures, data=outcome) if failures else outcome


def _find_months(months: list[str], source: Source) -> tuple[Source, str | None]:
    return resolve_source(months, source) if months else (real_if_deployed(source), None)


def _check_secrets(plan: Plan) -> None:
    """Refuse a secret that is not there before any notebook runs."""
    for step in plan.steps:
        for name, where in step.contract.references(step.values).items():
            masking.resolve_secret(name, where)


def _clean_up(api: str) -> None:
    for crashed in live_run.recover(api):
        get_run_logger().warning("Cleaned up after a run that was killed: %s", crashed.folder)
    for change in mlflow_store.move_out():
        get_run_logger().warning(change)


def _server() -> str:
    # For the kernels, so that the lessons' flows appear beside this one.
    with get_client(sync_client=True) as client:
        return str(client.api_url).rstrip("/")


def _cores() -> int:
    """Return how many cores this process may use; on macOS, how many there are."""
    mine = getattr(os, "sched_getaffinity", None)
    return len(mine(0)) if mine else os.cpu_count() or 1


def _threads(jobs: int) -> dict[str, str]:
    """Return how many threads each kernel may use: all kernels together, as many as cores."""
    each = max(1, _cores() // jobs)
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(each))}
