"""What Prefect's server recorded of a run, and names that disappear from it after a lesson."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import filters, sorting
from prefect.client.schemas.objects import FlowRun, Log, State, TaskRun
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from taxi_lib.errors import TaxiError
from taxi_lib.services.waiting import wait_for

__all__ = ["logs_of", "runs_naming", "states_of", "tasks_of", "temporary_names", "wait_for"]


def tasks_of(run_id: UUID, count: int = 0) -> list[TaskRun]:
    """Return the task runs of a flow run that has ended, in the order in which they began.

    Parameters
    ----------
    run_id : uuid.UUID
        The flow run.
    count : int
        How many there are at least: waits for them, because the server learns of a task run later.
    """
    this = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run_id]))
    known: set[UUID] = set()

    def all_ended() -> list[TaskRun]:
        """Return the task runs once all have ended and no more are recorded."""
        runs = client.read_task_runs(flow_run_filter=this)
        before = set(known)
        known.update(run.id for run in runs)
        complete = known == before and len(runs) >= count
        return runs if complete and all(_has_ended(run) for run in runs) else []

    with get_client(sync_client=True) as client:
        return sorted(wait_for(all_ended, pause=0.5), key=lambda run: run.start_time or run.created)


def _has_ended(run: TaskRun) -> bool:
    """Return whether a task run has ended, or will never begin."""
    return bool(run.state) and (run.state.is_final() or run.state.name == "NotReady")


def states_of(task_run_id: UUID) -> list[State]:
    """Return every state of a task run that has ended, in order."""

    def complete() -> list[State]:
        states = client.read_task_run_states(task_run_id)
        return states if any(state.is_final() for state in states) else []

    with get_client(sync_client=True) as client:
        return sorted(wait_for(complete), key=lambda state: state.timestamp)


def logs_of(run_id: UUID) -> list[Log]:
    """Return the log of a flow run that has ended, up to its last line."""
    this = filters.LogFilter(flow_run_id=filters.LogFilterFlowRunId(any_=[run_id]))

    def complete() -> list[Log]:
        logs = client.read_logs(this, sort=sorting.LogSort.TIMESTAMP_ASC)
        of_flow = (log.message for log in logs if log.task_run_id is None)
        return logs if any(text.startswith("Finished in state") for text in of_flow) else []

    with get_client(sync_client=True) as client:
        return wait_for(complete)


def runs_naming(text: str, page: int = 200) -> list[FlowRun]:
    """Return the flow runs whose parameters hold a text, such as a folder; the newest first.

    Parameters
    ----------
    text : str
        What to look for.
    page : int
        How many runs the server is asked for at a time: at most 200.
    """
    newest, found = sorting.FlowRunSort.START_TIME_DESC, []
    with get_client(sync_client=True) as client:
        while runs := client.read_flow_runs(sort=newest, limit=page, offset=len(found)):
            found += runs
    return [run for run in found if text in json.dumps(run.parameters, default=str)]


@contextmanager
def temporary_names() -> Iterator[Callable[[str], str]]:
    """Yield a function that adds an ending to names; remove what has that ending afterwards.

    ``named("taxi-pool")`` becomes ``"taxi-pool-a3f2"``. Deployments, work pools, blocks,
    variables, automations and concurrency limits with that ending are removed when the block
    ends; flow runs stay, as the server's history.

    Raises
    ------
    TaxiError
        At the end, when the server refuses to remove some of them.
    """
    # It begins with a letter: names that end in a year, such as train-2021, are never removed.
    ending = f"-{secrets.choice('abcdef')}{secrets.token_hex(2)[1:]}"
    try:
        yield lambda name: f"{name}{ending}"
    finally:
        with get_client(sync_client=True) as client:
            _remove(ending, client)


def _remove(ending: str, client: SyncPrefectClient) -> None:
    blocks = client.read_block_documents(include_secrets=False)
    limits = client.read_global_concurrency_limits(limit=200)
    found = [
        # Automations and deployments first: they may depend on a block or a pool.
        (client.delete_automation, client.read_automations(), "id"),
        (client.delete_deployment, client.read_deployments(), "id"),
        (client.delete_work_pool, client.read_work_pools(), "name"),
        (client.delete_block_document, blocks, "id"),
        (client.delete_variable_by_name, client.read_variables(), "name"),
        (client.delete_global_concurrency_limit_by_name, limits, "name"),
    ]
    left = []
    for remove, things, key in found:
        for thing in things:
            if (thing.name or "").endswith(ending):
                try:
                    with suppress(ObjectNotFound):  # the lesson has already removed it
                        remove(getattr(thing, key))
                except PrefectHTTPStatusError as error:
                    left.append(f"{thing.name} ({error.response.status_code})")
    if left:
        raise TaxiError(f"Prefect's server kept {', '.join(left)}: remove them on its page.")
