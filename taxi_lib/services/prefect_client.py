"""What Prefect's server recorded of a run; names of one's own on a shared server."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from prefect import get_client
from prefect.client.schemas import filters, sorting
from prefect.client.schemas.objects import Log, TaskRun

from taxi_lib.errors import TaxiError
from taxi_lib.services.waiting import wait_for


def tasks_of(run_id: UUID) -> list[TaskRun]:
    """Return the task runs of a flow run that has ended, in the order in which they began."""
    this = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run_id]))
    known: set[UUID] = set()

    def ended() -> list[TaskRun]:
        runs = client.read_task_runs(flow_run_filter=this)
        before = set(known)
        known.update(run.id for run in runs)
        whole = known == before and all(run.state and run.state.is_final() for run in runs)
        return runs if whole else []

    with get_client(sync_client=True) as client:
        return sorted(wait_for(ended, pause=0.5), key=lambda run: run.start_time or run.created)


def logs_of(run_id: UUID) -> list[Log]:
    """Return what was logged in a flow run that has ended, its last line included."""
    this = filters.LogFilter(flow_run_id=filters.LogFilterFlowRunId(any_=[run_id]))

    def whole() -> list[Log]:
        logs = client.read_logs(this, sort=sorting.LogSort.TIMESTAMP_ASC)
        last_words = [log.message for log in logs if log.task_run_id is None]
        return logs if any(words.startswith("Finished in state") for words in last_words) else []

    with get_client(sync_client=True) as client:
        return wait_for(whole)


@contextmanager
def temporary_names() -> Iterator[Callable[[str], str]]:
    """Yield a function that makes a name this run's own, and remove what bears one at the end.

    ``named("taxi-pool")`` becomes ``"taxi-pool-a3f2"``. Deployments, work pools, blocks,
    variables, automations and concurrency limits with that ending are removed when the block
    ends; flow runs stay, as the server's history.

    Raises
    ------
    TaxiError
        At the end, when the server would not remove some of them.
    """
    # The letter keeps it apart from every year: nobody else's train-2021 shall be removed.
    ending = f"-{secrets.choice('abcdef')}{secrets.token_hex(2)[1:]}"
    try:
        yield lambda name: f"{name}{ending}"
    finally:
        _remove(ending)


def _remove(ending: str) -> None:
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    left = []

    with get_client(sync_client=True) as client:
        blocks = client.read_block_documents(include_secrets=False)
        found = [
            # An automation or a deployment may lean on a block or a pool: they go first.
            (client.delete_automation, client.read_automations(), "id"),
            (client.delete_deployment, client.read_deployments(), "id"),
            (client.delete_work_pool, client.read_work_pools(), "name"),
            (client.delete_block_document, blocks, "id"),
            (client.delete_variable_by_name, client.read_variables(), "name"),
            (
                client.delete_global_concurrency_limit_by_name,
                client.read_global_concurrency_limits(limit=200),
                "name",
            ),
        ]
        for remove, things, key in found:
            for thing in things:
                if (thing.name or "").endswith(ending):
                    try:
                        with suppress(ObjectNotFound):  # the lesson has removed it already
                            remove(getattr(thing, key))
                    except PrefectHTTPStatusError as error:
                        left.append(f"{thing.name} ({error.response.status_code})")
    if left:
        raise TaxiError(f"Prefect's server kept {', '.join(left)}: remove them on its page.")
