"""One notebook as a task of Prefect: not run when nothing changed, retried where that may help."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import Any

from prefect import get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, as_completed, wait
from prefect.states import Completed
from prefect.tasks import Task

from taxi_lib.errors import ContractError, TaxiError
from taxi_lib.runner import cache, execution, live_run, run_folder
from taxi_lib.runner.artifacts import as_key, link_page, progress_bar, show_failure
from taxi_lib.runner.cluster import Cluster
from taxi_lib.runner.fingerprints import Snapshot, differences, key_of
from taxi_lib.runner.history import usual_seconds
from taxi_lib.runner.notebook_run import NotebookFailedError, NotebookRun
from taxi_lib.runner.run_context import RunContext
from taxi_lib.runner.steps import Step, changes, clash
from taxi_lib.services.processes import RUN_TAG, run_tag, stop_tagged


@dataclass
class _Begun:
    """A step that has begun: its inputs at that moment, and the steps that ran beside it."""

    step: Step
    before: Snapshot
    record: cache.Record | None
    beside: "list[_Begun]" = field(default_factory=list)


class Progress:
    """How far the steps of one run are. Tasks call it from several threads."""

    def __init__(self, steps: list[Step], context: RunContext, force: bool) -> None:
        self.context, self.force = context, force or context.work_beside
        self.steps = {step.name: step for step in steps}
        self.lock = Lock()
        self.begun: dict[str, _Begun] = {}
        self.running: list[_Begun] = []
        self.runs: dict[str, NotebookRun] = {}

    @contextmanager
    def begin(self, step: Step) -> Iterator[_Begun]:
        """Begin a step: another step may have written its inputs just now."""
        step, once = step.with_results(self.runs), self.context.once
        alone = once.alone(step.key(self.context.folder)) if once else nullcontext()
        with alone, self._listed(step) as begun:
            yield begun

    @contextmanager
    def _listed(self, step: Step) -> Iterator[_Begun]:
        with self.lock:
            before, record, _ = step.find_record(self.context.folder)
            once = self.context.once
            done = once is not None and key_of(step.contract, before.inputs) in once.done
            begun = _Begun(step, before, record if done or not self.force else None)
            self.begun[step.name] = begun
            if not begun.record:
                begun.beside += self.running
                for other in self.running:
                    other.beside.append(begun)
                self.running.append(begun)
        try:
            yield begun
        finally:
            with self.lock, suppress(ValueError):
                self.running.remove(begun)


def is_retryable(_: Task, __: TaskRun, state: State) -> bool:
    """Return whether a second try may help: it may after a dead kernel, not after an assert."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, NotebookFailedError) and error.run.is_retryable


@task(
    task_run_name="{step.name}",
    cache_policy=NO_CACHE,  # the records of runs are the cache
    persist_result=False,
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=is_retryable,
)
def run_notebook(step: Step, progress: Progress) -> dict[str, Any] | State:
    """Run a notebook and keep its evidence, or reuse an earlier run with the same inputs."""
    context = progress.context
    try:
        with progress.begin(step) as begun:
            run = _reuse(begun, context) if begun.record else _execute(begun, context)
            if run.is_good and context.once:
                context.once.done.add(key_of(begun.step.contract, begun.before.inputs))
    except ContractError as error:  # what it takes does not fit
        run = NotebookRun(step.name, "failed", error=str(error))
    link_page(run)
    if not run.error:
        ended = "cached" if run.status == "cached" else f"{run.status} in {run.seconds:.1f} s"
        context.board.end(step.name, f"{step.label} · {ended}")
        data = run.to_dict()
        return Completed(name="Cached", data=data) if run.status == "cached" else data
    if context.stopping.is_set():
        run = replace(run, is_retryable=False)
    else:
        again = run.is_retryable and runtime.task_run.run_count == 1
        context.board.end(step.name, f"{step.label} · {run.error}{'; trying again' * again}")
    show_failure(run)
    live_run.close_tracked(run_tag(context.env, step.name))
    raise NotebookFailedError(run)


def _reuse(begun: _Begun, context: RunContext) -> NotebookRun:
    try:
        return cache.reuse(begun.record, begun.step.contract, begun.before, context.folder)
    except TaxiError as error:
        return NotebookRun(begun.step.name, "failed", error=str(error))


def _execute(begun: _Begun, context: RunContext) -> NotebookRun:
    """Execute a notebook, show its progress, and keep the record of what came of it."""
    step, before, logger = begun.step, begun.before, get_run_logger()
    api, key = context.env["PREFECT_API_URL"], as_key(step.name)
    seconds = usual_seconds(step.contract.path)
    usual = f" · usually {seconds:.0f} s" if seconds else ""
    with progress_bar(api, key, step.contract.title) as bar:

        def on_progress(line: str, done: float) -> None:
            logger.info(line)
            context.board.update(step.name, line, usual)
            bar.update(line, done)

        on_text = partial(context.board.text, step.label)
        for note in step.notes:
            logger.info("%s: %s", step.name, note)
        tags = {
            "prefect_flow_run": str(runtime.flow_run.id),
            "notebook": step.name,
            "inputs": key_of(step.contract, before.inputs),
        }
        run_there = context.cluster.run_notebook if context.cluster else execution.run_notebook
        run = run_there(step.contract, step.values, context, on_progress, on_text, step.notes, tags)
        bar.update(run.error or "completed", bar.done if run.error else 1.0)
    after = step.read_again(context.folder)
    run = replace(run, changed=changes(before, after))
    others = sorted(begun.beside, key=lambda other: other.step.name)
    beside = [(other.step.name, other.before) for other in others]
    if after and not run.error and (shared := clash(before, after, beside)):
        # It is unknown which of them wrote the file, and what the other has read of it.
        run = replace(run, status="failed", error=f"{shared}: run them with --jobs 1")
    outcome = Snapshot(before.inputs, after.named if after else {})
    cache.keep(run, step.contract, outcome, context.folder, reusable=not context.work_beside)
    return run


def run_side_by_side(
    steps: list[Step], context: RunContext, jobs: int, force: bool
) -> list[NotebookRun]:
    """Run the steps, some at a time; when interrupted, stop all of them.

    A step begins when all that it takes from have ended, the one with the lowest number first.

    Parameters
    ----------
    steps, context
        The steps, and what they share.
    jobs : int
        How many run at a time.
    force : bool
        Run also what is fresh.
    """
    progress = Progress(steps, context, force)
    waiting, running = list(steps), {}
    futures: dict[str, PrefectFuture] = {}
    try:
        while waiting or running:
            if context.stopping.is_set():  # by a run beside this one
                raise KeyboardInterrupt
            while len(running) < jobs and (step := _next_ready(waiting, progress)):
                waiting.remove(step)
                # So that Prefect draws the edge, and does not run what is behind a failure.
                futures[step.name] = run_notebook.submit(
                    step, progress, wait_for=[futures[name] for name in step.sources]
                )
                running[futures[step.name]] = step
            future = next(as_completed(list(running)))
            future.wait()  # for its final state
            step = running.pop(future)
            progress.runs[step.name] = _outcome(step, future.state, progress)
            known = [progress.runs[s.name] for s in steps if s.name in progress.runs]
            run_folder.write_progress(known, context.folder)
            if not (waiting or running):
                waiting = _overtaken(steps, progress)
    except BaseException:
        context.stopping.set()
        context.board.end("", "Stopping what runs; `run --resume` goes on with the rest.")
        stop_all(list(running), context.env[RUN_TAG], context.cluster)
        context.board.close()
        raise
    return [_with_changes(step, progress) for step in steps]


def _next_ready(waiting: list[Step], progress: Progress) -> Step | None:
    ready = (step for step in waiting if all(name in progress.runs for name in step.sources))
    return next(ready, None)


def _outcome(step: Step, state: State, progress: Progress) -> NotebookRun:
    """Return what came of a notebook, also when the task around it broke, or never began."""
    if state.name == "NotReady":
        error = f"not run, because {_first_failure(step, progress)} failed"
        progress.context.board.end(step.name, f"{step.label} · {error}")
        return NotebookRun(step.name, "skipped", error=error)
    result = state.result(raise_on_failure=False)
    if isinstance(result, dict):
        return NotebookRun.from_dict(result)
    if isinstance(result, NotebookFailedError):
        return result.run
    return NotebookRun(step.name, "failed", error=f"{type(result).__name__}: {result}")


def _first_failure(step: Step, progress: Progress) -> str:
    """Return the notebook that failed first among all that a skipped step takes from."""
    runs, reasons = progress.runs, []
    for name in step.sources:
        if runs[name].status == "failed":
            reasons.append(name)
        elif runs[name].status == "skipped":
            reasons.append(_first_failure(progress.steps[name], progress))
    return min(reasons, key=list(progress.steps).index)


def _overtaken(steps: list[Step], progress: Progress) -> list[Step]:
    """Return the first step that is stale by now: a later one wrote what it was reused for.

    Only one, because the next may read what this one writes. A step that has taken what such a
    step has made anew is run again as well.
    """
    folder = progress.context.folder
    for step in steps:
        begun = progress.begun.get(step.name)
        if not begun or not progress.runs[step.name].is_good:
            continue
        before = begun.before.inputs
        with suppress(OSError, ValueError, ContractError):  # its notebook was removed meanwhile
            taken = step.with_results(progress.runs)
            if (taken.values, taken.files) != (begun.step.values, begun.step.files):
                _warn(step, "what it takes was made anew; running it again", progress.context)
                return [step]
            if progress.runs[step.name].status != "cached":
                continue
            now, record, _ = taken.find_record(folder)
            if record is None or now.inputs != before:
                why = differences(before, now.inputs) or "a file that it names"
                words = f"{why} changed since it was found unchanged; running it after all"
                _warn(step, words, progress.context)
                return [step]
    return []


def _with_changes(step: Step, progress: Progress) -> NotebookRun:
    """Return what came of a notebook, and which of its inputs have changed since it began."""
    run, context, changed = progress.runs[step.name], progress.context, ""
    if run.status == "completed":
        begun = progress.begun[step.name]
        changed = changes(begun.before, begun.step.read_again(context.folder))
    if changed:
        _warn(step, f"{changed} changed since it began; the next run runs it again", context)
    return replace(run, changed=changed)


def _warn(step: Step, words: str, context: RunContext) -> None:
    get_run_logger().warning("%s: %s", step.name, words)
    context.board.end("", f"{step.label} · {words}")


def stop_all(futures: list[PrefectFuture], tag: str, cluster: Cluster | None) -> None:
    """Stop the processes of a run until its tasks have ended, for 30 seconds at most."""
    deadline = time.monotonic() + 30
    while futures and time.monotonic() < deadline:
        # Repeated, because a kernel may be starting just now.
        cluster.stop(tag) if cluster else stop_tagged(tag)
        futures = list(wait(futures, timeout=1).not_done)
