"""The walkthrough: the lessons, or any folder of notebooks, run as one Prefect flow."""

import os
import time
from functools import partial
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
from taxi_lib.errors import ContractError, TaxiError
from taxi_lib.flows import real_if_deployed, settle_source
from taxi_lib.months import Source
from taxi_lib.plan import given_to, inputs_now, source_of
from taxi_lib.runner import console, contracts, live_run, masking, run_folder
from taxi_lib.runner.console import Board
from taxi_lib.runner.live_run import Ongoing, registered
from taxi_lib.runner.run_context import RunContext
from taxi_lib.runner.tasks import Step, run_side_by_side
from taxi_lib.services.processes import RUN_TAG, run_tag


def _form() -> dict[str, Any]:
    """Return what Prefect's page asks for: the parameters of all lessons."""
    try:
        return contracts.form(contracts.find_notebooks())
    except TaxiError:
        return {"type": "object"}  # a broken lesson is told when it is to be run


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

    A notebook whose code, parameters, library, packages and data are as they were, and whose
    files are intact, is not run again.

    Parameters
    ----------
    notebooks : list of str, optional
        Names or numbers, such as ``["01", "06"]``; all when left out.
    parameters : dict, optional
        Values by name; each notebook is given those that it takes.
    source : {"auto", "local", "tlc", "synthetic"}
        Where the months come from; decided once, for every notebook. A run that a deployment
        started makes none up unless it is told to (``synthetic``).
    run_dir : pathlib.Path, optional
        Where the executed notebooks go; a new folder under ``runs/`` when left out.
    folder : pathlib.Path, optional
        Where the notebooks are, run in the order of the numbers in their names; the workbook's
        lessons when left out.
    jobs : int, optional
        How many run side by side. When left out, as many as there are cores; of a folder of
        your own one at a time, for one may read what another writes.
    force : bool
        Run also what has not changed.
    cell_seconds, notebook_seconds : float
        How long one cell, and one notebook, may take.
    stream : bool
        Show what the cells print.
    work_beside : bool
        Let each notebook work where it lies, not in the folder of the run: relative paths are
        found, but nobody knows what it reads, so it is always run, and not reused later.

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
    request = _request(dict(runtime.flow_run.parameters))
    lessons, given, source, made_by = _plan(notebooks, parameters or {}, source, folder)
    asked = [(lesson, given_to(lesson, given, source)) for lesson in lessons]
    target, jobs = run_folder.run_folder(run_dir), jobs or (1 if folder else _cores())
    api, tag = _server(), run_tag(os.environ, token_hex(4))
    for dead in live_run.recover(api):
        get_run_logger().warning("Cleaned up after a run that was killed: %s", dead.folder)
    for change in mlflow_store.move_out():
        get_run_logger().warning(change)
    env = os.environ | settings.environment() | _threads(jobs)
    context = RunContext(
        folder=target,
        env=env | {"PREFECT_API_URL": api, RUN_TAG: tag},
        cell_seconds=cell_seconds,
        notebook_seconds=notebook_seconds,
        work_beside=work_beside,
        board=Board(stream),
    )
    if target in {lesson.path.resolve().parent for lesson in lessons}:
        raise ContractError(f"{target} holds the notebooks themselves: choose another --run-dir.")
    run_folder.check_folder(target)
    this = Ongoing(str(target), tag, str(runtime.flow_run.id), api)
    with registered(this), run_folder.told(target, request):
        steps = [_step(lesson, values, made_by == "synthetic") for lesson, values in asked]
        runs = run_side_by_side(steps, context, jobs, force)
        outcome = run_folder.write(runs, made_by, time.monotonic() - started, target, request)
    create_table_artifact(
        key="walkthrough-summary", description=outcome["status"], table=console.rows(outcome)
    )
    failures = console.failures(outcome)
    return Failed(message=failures, data=outcome) if failures else outcome


def _plan(
    notebooks: list[str] | None, given: dict[str, Any], source: Source, folder: Path | None
) -> tuple[list[contracts.Contract], dict[str, Any], Source, str | None]:
    """Return what to run, with which values, and where the months come from; or refuse."""
    lessons = contracts.find_notebooks(notebooks or (), folder)
    contracts.check_request(lessons, given)
    for lesson in lessons:
        for name, where in lesson.references(given).items():
            masking.reveal(name, where)
    months = [m for lesson in lessons for m in lesson.months(given, needed=True).values()]
    source, made_by = real_if_deployed(source_of(lessons, given, source)), None
    if months:
        source, made_by = settle_source(list(dict.fromkeys(months)), source)
    return lessons, given, source, made_by


def _step(lesson: contracts.Contract, given: dict[str, Any], made_up: bool) -> Step:
    values = lesson.check(given)
    return Step(lesson, values, partial(inputs_now, lesson, values, made_up))


def _server() -> str:
    # The lessons' own flows appear on the server that this very run is recorded on.
    with get_client(sync_client=True) as client:
        return str(client.api_url).rstrip("/")


def _cores() -> int:
    """Return how many cores this process may use; macOS tells only how many there are."""
    mine = getattr(os, "sched_getaffinity", None)
    return len(mine(0)) if mine else os.cpu_count() or 1


def _threads(jobs: int) -> dict[str, str]:
    """Return how many threads each kernel may use: more than cores would only wait."""
    each = max(1, _cores() // jobs)
    # Linear algebra adds up in another order with another number of threads: always the same one.
    ours = {"OMP_NUM_THREADS": str(each), "OPENBLAS_NUM_THREADS": "1"}
    return {name: os.environ.get(name, count) for name, count in ours.items()}


def _request(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what was asked for, as a later ``--resume`` asks for it again."""
    left_out = ("run_dir", "force")
    plain = {name: value for name, value in parameters.items() if name not in left_out}
    return {name: str(v) if isinstance(v, Path) else v for name, v in plain.items()}
