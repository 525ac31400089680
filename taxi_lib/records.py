"""What Prefect's server recorded of a run, read once it is complete: it arrives a little late."""

import time
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from prefect import get_client
from prefect.client.schemas import filters, sorting
from prefect.client.schemas.objects import Log, TaskRun

from taxi_lib.errors import TaxiError

Found = TypeVar("Found")


def wait_for(look: Callable[[], Found], seconds: float = 120, pause: float = 0.2) -> Found:
    """Look again and again, and return what is found as soon as there is something.

    Parameters
    ----------
    look : callable
        Returns something true once it is there.
    seconds : float
        When to give up.
    pause : float
        Seconds between two looks.

    Raises
    ------
    TaxiError
        When there is nothing in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TaxiError(f"Waited {seconds:.0f} seconds in vain: look at the server's page.")
        time.sleep(pause)
    return found


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
