"""The walkthrough: the lessons, or any folder of notebooks, run as one Prefect flow."""

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from threading import Event
from typing import Annotated, Any

from prefect import Flow, flow, get_client, get_run_logger, runtime, task
from prefect.artifacts import create_image_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import as_completed
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import PositiveFloat, PositiveInt, WithJsonSchema

from taxi_lib import mlflow_store, settings
from taxi_lib.atomic_files import write_bytes
from taxi_lib.errors import DataError, TaxiError
from taxi_lib.flows import real_if_deployed, resolve_source
from taxi_lib.months import Source
from taxi_lib.plan import Plan, Request, make_plan
from taxi_lib.runner import console, contracts, each_value, live_run, masking, run_folder
from taxi_lib.runner.artifacts import as_data_uri
from taxi_lib.runner.cluster import THREADS, Cluster, check_runner, cluster_of, cluster_of_flow
from taxi_lib.runner.console import Board, BoardPart
from taxi_lib.runner.live_run import LiveRun
from taxi_lib.runner.run_context import Once, RunContext
from taxi_lib.runner.tasks import run_side_by_side, stop_all
from taxi_lib.services.processes import RUN_TAG, run_tag


def _form(folder: Path | None = None) -> dict[str, Any]:
    """Return what Prefect's page asks for: the parameters of all notebooks of a folder."""
    try:
        return contracts.form(contracts.find_notebooks(folder=folder))
    except TaxiError:
        return {"type": "object"}  # a broken notebook is refused when someone runs it


@dataclass
class _Shared:
    """What the runs of one walkthrough share: one run, or one for each of some values."""

    board: Board
    tag: str
    several: bool = False
    at_once: int = 1
    once: Once | None = None
    cluster: Cluster | None = None
    stopping: Event = field(default_factory=Event)

    def part(self, value: str) -> "_Shared":
        """Return what the run for one value shares with the others."""
        return replace(self, board=BoardPart(self.board, value), several=True)


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
    each: str | None = None,
    runner: str = THREADS,
) -> dict[str, Any] | State:
    """Run the lessons, each with its parameters, and sum up what came of them.

    A notebook is not run again when its code, parameters, library, packages, data and files are
    as they were.

    Parameters
    ----------
    notebooks : list of str, optional
        Names or numbers, such as ``["01", "06"]``; all when left out.
    parameters : dict, optional
        Values by name; each notebook is given those that it takes. A month may be
        ``"previous"``: the one before this run was scheduled.
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
    each : str, optional
        A parameter and values, such as ``"month=2021-01..2021-06"`` or ``"rounds=5,10"``: the
        notebooks are run once for each value, as a flow run and a run folder of its own. One
        that fails does not stop the others.
    runner : str
        Where the kernels run: ``"threads"`` on this machine; ``"dask"`` in a Dask cluster that is
        started on it; or on the workers of the Dask scheduler at an address, such as
        ``"tcp://10.0.0.1:8786"``, which see the notebooks and the run's folder under the same
        paths. ``jobs`` is then as many as the workers can run, unless it is given.

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
        each=each,
        runner=runner,
    )
    return _start(request, run_dir, force)


def flow_over(folder: Path, name: str, usual: dict[str, Any]) -> Flow:
    """Return a flow that runs a folder of notebooks, and whose form asks for their parameters.

    Parameters
    ----------
    folder : pathlib.Path
        Where the notebooks are.
    name : str
        Of the flow.
    usual : dict
        The parameters when none are given.

    Returns
    -------
    prefect.Flow
        With ``parameters``, ``source``, ``each``, ``jobs`` and ``force`` of :func:`walkthrough`,
        and what it returns. It takes real months unless it is asked for others.
    """

    @flow(name=name, task_runner=ThreadPoolTaskRunner())
    def run_notebooks(
        parameters: Annotated[dict[str, Any], WithJsonSchema(_form(folder))] = usual,
        source: Source = "tlc",
        each: str | None = None,
        jobs: PositiveInt = 1,
        force: bool = False,
    ) -> dict[str, Any] | State:
        request = Request(None, parameters, source, folder, jobs, each=each)
        return _start(request, None, force)

    return run_notebooks


def _start(request: Request, run_dir: Path | None, force: bool) -> dict[str, Any] | State:
    """Run what the flow that calls this is asked for."""
    request = request.at(runtime.flow_run.scheduled_start_time)
    check_runner(request.runner)
    shared = _Shared(Board(request.stream), run_tag(os.environ, token_hex(4)))
    with cluster_of_flow() as own, cluster_of(request.runner, _jobs(request)) as asked_for:
        if cluster := asked_for or own:
            shared = replace(shared, cluster=cluster)
            request = replace(request, jobs=request.jobs or cluster.jobs())
        return (_run_each if request.each else _run)(request, run_dir, force, shared)


def _run(
    request: Request, run_dir: Path | None, force: bool, shared: _Shared
) -> dict[str, Any] | State:
    """Run the notebooks of a request once; return the summary, or a failed state with it."""
    started, plan = time.monotonic(), make_plan(request, _find_months)
    _check_secrets(plan)
    target, jobs, api = plan.run_folder(run_dir), _jobs(request), _server()
    if not shared.several:
        _clean_up(api)
    env = os.environ | settings.environment() | _threads(jobs * shared.at_once)
    tag = run_tag({RUN_TAG: shared.tag}, *([token_hex(4)] if shared.several else []))
    context = RunContext(
        folder=target,
        env=env | {"PREFECT_API_URL": api, RUN_TAG: tag},
        cell_seconds=request.cell_seconds,
        notebook_seconds=request.notebook_seconds,
        work_beside=request.work_beside,
        board=shared.board,
        stopping=shared.stopping,
        once=shared.once,
        cluster=shared.cluster,
    )
    this = LiveRun(str(target), tag, str(runtime.flow_run.id), api)
    with live_run.registered(this), run_folder.recorded(target, request.to_json()):
        runs = run_side_by_side(plan.steps, context, jobs, force)
        outcome = run_folder.finish(runs, plan.data_source, time.monotonic() - started, target)
    return _ended(outcome)


def _run_each(
    request: Request, run_dir: Path | None, force: bool, shared: _Shared
) -> dict[str, Any] | State:
    """Run the notebooks of a request once for each value; return the summary of all of them."""
    started, (name, requests) = time.monotonic(), request.one_by_one()
    requests, data_source = _with_one_source(requests)
    folder = run_folder.run_folder(run_dir)
    run_folder.check_folder(folder)
    _clean_up(api := _server())  # once, not by each run while the others begin
    this = LiveRun(str(folder), shared.tag, str(runtime.flow_run.id), api)
    shared = replace(shared, once=Once())
    with live_run.registered(this), run_folder.recorded(folder, request.to_json()):
        runs = _side_by_side(requests, folder, force, shared)
        if picture := each_value.trend(name, runs):
            write_bytes(folder / "trend.png", picture)
            create_image_artifact(as_data_uri(picture), key="walkthrough-trend")
        seconds = time.monotonic() - started
        outcome = run_folder.finish_each(name, runs, data_source, seconds, folder)
    return _ended(outcome)


def _ended(outcome: dict[str, Any]) -> dict[str, Any] | State:
    create_table_artifact(
        key="walkthrough-summary", description=outcome["status"], table=console.rows(outcome)
    )
    failures = console.failures(outcome)
    return Failed(message=failures, data=outcome) if failures else outcome


def _side_by_side(
    requests: dict[str, Request], folder: Path, force: bool, shared: _Shared
) -> list[dict[str, Any]]:
    """Run each request, as many at a time as there are jobs; return what came of them."""
    jobs = _jobs(next(iter(requests.values())))
    at_once = min(jobs, len(requests))
    shared = replace(shared, at_once=at_once)
    waiting, running, outcomes = dict(requests), {}, {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                value = next(iter(waiting))
                one = replace(waiting.pop(value), jobs=max(1, jobs // at_once))
                place = folder / each_value.folder_name(value)
                running[_run_value.submit(value, one, place, force, shared)] = (value, place)
            future = next(as_completed(list(running)))
            future.wait()
            value, place = running.pop(future)
            result = future.state.result(raise_on_failure=False)
            outcomes[value] = each_value.run_of(value, result, str(place))
    except BaseException:
        shared.stopping.set()
        stop_all(list(running), shared.tag, shared.cluster)
        raise
    return [outcomes[value] for value in requests]


@task(task_run_name="{value}", cache_policy=NO_CACHE, persist_result=False)
def _run_value(
    value: str, request: Request, run_dir: Path, force: bool, shared: _Shared
) -> dict[str, Any]:
    """Run the notebooks for one value, as a flow run of its own; return its summary."""

    @flow(name="walkthrough", flow_run_name=value, task_runner=ThreadPoolTaskRunner())
    def one(parameters: dict[str, Any], run_dir: Path) -> dict[str, Any] | State:
        return _run(replace(request, parameters=parameters), run_dir, force, shared.part(value))

    state = one(request.parameters, run_dir, return_state=True)
    outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _with_one_source(requests: dict[str, Request]) -> tuple[dict[str, Request], str | None]:
    """Find the months of all values once, so that all are real or all are made up.

    A month that cannot be had, or a bad one, fails only the run that needs it.
    """
    found = [request.months(request.link()) for request in requests.values()]
    months, source = list(dict.fromkeys(m for listed, _ in found for m in listed)), found[0][1]
    try:
        source, data_source = _find_months(months, source)
    except DataError as error:
        get_run_logger().warning("Not every month is there: %s", error)
        return requests, None
    return {v: replace(request, source=source) for v, request in requests.items()}, data_source


def _find_months(months: list[str], source: Source) -> tuple[Source, str | None]:
    return resolve_source(months, source) if months else (real_if_deployed(source), None)


def _check_secrets(plan: Plan) -> None:
    """Refuse a secret that is not there before any notebook runs."""
    for step in plan.steps:
        for name, where in step.contract.references(step.values).items():
            masking.resolve_secret(name, where)


def _clean_up(api: str) -> None:
    for crashed in live_run.recover(api, str(runtime.flow_run.id)):
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


def _jobs(request: Request) -> int:
    return request.jobs or (1 if request.folder else _cores())


def _threads(jobs: int) -> dict[str, str]:
    """Return how many threads each kernel may use: all kernels together, as many as cores."""
    each = max(1, _cores() // jobs)
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(each))}
