"""One notebook as a task of Prefect: cached by content, retried where that helps, watched."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from prefect import get_run_logger, runtime, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture, as_completed, wait
from prefect.serializers import JSONSerializer
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH
from prefect.tasks import Task

from taxi_lib.errors import TaxiError
from taxi_lib.results import Value
from taxi_lib.runner import cache, execution, live_run, run_folder
from taxi_lib.runner.artifacts import as_key, bar, tell_failure
from taxi_lib.runner.contracts import Contract
from taxi_lib.runner.fingerprints import Inputs, differences, key_of, named_as_texts
from taxi_lib.runner.notebook_file import label
from taxi_lib.runner.notebook_run import NotebookFailedError, NotebookRun
from taxi_lib.runner.run_context import RunContext
from taxi_lib.services.processes import RUN_TAG, run_tag, stop_tagged


@dataclass(frozen=True)
class Step:
    """A notebook that a walkthrough is to run: with which values, of which inputs.

    ``look`` tells its inputs as they are at the moment; ``named`` are the files that it names as
    texts; ``record`` is what an earlier run with the same inputs left, if that is still intact.
    """

    contract: Contract
    values: dict[str, Value]
    look: Callable[[], Inputs]
    inputs: Inputs = field(default_factory=dict)
    named: dict[str, str | None] = field(default_factory=dict)
    record: cache.Record | None = None

    def begin(self, folder: Path) -> "Step":
        """Return the step with its inputs as they are now: an earlier one may have made them."""
        inputs, named = self.look(), self.named_now(folder)
        record, _ = cache.find(self.contract, inputs, named)
        return replace(self, inputs=inputs, named=named, record=record)

    def named_now(self, folder: Path) -> dict[str, str | None]:
        """Return the files that it names as texts, as they are now."""
        try:
            return named_as_texts(self.contract, self.values, folder)
        except (OSError, ValueError):
            return {}  # the notebook itself is gone or damaged: `changed` tells

    def changed(self, folder: Path) -> str:
        """Return in words which inputs no longer are what they were when it began.

        The cells are not looked at: those that were executed are in its copy.
        """
        try:
            now = self.look() | {"cells": self.inputs["cells"]}
        except (OSError, ValueError):
            return "the notebook"
        named = self.named_now(folder)
        files = now["data"] | {name: named.get(name) for name in self.named}
        return differences(self.inputs | {"data": self._data()}, now | {"data": files})

    def clash(self, beside: "list[Step]", folder: Path) -> str:
        """Return in words which file changed that another one names, too, that ran beside it."""
        try:
            now = self.look()["data"] | self.named_now(folder)
        except (OSError, ValueError):
            return "the notebook changed while it ran"
        changed = {name for name, before in self._data().items() if now.get(name) != before}
        for other in beside:
            for name in sorted(changed & other._files()):
                return f"{name} changed while {other.contract.name} ran beside it"
        return ""

    def _data(self) -> Inputs:
        return self.inputs["data"] | self.named

    def _files(self) -> set[str]:
        """Return the files and folders that it names; the months are everybody's."""
        return {name for name in self.inputs["data"] if Path(name).is_absolute()} | set(self.named)


class _Walk(NamedTuple):
    """How far the steps of one run have come."""

    context: RunContext
    begun: dict[str, Step]
    outcomes: dict[str, NotebookRun]


def _key(_: TaskRunContext, arguments: dict[str, Any]) -> str:
    return key_of(arguments["step"].contract, arguments["step"].inputs)


def is_retryable(_: Task, __: TaskRun, state: State) -> bool:
    """Tell whether a second try may help: a dead kernel may live, a failed assert stays one."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, NotebookFailedError) and error.run.is_retryable


@task(
    task_run_name="{step.contract.name}",
    cache_key_fn=_key,
    result_serializer="json",  # what is read back from a cache shall not be able to run
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=is_retryable,
)
def run_notebook(step: Step, context: RunContext) -> dict[str, Any]:
    """Run one notebook, show its progress, and keep the evidence; a failure names its cell."""
    contract, logger = step.contract, get_run_logger()
    with bar(context.env["PREFECT_API_URL"], as_key(contract.name), contract.title) as shown:

        def on_progress(line: str, done: float) -> None:
            logger.info(line)
            context.board.update(contract.name, line)
            shown.tell(line, done)

        on_text = partial(context.board.text, contract.name)
        run = execution.run_notebook(contract, step.values, context, on_progress, on_text)
        shown.tell(run.error or "completed", shown.done if run.error else 1.0)
    run = replace(run, changed=step.changed(context.folder))
    named = named_as_texts(contract, step.values, context.folder)
    cache.keep(run, contract, step.inputs, context.folder, named, counts=not context.work_beside)
    if run.error:
        if run.is_retryable and runtime.task_run.run_count == 1 and not context.stopping.is_set():
            context.board.end(contract.name, f"{_label(contract)} · {run.error}; trying again")
        tell_failure(run)
        live_run.close_tracked(run_tag(context.env, contract.name))
        raise NotebookFailedError(run if not context.stopping.is_set() else run.for_good())
    return run.to_dict()


def run_side_by_side(
    steps: list[Step], context: RunContext, jobs: int, force: bool
) -> list[NotebookRun]:
    """Run the steps, some at a time; when interrupted, see that all of them have ended.

    Parameters
    ----------
    steps : list of Step
        In the order in which they begin.
    context : RunContext
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
    walk = _Walk(context, {}, {})
    waiting, running, beside = list(steps), {}, {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                step = waiting.pop(0).begin(walk.context.folder)
                beside[step.contract.name] = list(running.values())
                for other in running.values():
                    beside[other.contract.name].append(step)
                running[_submit(step, walk, force)] = step
            future = next(as_completed(list(running)))
            future.wait()  # its final state is not there before
            step = running.pop(future)
            really = [s for s in beside[step.contract.name] if not _is_cached(s, walk)]
            run = _outcome(step, walk, future.state, really)
            _note(steps, step, run, walk)
            if not (waiting or running):
                waiting = _overtaken(steps, walk)
    except BaseException:
        walk.context.stopping.set()
        walk.context.board.end("", "Stopping what runs; `run --resume` goes on with the rest.")
        _stop(list(running), walk)
        walk.context.board.close()
        raise
    return [_as_left(walk.begun[step.contract.name], walk) for step in steps]


def _note(steps: list[Step], step: Step, run: NotebookRun, walk: _Walk) -> None:
    """Note what came of a step, in memory and in the summary, in the order of the steps."""
    walk.begun[run.name], walk.outcomes[run.name] = step, run
    known = (walk.outcomes.get(step.contract.name) for step in steps)
    run_folder.note([run for run in known if run], walk.context.folder)


def _is_cached(step: Step, walk: _Walk) -> bool:
    run = walk.outcomes.get(step.contract.name)
    return run is not None and run.status == "cached"


def _overtaken(steps: list[Step], walk: _Walk) -> list[Step]:
    """Return the first that was not run and would be run by now: a later one wrote what it reads.

    One only: what it writes may be read by the next.
    """
    for step in (s for s in steps if _is_cached(s, walk)):
        before = walk.begun[step.contract.name].inputs
        with suppress(OSError, ValueError):  # its notebook has been removed meanwhile
            now = step.begin(walk.context.folder)
            if now.record is None or now.inputs != before:
                why = differences(before, now.inputs) or "a file that it names"
                _warn(
                    step, f"{why} changed since it was found unchanged; running it after all", walk
                )
                return [step]
    return []


def _as_left(step: Step, walk: _Walk) -> NotebookRun:
    """Return what came of a notebook, and which of its inputs have changed since it began."""
    run = walk.outcomes[step.contract.name]
    changed = step.changed(walk.context.folder) if run.status == "completed" else ""
    if changed:
        _warn(step, f"{changed} changed since it began; the next run runs it again", walk)
    return replace(run, changed=changed)


def _warn(step: Step, told: str, walk: _Walk) -> None:
    get_run_logger().warning("%s: %s", step.contract.name, told)
    walk.context.board.end("", f"{_label(step.contract)} · {told}")


def _submit(step: Step, walk: _Walk, force: bool) -> PrefectFuture:
    # Prefect's cache may hold what is no longer intact: then it is run, and kept anew.
    key = key_of(step.contract, step.inputs)
    stale = force or walk.context.work_beside or step.record is None or not _is_text(key)
    fresh = run_notebook.with_options(refresh_cache=stale)
    return fresh.submit(step, walk.context)


def _is_text(key: str) -> bool:
    """Tell whether Prefect kept a result as JSON: it believes a file that says it is a pickle."""
    try:
        stored = json.loads((Path(PREFECT_LOCAL_STORAGE_PATH.value()) / key).read_text())
        ours = JSONSerializer().model_dump(mode="json")
        return stored["metadata"]["serializer"] == ours and '"__' not in stored["result"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _stop(futures: list[PrefectFuture], walk: _Walk) -> None:
    deadline = time.monotonic() + 30
    while futures and time.monotonic() < deadline:
        stop_tagged(walk.context.env[RUN_TAG])  # again and again: a kernel may just be starting
        futures = list(wait(futures, timeout=1).not_done)


def _outcome(step: Step, walk: _Walk, state: State, beside: list[Step]) -> NotebookRun:
    """Return what came of a notebook, also when the task around it broke."""
    name = step.contract.name
    told = state.result(raise_on_failure=False)
    if state.name == "Cached":
        try:
            run = cache.reuse(step.record, step.contract, step.inputs, walk.context.folder)
        except TaxiError as error:
            run = NotebookRun(name, "failed", error=str(error))
    elif isinstance(told, NotebookFailedError):
        run = told.run
    elif isinstance(told, dict):
        run = NotebookRun(**told)
    else:
        run = NotebookRun(name, "failed", error=f"{type(told).__name__}: {told}")
    if run.status == "completed" and (clash := step.clash(beside, walk.context.folder)):
        # Which of them wrote it, and what the other has read of it, nobody knows.
        run = replace(run, status="failed", error=f"{clash}: run them with --jobs 1")
    ended = f"{run.status} in {run.seconds:.1f} s" if run.status != "cached" else "cached"
    walk.context.board.end(name, f"{_label(step.contract)} · {run.error or ended}")
    return run


def _label(contract: Contract) -> str:
    return label(contract.name)
