"""Lesson 7: waits counted, a condition for retries, and a timeout that comes in time."""

import math
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
from prefect import flow, task

from taxi_lib.checks import server
from taxi_lib.checks.answers import function, numbers, one_of
from taxi_lib.checks.verdicts import Right, Wrong
from taxi_lib.checks.web import service

HINTS = {
    1: [
        "Draw the tries as dots in a row. What lies between two of them?",
        "`ask_for_fact.retry_delay_seconds` lists the waits; with fewer retries, not all of them "
        "are needed. And how often does this service fail?",
    ],
    2: [
        "`httpx` has one exception for an answer with a bad status, and others for no answer.",
        "`httpx.HTTPStatusError` has the status in `error.response.status_code`; a refused "
        "connection is an `httpx.ConnectError`, which has no response.",
    ],
    3: [
        "Look at the state of the flow, and at the run time of its task: each shows one fault.",
        "The lesson's figure says where a sleep stops at its limit. What does this flow return?",
    ],
}


def q1(waits: object, ends_in: object, run: object) -> Right | Wrong:
    """Judge a prediction for two retries against what the server kept of the learner's run."""
    said, end = numbers(waits), one_of(ends_in, "completed", "failed")
    flow_run = server.flow_run(run)
    task_run = server.failed_task(flow_run, "ask_for_fact", retries=2, seed=9)
    planned = [
        (state.state_details.scheduled_time - state.timestamp).total_seconds()
        for state in server.states(task_run)
        if state.name == "AwaitingRetry" and state.state_details.scheduled_time
    ]
    if len(said) > len(planned):
        return Wrong(
            f"You predict {len(said)} waits, and in your run there were fewer.",
            "After the last try nothing is waited for.",
        )
    if len(said) < len(planned):
        return Wrong(
            f"You predict {len(said)} waits, and in your run there were more.",
            "Each retry has its wait.",
        )
    if any(abs(one - other) > 0.1 for one, other in zip(said, planned, strict=True)):
        return Wrong(
            "The number of waits is right, but not their lengths.",
            "`exponential_backoff(backoff_factor=0.2)` doubles each one; in what order?",
        )
    if end != flow_run.state_name.casefold():
        return Wrong("Your run ended in another state. Was there a try left that could succeed?")
    return Right(
        "The fault lasted longer than all waits together. That sum is what you really choose: the "
        "longest fault that the step survives, and also how much later you hear of a longer one."
    )


def q2(worth_a_retry: object) -> Right | Wrong:
    """Judge a retry condition by the tries that the server counts for four kinds of failure."""
    condition, raised = function(worth_a_retry), []

    def watched(*arguments: object) -> bool:
        try:
            return condition(*arguments)
        except Exception as error:  # Prefect only logs it, and gives up
            raised.append(error)
            raise

    with _failures() as addresses:
        again = _tried_again(watched, addresses)
    if raised and isinstance(raised[0], httpx.HTTPError):
        return Wrong(
            "Your function raises the very error that it should judge.",
            "`state.result()` raises it; with `raise_on_failure=False` it returns it.",
        )
    if raised:
        raise raised[0]
    return _judge(again) or Right(
        "A retry that cannot help costs time, and its copies hide the first message in the log. "
        "The condition is the place to say what you know about a service."
    )


@contextmanager
def _failures() -> Iterator[dict[str, str]]:
    """Yield an address for each kind of failure; the numbers in them are there to mislead."""
    with ExitStack() as stack:
        busy = stack.enter_context(service(failures=math.inf))
        moved = stack.enter_context(service(failures=math.inf, status=404))
        broken = stack.enter_context(service(failures=math.inf, status=500))
        overloaded = stack.enter_context(service(failures=math.inf, status=504))
        silent = stack.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # takes a call, and never answers
        sound = stack.enter_context(service())
        nobody = stack.enter_context(socket.socket())
        nobody.bind(("127.0.0.1", 0))  # and listens not
        yield {
            "busy": f"{busy.address}/404",
            "moved": f"{moved.address}/503",
            "broken": f"{broken.address}/503",
            "overloaded": f"{overloaded.address}/503",
            "refused": f"http://127.0.0.1:{nobody.getsockname()[1]}",
            "silent": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "own mistake": f"{sound.address}/fact",
        }


def _tried_again(condition: Callable[..., bool], addresses: dict[str, str]) -> set[str]:
    """Return after which kinds of failure Prefect tried again."""

    @task(retries=1, retry_delay_seconds=0, retry_condition_fn=condition)
    def look_up(address: str) -> str:
        answer = httpx.get(address, timeout=httpx.Timeout(5, read=0.3)).raise_for_status()
        return answer.json()["no such key"]

    @flow(name="retry-condition")
    def look_all_up() -> None:
        for kind, address in addresses.items():
            look_up.with_options(task_run_name=kind)(address, return_state=True)

    ended = server.run_flow(look_all_up)
    runs = server.task_runs(ended.run, count=len(addresses))
    return {run.name for run in runs if run.run_count > 1}


def _judge(again: set[str]) -> Wrong | None:
    if not again:
        return Wrong(
            "Your function never asks for another try.",
            "The exception is in the state: `state.result(raise_on_failure=False)` returns it.",
        )
    if {"moved", "own mistake"} <= again:
        return Wrong("Your function asks for another try whatever has happened.")
    if "moved" in again or "busy" not in again:
        seen = "404" if "moved" in again else "503"
        return Wrong(
            f"Your function says the wrong thing about an answer with status {seen}.",
            "Both are an `httpx.HTTPStatusError`. Do not search its text: addresses hold numbers, "
            "too. The answer itself is in `error.response`.",
        )
    if "refused" not in again:
        return Wrong(
            "After a refused connection your function says no.",
            "There is no answer then, so there is no status. Which exception is it?",
        )
    if "own mistake" in again:
        return Wrong("Your function asks for another try after a `KeyError`, too.")
    if again & {"broken", "overloaded"}:
        seen = "500" if "broken" in again else "504"
        return Wrong(
            f"Your function asks for another try after an answer with status {seen}, too.",
            "The exercise asks for 503 and nothing else: another failure may be there to stay.",
        )
    if "silent" in again:
        return Wrong(
            "Your function asks for another try after a call that was never answered, too.",
            "A refused connection is an `httpx.ConnectError`; a read timeout is another class.",
        )
    return None


def q3(refresh: object, mended: object) -> Right | Wrong:
    """Judge a run in which three tries were stopped in time, and whose flow says so."""
    step = server.task(refresh)
    if step.isasync:
        return Wrong("`refresh` is `async` now: mend the flow that calls it, and leave the task.")
    if step.timeout_seconds != 0.3 or step.retries != 2 or 2 not in step.fn.__code__.co_consts:
        return Wrong("`refresh` has changed: mend the flow that calls it, and leave it as it was.")
    run = server.flow_run(mended)
    runs = [one for one in server.task_runs(run) if one.task_key.startswith("refresh-")]
    if not runs:
        return Wrong("The flow of this run has not called `refresh`.")
    seconds = runs[-1].total_run_time.total_seconds()
    in_time = seconds < 1.9  # a single try that slept to its end would have taken 2 seconds
    if run.state_name == "Completed" and not in_time:
        return Wrong(f"The flow is `Completed`, and its task ran for {seconds:.1f} seconds.")
    if run.state_name == "Completed":
        return Wrong(
            "The tries stop in time now, but the flow is `Completed`.",
            "Does the exception of the task leave the flow?",
        )
    if not in_time:
        return Wrong(
            f"The flow fails now, but its task ran for {seconds:.1f} seconds.",
            "In which thread does a submitted task run, and what can interrupt it there?",
        )
    if runs[-1].state_name != "TimedOut" or runs[-1].run_count != 3:
        return Wrong("In this run the task was not stopped three times.")
    return Right(
        "A timeout that cannot interrupt the work is only a late message, and a flow that does not "
        "look at its task hides even that. Ask of each limit: what can stop this work, and who "
        "learns of it?"
    )
