"""Kernels on the workers of a Dask cluster. The run itself, with its records, stays here.

A worker needs this package, the notebooks, and the run's folder, under the same paths.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from secrets import token_hex
from threading import Event, Thread
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from taxi_lib.errors import ContractError, TaxiError
from taxi_lib.results import Value
from taxi_lib.runner import execution
from taxi_lib.runner.contracts import Contract
from taxi_lib.runner.notebook_run import NotebookRun
from taxi_lib.runner.run_context import RunContext
from taxi_lib.services.processes import RUN_TAG, run_tag, stop_tagged

if TYPE_CHECKING:
    from distributed import Client

THREADS, DASK = "threads", "dask"
# What of a run's context a worker is given. The rest is of this process.
_SENT = ("folder", "env", "cell_seconds", "notebook_seconds", "work_beside")


def check_runner(runner: str) -> None:
    """Refuse a runner that is none.

    Raises
    ------
    ContractError
        When it is neither ``threads`` nor ``dask`` nor the address of a scheduler.
    """
    if runner not in (THREADS, DASK) and "://" not in runner:
        raise ContractError(
            f"--runner takes {THREADS}, {DASK} or a scheduler's address such as "
            f"tcp://10.0.0.1:8786, not {runner!r}."
        )


class Cluster:
    """The workers of a Dask cluster, on which notebooks are executed."""

    def __init__(self, client: "Client") -> None:
        self.client = client

    def jobs(self) -> int:
        """Return how many notebooks its workers can execute at once."""
        return sum(self.client.nthreads().values())

    def run_notebook(
        self,
        contract: Contract,
        parameters: dict[str, Value],
        context: RunContext,
        on_progress: execution.OnProgress = lambda line, done: None,
        on_text: execution.OnText = lambda text: None,
        notes: Iterable[str] = (),
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> NotebookRun:
        """Execute a notebook on a worker; see :func:`execution.run_notebook`.

        A worker that dies takes its notebook with it, which another worker then begins again.
        """
        inbox: SimpleQueue[tuple[str, list[Any]]] = SimpleQueue()
        topic, calls = f"notebook-{token_hex(8)}", {"progress": on_progress, "text": on_text}
        sent = {name: getattr(context, name) for name in _SENT}
        sent["folder"] = context.folder.absolute()  # a worker may work elsewhere
        contract = replace(contract, path=contract.path.absolute())
        self.client.subscribe_topic(topic, lambda event: inbox.put(event[1]))
        future = self.client.submit(
            *(_on_worker, contract, parameters, sent, list(notes), dict(tags)),
            *(topic, context.board.stream),
            pure=False,
            key=f"{contract.name}-{topic}",
        )
        try:
            while not future.done():
                _pass_on(inbox, calls, seconds=0.2)
            _pass_on(inbox, calls, seconds=0)
            return future.result()
        finally:
            self.client.unsubscribe_topic(topic)

    def stop(self, tag: str) -> None:
        """Stop the processes of a run on all workers' machines."""
        with suppress(Exception):  # the workers may be gone by now
            self.client.run(stop_tagged, tag)


def _pass_on(
    inbox: "SimpleQueue[tuple[str, list[Any]]]",
    calls: dict[str, Callable[..., None]],
    seconds: float,
) -> None:
    """Make the calls that a worker asks for, until it has been silent for some seconds."""
    with suppress(Empty):
        while True:
            name, given = inbox.get(timeout=seconds) if seconds else inbox.get_nowait()
            calls[name](*given)


def _on_worker(
    contract: Contract,
    parameters: dict[str, Value],
    sent: dict[str, Any],
    notes: list[str],
    tags: dict[str, str],
    topic: str,
    stream: bool,
) -> NotebookRun:
    """Execute a notebook in this worker, and send what it says about its progress."""
    from distributed import get_worker

    def send(name: str) -> Callable[..., None]:
        worker = get_worker()
        return lambda *given: worker.log_event(topic, (name, given))

    context = RunContext(**sent)
    tag = run_tag({RUN_TAG: context.env[RUN_TAG]}, contract.name)
    stop_tagged(tag)  # the kernel of an attempt whose worker has died may still run here
    on_text = send("text") if stream else lambda text: None
    with _stopped_when_unwanted(tag):
        return execution.run_notebook(
            contract, parameters, context, send("progress"), on_text, notes, tags
        )


@contextmanager
def _stopped_when_unwanted(tag: str) -> Iterator[None]:
    """Stop a notebook of this worker when nobody waits for it any more: its run was killed."""
    from distributed import get_worker

    worker, ended = get_worker(), Event()
    task = worker.state.tasks[worker.get_current_task()]

    def watch() -> None:
        while not ended.wait(1):
            if task.state == "cancelled":
                stop_tagged(tag)

    Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextmanager
def cluster_of_flow() -> Iterator[Cluster | None]:
    """Take the cluster of the running flow, if its own task runner is Dask's.

    The flow's tasks begin in threads of this process all the same, because they write the records
    and show the progress. The kernels, for which they wait, are on the workers.
    """
    from prefect.context import FlowRunContext
    from prefect.task_runners import ThreadPoolTaskRunner

    flow_run = FlowRunContext.get()
    if not type(flow_run.task_runner).__module__.startswith("prefect_dask"):  # slow to import
        yield None
        return
    logging.getLogger("distributed").setLevel(logging.ERROR)
    cluster = Cluster(flow_run.task_runner.client)
    with ThreadPoolTaskRunner() as threads, flow_run.model_copy(update={"task_runner": threads}):
        yield cluster


@contextmanager
def cluster_of(runner: str, jobs: int) -> Iterator[Cluster | None]:
    """Join the cluster at an address, or start one on this machine; None for threads.

    Parameters
    ----------
    runner : str
        See :func:`check_runner`.
    jobs : int
        How many workers a cluster on this machine has.

    Raises
    ------
    TaxiError
        When no scheduler answers at the address.
    """
    if runner == THREADS:
        yield None
        return
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.ERROR)
    if runner != DASK:
        try:
            client = Client(runner, timeout="5s")
        except (OSError, ValueError) as error:
            raise TaxiError(
                f"No scheduler of Dask answers at {runner} ({error}): start it there, or use "
                f"--runner {DASK} for a cluster on this machine."
            ) from None
        with client:
            yield Cluster(client)
        return
    with (
        LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any port, on loopback
            silence_logs=logging.ERROR,
        ) as workers,
        Client(workers) as client,
    ):
        yield Cluster(client)
