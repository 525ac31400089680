"""What Prefect's server kept of a learner's run, and a learner's flow run once more."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from prefect import Flow, State, Task, get_client, tags
from prefect import flow_engine as engine
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import LogSort
from prefect.exceptions import ObjectNotFound
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import PREFECT_API_URL
from prefect.states import Scheduled

from taxi_lib.checks.answers import UnreadableError, shown

STOPPED = (
    "Prefect's server has stopped, and this answer is looked up there: set `keep = True` in the "
    "first cell, run all cells again, and then this one."
)
_MISTAKES = (NameError, AttributeError, TypeError, LookupError, ImportError)  # in the code itself
_PATIENCE = 6.0  # seconds without another task run; each needs a moment to reach the server
_PATIENCE_WITH_LOGS = 3.0  # seconds; a log reaches the server a moment after the run's state
_LAST_LINE = r"(?m)^Finished in state"


class Ended(NamedTuple):
    """How a flow ended that was run for a check."""

    run: FlowRun
    result: Any  # what it returned, or the exception that it raised


@contextmanager
def server() -> Iterator[SyncPrefectClient]:
    """Yield a client of the server that the lesson started.

    Raises
    ------
    UnreadableError
        When it has stopped. Prefect's client would start a private one instead.
    """
    address = PREFECT_API_URL.value()
    try:
        httpx.get(f"{address}/health", timeout=30).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL):
        raise UnreadableError(STOPPED) from None
    with get_client(sync_client=True) as client:
        yield client


def flow_run(answer: object) -> FlowRun:
    """Return what the server kept of a flow run that has ended.

    Parameters
    ----------
    answer : object
        Its state, as ``return_state=True`` gives it, or its id.

    Raises
    ------
    UnreadableError
        When the answer names no flow run, or one that is not on the server or has not ended.
    """
    run_id = _run_id(answer)
    with server() as client:
        try:
            run = client.read_flow_run(run_id)
        except ObjectNotFound:
            raise UnreadableError(
                f"The server knows no flow run {run_id}: was it started before the server was?"
            ) from None
    if not run.state or not run.state.is_final():
        raise UnreadableError(f"The flow run {run.name} has not ended yet: run the cell later.")
    return run


def deployment(deployment_id: UUID | None) -> DeploymentResponse:
    """Return a deployment as the server has it now.

    Raises
    ------
    UnreadableError
        When there is none of this id, or the run that it was taken from belongs to none.
    """
    if deployment_id is None:
        raise UnreadableError(
            "This run belongs to no deployment: was the flow called in the notebook? Ask for a run "
            "of the deployment, with `run_deployment` or `prefect deployment run`."
        )
    with server() as client:
        try:
            return client.read_deployment(deployment_id)
        except ObjectNotFound:
            raise UnreadableError(
                f"The server has no deployment {deployment_id} any more: run all cells again."
            ) from None


def a_worker_completed(run: FlowRun) -> bool:
    """Return whether a process of a worker ran it to its end; a state alone can be set by hand."""
    return run.state.is_completed() and bool(run.infrastructure_pid) and run.run_count > 0


def log_of(run: FlowRun, pattern: str) -> str:
    """Return the log of a flow run that has ended, once a pattern is in it or no more will come."""
    return "\n".join(_messages(run, pattern, _PATIENCE_WITH_LOGS))


def _messages(run: FlowRun, pattern: str, patience: float) -> list[str]:
    this = filters.LogFilter(flow_run_id=filters.LogFilterFlowRunId(any_=[run.id]))
    since = time.monotonic()
    with server() as client:
        while True:
            lines = client.read_logs(this, sort=LogSort.TIMESTAMP_ASC)
            messages = [line.message for line in lines]
            waited = time.monotonic() - since
            if re.search(pattern, "\n".join(messages)) or waited > patience:
                return messages
            time.sleep(0.2)


def _run_id(answer: object) -> UUID:
    found = answer
    if type(answer) is State:
        found = answer.state_details.flow_run_id
    elif type(answer) is FlowRun:
        found = answer.id
    elif type(answer) is str:
        try:
            found = UUID(answer)
        except ValueError:
            found = None
    if type(found) is not UUID:
        raise UnreadableError(
            f"The answer is {shown(answer)}; a flow run is asked for: the state that a flow called "
            "with `return_state=True` returns, the run that `run_deployment` returns, or its id."
        )
    return found


def task_runs(run: FlowRun, count: int = 1) -> list[TaskRun]:
    """Return the task runs of a flow run that has ended, in the order in which they began.

    Parameters
    ----------
    run : prefect.client.schemas.objects.FlowRun
        The flow run.
    count : int
        How many there should be: the server learns of them a moment later. When no more have come
        for some seconds, those that are there are returned.
    """
    this = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run.id]))
    before, since = -1, time.monotonic()
    with server() as client:
        while True:
            runs = client.read_task_runs(flow_run_filter=this)
            # What waits for a task that has failed stays NotReady.
            states = [one.state for one in runs if one.state]
            ended = sum(state.is_final() or state.name == "NotReady" for state in states)
            if ended != before:
                before, since = ended, time.monotonic()
            if ended >= max(count, len(runs)) or time.monotonic() - since > _PATIENCE:
                return sorted(runs, key=lambda one: one.start_time or one.created)
            time.sleep(0.2)


def failed_task(run: FlowRun, name: str, retries: int, seed: int) -> TaskRun:
    """Return the task run of an exercise, in which a service failed until no retry was left.

    Parameters
    ----------
    run : prefect.client.schemas.objects.FlowRun
        The learner's.
    name : str
        The function of the task.
    retries : int
        How many it is to have.
    seed : int
        Which makes the service of the exercise fail often enough.

    Raises
    ------
    UnreadableError
        When the run is another one.
    """
    # Its key begins with the function's name, whatever the run is called.
    found = [one for one in task_runs(run) if one.task_key.startswith(f"{name}-")]
    if not found:
        raise UnreadableError(f"The flow of this run has not called `{name}`.")
    had = found[-1].empirical_policy.retries
    if had != retries:
        raise UnreadableError(
            f"The task of this run had {had} retries, and not {retries}: is it the run of your own "
            f"flow, which calls `{name}.with_options(retries={retries})`?"
        )
    if "503" not in (found[-1].state.message or ""):
        raise UnreadableError(
            "In this run the service did not fail as the exercise says: start a new one for each "
            f"run, `with facts_api(failure_share=0.5, seed={seed}) as flaky:`."
        )
    if run.state_name == "Completed":
        raise UnreadableError(
            "The task of this run failed, and its flow did not look: call the task without "
            "`return_state=True`, and only the flow with it."
        )
    return found[-1]


def log(run: FlowRun) -> list[str]:
    """Return the lines of the log of a flow run that has ended.

    Raises
    ------
    UnreadableError
        When its last line, which comes a moment later, is not there yet.
    """
    messages = _messages(run, _LAST_LINE, 2 * _PATIENCE)
    if any(re.match(_LAST_LINE, message) for message in messages):
        return messages
    raise UnreadableError(
        f"The log of the flow run {run.name} is not complete on the server: run this cell again in "
        "a moment. If that does not help, start the run again."
    )


def states(run: TaskRun) -> list[State]:
    """Return every state of a task run that has ended, in order."""
    with server() as client:
        return sorted(client.read_task_run_states(run.id), key=lambda state: state.timestamp)


def flow(answer: object) -> Flow:
    """Return a flow that was written with ``def``; raise :class:`UnreadableError` otherwise."""
    if type(answer) is not Flow:
        raise UnreadableError(f"The answer is {shown(answer)}; a function below `@flow` is asked.")
    if answer.isasync:
        raise UnreadableError("The flow is written with `async def`; the check calls a plain one.")
    return answer


def task(answer: object) -> Task:
    """Return a task; raise :class:`UnreadableError` for anything else."""
    if type(answer) is not Task:
        raise UnreadableError(f"The answer is {shown(answer)}; a function below `@task` is asked.")
    return answer


def run_flow(answer: object, *arguments: object) -> Ended:
    """Run a learner's flow, without its log in the notebook, and return how it ended.

    Raises
    ------
    UnreadableError
        When it is no flow, or the server has stopped.
    Exception
        The flow's own, if it is a mistake in its code such as a name that is not defined.
    """
    learners = flow(answer)
    with server():  # before the flow is called, which would say the same in many words
        pass
    with _quiet(), tags("check"):
        return _ended(learners(*arguments, return_state=True))


def run_flow_due(answer: object, due: datetime) -> Ended:
    """Run a learner's flow as a run that was due at another time, and return how it ended.

    Raises
    ------
    UnreadableError
        When it is no flow, or the server has stopped.
    Exception
        The flow's own, if it is a mistake in its code such as a name that is not defined.
    """
    learners = flow(answer)
    with server() as client:
        planned = client.create_flow_run(
            learners, state=Scheduled(scheduled_time=due), tags=["check"]
        )
    with _quiet():
        return _ended(engine.run_flow(learners, flow_run=planned, return_type="state"))


def _ended(state: State) -> Ended:
    result = state.result(raise_on_failure=False, _sync=True)
    if isinstance(result, _MISTAKES):
        raise result
    return Ended(flow_run(state), result)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Prefect's log out of the notebook; the server still gets it."""
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    handlers = {h for one in loggers for h in one.handlers if isinstance(h, PrefectConsoleHandler)}
    levels = {handler: handler.level for handler in handlers}
    for handler in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in levels.items():
            handler.setLevel(level)
