"""Lesson 5: a retry counted, a flow that decides how it ends, and one that never fails."""

import math
import re

from prefect import State

from taxi_lib.checks import server
from taxi_lib.checks.answers import number, one_of
from taxi_lib.checks.verdicts import Right, Wrong
from taxi_lib.checks.web import service

HINTS = {
    1: [
        "The lesson's task had four retries and asked three times. Which of these was a retry?",
        "The first try is no retry. After the last one, the exception leaves the task, and then?",
    ],
    2: [
        "An exception that leaves the first task ends the flow before it has asked a second time.",
        "`return_state=True` gives you a state in either case: `state.is_failed()` asks it. "
        "`deliberate` in the lesson shows how a flow returns a failure.",
    ],
    3: [
        "What does the flow return while the service is down, and what does Prefect make of that?",
        "The flow need not do anything about the failure. Who should hear of it?",
    ],
}
# What Prefect itself writes when a flow fails, also for an exception without a message.
_DEFAULT = re.compile(
    r"\d+/\d+ states failed|(Flow|Task) run encountered an exception:? ?(HTTPStatus|\w*:?\s*$)"
)
_SERVICES = {
    (True, True): "both services up",
    (False, True): "cats down and dogs up",
    (True, False): "cats up and dogs down",
    (False, False): "both services down",
}


def q1(asked: object, ends_in: object, run: object) -> Right | Wrong:
    """Judge a prediction for one retry against what the server kept of the learner's run."""
    tries, end = number(asked), one_of(ends_in, "completed", "failed")
    flow_run = server.flow_run(run)
    task_run = server.failed_task(flow_run, "fetch_cat_fact", retries=1, seed=7)
    return _compare(tries, end, task_run.run_count, flow_run.state_name.casefold())


def _compare(tries: float, end: str, tries_made: int, ended: str) -> Right | Wrong:
    if tries == tries_made - 1:
        return Wrong("A retry is a *new* try. Which try came before it?")
    if tries != tries_made:
        return Wrong(
            "The server counted another number of tries in your run.",
            "Look at the `run_count` of its task run: `tasks_of(run.state_details.flow_run_id)`.",
        )
    if end != ended:
        return Wrong("Your run ended in another state. Was there a try left that could succeed?")
    return Right(
        "Retries are tries after the first, and they help only as long as the fault is shorter "
        "than all of them together. How many you need depends on the service, so look at the "
        "record now and then: it still knows of the failures that the retries hid."
    )


def q2(letter: object) -> Right | Wrong:
    """Judge a flow that fails only if two services are down, and says so in its own words."""
    for cats_failing, dogs_failing in ((math.inf, 0), (0, math.inf), (math.inf, math.inf), (0, 0)):
        with service(cats_failing) as cats, service(dogs_failing) as dogs:
            ended = server.run_flow(letter, cats.address, dogs.address)
        asked = bool(cats.calls) and bool(dogs.calls)
        problem = _problem(ended, asked, (not cats_failing, not dogs_failing))
        if problem := problem or _other_task(ended):
            return problem
    return Right(
        "You decided what counts as a success, and the state says it: a list of runs, an "
        "automation or a colleague need not know the code. The message says why, where the "
        "page shows it first."
    )


def _other_task(ended: server.Ended) -> Wrong | None:
    runs = [run.task_key.startswith("fetch_cat_fact-") for run in server.task_runs(ended.run, 2)]
    if sum(runs) >= 2:
        return None
    return Wrong(
        "The flow asks without the lesson's task: call `fetch_cat_fact` for each address, so that "
        "its retries count."
    )


def _problem(ended: server.Ended, asked: bool, up: tuple[bool, bool]) -> Wrong | None:
    services, down = _SERVICES[up], up.count(False)
    failed, message = ended.run.state.is_failed(), ended.run.state.message or ""
    if down == 2 and not failed:
        return Wrong(
            f"With {services} the flow is `{ended.run.state_name}`.",
            "Only what a flow returns or raises decides: `return Failed(message=…)`.",
        )
    if down < 2 and failed and "states failed" in message:
        return Wrong(
            f"With {services} the flow fails: `{message.strip('.')}`.",
            "A flow that returns several states fails when one of them is a failure.",
        )
    if down < 2 and failed:
        return Wrong(
            f"With {services} the flow fails. One fact is enough.",
            "Does an exception of a task leave the flow? `return_state=True` keeps it in a state.",
        )
    if not asked:
        return Wrong(f"With {services} the flow has not asked both of them.")
    if down == 2 and (not message.strip() or _DEFAULT.match(message)):
        shown = f": `{message.strip():.80}`" if message.strip() else ""
        return Wrong(
            f"With {services} the flow fails, but not with a message of yours{shown}.",
            "`Failed(message=…)` takes one.",
        )
    return None


def q3(mended: object) -> Right | Wrong:
    """Judge a flow that fails when its service is down, and else returns the fact."""
    if not server.flow(mended).name.startswith("digest"):
        return Wrong("This is another flow. What has to change in `digest`?")
    with service(failures=math.inf) as down:
        answered_503 = server.run_flow(mended, down.address)
    unreachable = server.run_flow(mended, down.address)  # nobody listens there any more
    for ended, outage in ((answered_503, "is down"), (unreachable, "cannot be reached")):
        if not ended.run.state.is_failed():
            return Wrong(
                f"While the service {outage} the flow is still `{ended.run.state_name}`, and its "
                f"result is `{ended.result!r:.60}`.",
                "What happens to the exception of the task in this flow?",
            )
    with service(failures=2) as shaky:
        ended = server.run_flow(mended, shaky.address)
    if ended.run.state.is_failed() and len(shaky.calls) <= 2:
        return Wrong(
            "The service failed twice and would have answered then, but the flow gave up.",
            "`fetch_cat_fact` has the retries for that: call it, and leave it as it is.",
        )
    if ended.run.state.is_failed():
        return Wrong("The service has answered, and the flow fails nevertheless.")
    if type(ended.result) is State:
        return Wrong("The flow returns the state of its task, and not the fact that is in it.")
    if ended.result != shaky.fact:
        return Wrong(f"The service has answered, but the flow returns `{ended.result!r:.60}`.")
    return Right(
        "An `except` for everything turns each failure into a success, those that you have never "
        "thought of, too. Catch what you can do something about, by its name; let the rest pass."
    )
