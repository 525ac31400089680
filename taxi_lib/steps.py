"""One notebook as a task of Prefect: cached by content, retried where that helps, watched."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from prefect import get_run_logger, runtime, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture, as_completed, wait
from prefect.serializers import JSONSerializer
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH
from prefect.tasks import Task

from taxi_lib import evidence, runner, summary, zombies
from taxi_lib.contracts import Contract
from taxi_lib.errors import TaxiError
from taxi_lib.fingerprints import Inputs, key_of
from taxi_lib.kernels import Limits, Surroundings
from taxi_lib.processes import MARK, as_mark, stop_marked
from taxi_lib.progress import Board, as_key, bar, tell_failure
from taxi_lib.results import NotebookFailedError, NotebookRun, Value


@dataclass(frozen=True)
class Step:
    """A notebook that a walkthrough is to run: with which values, of which inputs.

    ``look`` tells its inputs as they are at the moment; ``record`` is what an earlier run with
    the same inputs left, if that is still intact.
    """

    contract: Contract
    values: dict[str, Value]
    look: Callable[[], Inputs]
    inputs: Inputs = field(default_factory=dict)
    record: evidence.Record | None = None

    def begin(self) -> "Step":
        """Return the step with its inputs as they are now: an earlier one may have made them."""
        inputs = self.look()
        return replace(self, inputs=inputs, record=evidence.find(self.contract, inputs)[0])

    def is_settled(self) -> bool:
        """Tell whether the inputs, but for the cells, still are what they were at the beginning.

        The cells are looked at in the executed notebook.
        """
        try:
            return self.look() | {"cells": self.inputs["cells"]} == self.inputs
        except (OSError, ValueError):
            return False


class Walk:
    """What the steps of one walkthrough share; no dataclass, for Prefect would look into it."""

    def __init__(self, folder: Path, env: dict[str, str], board: Board, limits: Limits) -> None:
        self.folder, self.env, self.board, self.limits = folder, env, board, limits
        self.stopping = Event()  # set once the walkthrough is interrupted: nothing is tried again


def _key(_: TaskRunContext, arguments: dict[str, Any]) -> str:
    return key_of(arguments["step"].contract, arguments["step"].inputs)


def may_pass(_: Task, __: TaskRun, state: State) -> bool:
    """Tell whether a second try may help: a dead kernel may live, a failed assert stays one."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, NotebookFailedError) and error.run.may_pass


@task(
    task_run_name="{step.contract.name}",
    cache_key_fn=_key,
    result_serializer="json",  # what is read back from a cache shall not be able to run
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=may_pass,
)
def run_notebook(step: Step, walk: Walk) -> dict[str, Any]:
    """Run one notebook, tell each cell, and keep the evidence; a failure names its cell."""
    contract, logger = step.contract, get_run_logger()
    with bar(walk.env["PREFECT_API_URL"], as_key(contract.name), contract.title) as shown:

        def progress(line: str, done: float) -> None:
            logger.info(line)
            walk.board.tell(contract.name, line)
            shown.tell(line, done)

        told = {"progress": progress, "text": partial(walk.board.text, contract.name)}
        around = Surroundings(walk.folder, walk.env, limits=walk.limits, **told)
        run = runner.run_notebook(contract, step.values, around)
        shown.tell(run.error or "completed", shown.done if run.error else 1.0)
    evidence.keep(run, contract, step.inputs, walk.folder, step.is_settled())
    if run.error:
        if run.may_pass and runtime.task_run.run_count == 1 and not walk.stopping.is_set():
            walk.board.end(contract.name, f"{_label(contract)} · {run.error}; trying again")
        tell_failure(run)
        zombies.close_tracked(f"{walk.env[MARK]}/{as_mark(contract.name)}-")
        raise NotebookFailedError(run if not walk.stopping.is_set() else run.for_good())
    return run.to_dict()


def run_side_by_side(steps: list[Step], walk: Walk, jobs: int, force: bool) -> list[NotebookRun]:
    """Run the steps, some at a time; when interrupted, see that all of them have ended.

    Parameters
    ----------
    steps : list of Step
        In the order in which they begin.
    walk : Walk
        What they share.
    jobs : int
        How many run at a time.
    force : bool
        Run also what an earlier run has left intact.

    Returns
    -------
    list of NotebookRun
        In the order of the steps.
    """
    waiting, running = list(steps), {}
    outcomes: dict[str, NotebookRun] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                step = waiting.pop(0).begin()
                running[_submit(step, walk, force)] = step
            future = next(as_completed(list(running)))
            future.wait()  # its final state is not there before
            step = running.pop(future)
            outcomes[step.contract.name] = _outcome(step, walk, future.state)
            done = [s.contract.name for s in steps if s.contract.name in outcomes]
            summary.note([outcomes[name] for name in done], walk.folder)
    except BaseException:
        walk.stopping.set()
        walk.board.end("", "Stopping what runs; `run --resume` goes on with the rest.")
        _stop(list(running), walk)
        raise
    return [outcomes[step.contract.name] for step in steps]


def _submit(step: Step, walk: Walk, force: bool) -> PrefectFuture:
    # Prefect's cache may hold what is no longer intact: then it is run, and kept anew.
    key = key_of(step.contract, step.inputs)
    stale = force or step.record is None or not _is_text(key)
    fresh = run_notebook.with_options(refresh_cache=stale)
    return fresh.submit(step, walk)


def _is_text(key: str) -> bool:
    """Tell whether Prefect kept a result as JSON: it believes a file that says it is a pickle."""
    try:
        stored = json.loads((Path(PREFECT_LOCAL_STORAGE_PATH.value()) / key).read_text())
        ours = JSONSerializer().model_dump(mode="json")
        return stored["metadata"]["serializer"] == ours and '"__' not in stored["result"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _stop(futures: list[PrefectFuture], walk: Walk) -> None:
    deadline = time.monotonic() + 30
    while futures and time.monotonic() < deadline:
        stop_marked(walk.env[MARK])  # again and again: a kernel may just be starting
        futures = list(wait(futures, timeout=1).not_done)


def _outcome(step: Step, walk: Walk, state: State) -> NotebookRun:
    """Return what came of a notebook, also when the task around it broke."""
    name = step.contract.name
    told = state.result(raise_on_failure=False)
    if state.name == "Cached":
        try:
            run = evidence.reuse(step.record, step.contract, step.inputs, walk.folder)
        except TaxiError as error:
            run = NotebookRun(name, "failed", error=str(error))
    elif isinstance(told, NotebookFailedError):
        run = told.run
    elif isinstance(told, dict):
        run = NotebookRun(**told)
    else:
        run = NotebookRun(name, "failed", error=f"{type(told).__name__}: {told}")
    ended = f"{run.status} in {run.seconds:.1f} s" if run.status != "cached" else "cached"
    walk.board.end(name, f"{_label(step.contract)} · {run.error or ended}")
    return run


def _label(contract: Contract) -> str:
    return contract.name.split("_")[0]
