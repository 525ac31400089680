"""Lesson 12: a run that a person has answered, failures that are counted, a mended trigger."""

import json
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from prefect import Flow
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun
from prefect.events import EventTrigger
from prefect.events.filters import EventFilter, EventResourceFilter
from prefect.events.schemas.automations import Automation, Posture
from prefect.exceptions import PrefectHTTPStatusError

from taxi_lib.checks import server
from taxi_lib.checks.answers import UnreadableError, number, one_of, shown, text
from taxi_lib.checks.verdicts import Right, Wrong

HINTS = {
    1: [
        "What does `month_came` do with the answer, and does anything in it fail?",
        "The subject is made in the file `month_came.py`: put the numbers of the payload in.",
    ],
    2: [
        "An `EventTrigger` counts with `threshold`, and `within` says in which time.",
        "`failed` in the lesson chooses the right events. Give a trigger like it the two words.",
        "Does the automation count on while the minute that it has fired for is not over?",
    ],
    3: [
        "The lesson prints the name of each event's resource. Is it the name of the flow?",
        "Each part of `match` must fit the resource: the run. Where in the event is the flow?",
    ],
}
_MINUTE = timedelta(minutes=1)


def q1(ends_in: object, subject: object, answered: object) -> Right | Wrong:
    """Judge what was predicted of a run that is answered with no."""
    end, title = one_of(ends_in, "completed", "failed", "cancelled"), text(subject).strip()
    run = server.flow_run(answered)
    answer = _answer(run)
    if answer["train"]:
        return Wrong(
            "Somebody has told this run to train: it is not the one that you are to refuse.",
            "The second run is in `shown`. Leave *Train* off.",
        )
    if not answer["reason"].strip():
        return Wrong("You have answered this run without a reason: give another one a reason.")
    if end != run.state_name.casefold():
        return Wrong(
            "Your run ended in another state.",
            "To the server a no is an answer like any other. What in the flow would fail?",
        )
    month = f"{run.parameters['year']}-{run.parameters['month']:02d}"
    if month not in title:
        return Wrong(f"The subject is another one: it names the month as `{month}`.")
    if title != f"{month}: do not train":
        return Wrong("The e-mail has another subject. What does the flow make of `answer.train`?")
    return Right(
        "A no is a result, and the run that brings it is a success. What a person decided is data: "
        "the server checks its type, the flow decides what follows from it."
    )


def _answer(run: FlowRun) -> dict:
    """Return what a person has answered to a run of `month_came`."""
    with server.server() as client:
        states = client.read_flow_run_states(run.id)
        keys = [state.state_details.run_input_keyset for state in states]
        try:
            key = next(key["response"] for key in keys if key)
            answer = json.loads(client.read_flow_run_input(run.id, key))
        except (StopIteration, PrefectHTTPStatusError):
            raise UnreadableError(
                f"The run {run.name} is {run.state_name}, and nobody has answered it: give one "
                "that has waited for you. `emit_event(…)` starts another one."
            ) from None
    if not {"year", "month"} <= run.parameters.keys() or "train" not in answer:
        raise UnreadableError(f"The run {run.name} is no run of `month_came`.")
    return {"reason": ""} | answer


class History(NamedTuple):
    """When an automation was made, when the flow failed after that, and when it acted."""

    made: datetime
    failures: list[datetime]
    actions: list[datetime]


def q2(messages: object, twice: object, check_month: Flow) -> Right | Wrong:
    """Judge an automation for two failures, and what was predicted of four."""
    predicted, automation = number(messages), _automation(twice)
    problem = _problem(automation, check_month.name)
    return problem or _compare(predicted, _history(automation.id, check_month.name))


def _automation(answer: object) -> Automation:
    """Return an automation as the server keeps it."""
    automation_id = answer if type(answer) is UUID else getattr(answer, "id", None)
    if type(automation_id) is not UUID:
        raise UnreadableError(
            f"The answer is {shown(answer)}; an automation is asked for, as "
            "`await Automation(…).create()` returns it."
        )
    with server.server() as client:
        try:
            return client.read_automation(automation_id)
        except PrefectHTTPStatusError:
            raise UnreadableError(
                "The server knows no such automation: `.create()` saves it there."
            ) from None


def _problem(automation: Automation, flow_name: str) -> Wrong | None:
    """Say what is wrong with an automation that is to notice two failures of a flow."""
    trigger = _event_trigger(automation.trigger)
    if trigger.posture != Posture.Reactive:
        return Wrong("Your trigger is proactive: it waits for what does *not* happen.")
    if trigger.threshold != 2:
        return Wrong(f"Your trigger counts to {trigger.threshold}, and not to two.")
    if trigger.within != _MINUTE:
        seconds = trigger.within.total_seconds()
        return Wrong(f"Your trigger counts within {seconds:g} seconds. A minute is asked for.")
    if "prefect.resource.id" in trigger.for_each:
        return Wrong(
            "Your trigger counts each run for itself, by `for_each`.",
            "How often can one run fail?",
        )
    the_id = _id_of(flow_name)
    if not _fires(trigger, "Failed", flow_name, the_id):
        return Wrong("Your trigger does not see when `check_month` fails.")
    if _fires(trigger, "Completed", flow_name, the_id):
        return Wrong("Your trigger counts runs that have not failed, too.")
    if _fires(trigger, "Failed", "another-flow", uuid4()):
        return Wrong("Your trigger counts the failures of other flows, too.")
    if not any(getattr(one, "subject", "").strip() == "twice" for one in automation.actions):
        return Wrong('No action of your automation sends a message with the subject "twice".')
    return None


def _event_trigger(answer: object) -> EventTrigger:
    if type(answer) is not EventTrigger:
        raise UnreadableError(f"The trigger is {shown(answer)}; an `EventTrigger` is asked for.")
    return answer


def _id_of(flow_name: str) -> UUID:
    this_flow = filters.FlowFilter(name=filters.FlowFilterName(any_=[flow_name]))
    with server.server() as client:
        found = client.read_flows(flow_filter=this_flow)
    return found[0].id if found else uuid4()  # it has never run


def _fires(trigger: EventTrigger, state: str, flow_name: str, flow_id: UUID) -> bool:
    """Return whether the server would count an event about a run of a flow."""
    from prefect.server.events.schemas.automations import EventTrigger as Counting
    from prefect.server.events.schemas.events import ReceivedEvent

    counting = Counting.model_validate(trigger.model_dump(mode="json"))
    run_id, role = f"prefect.flow-run.{uuid4()}", "prefect.resource.role"
    flow = {"prefect.resource.id": f"prefect.flow.{flow_id}", "prefect.resource.name": flow_name}
    event = ReceivedEvent(
        occurred=datetime.now().astimezone(),
        event=f"prefect.flow-run.{state}",
        resource={"prefect.resource.id": run_id, "prefect.resource.name": "curious-owl"},
        related=[flow | {role: "flow"}],
        id=uuid4(),
    )
    return counting.covers(event)


def _history(automation_id: UUID, flow_name: str) -> History:
    """Ask the server what has happened since an automation was made."""
    this_flow = filters.FlowFilter(name=filters.FlowFilterName(any_=[flow_name]))
    failed = filters.FlowRunFilter.model_validate({"state": {"type": {"any_": ["FAILED"]}}})
    about = EventResourceFilter(id=[f"prefect.automation.{automation_id}"])
    with server.server() as client:
        path = f"/automations/{automation_id}"
        made = datetime.fromisoformat(client.request("GET", path).json()["created"])
        runs = client.read_flow_runs(flow_filter=this_flow, flow_run_filter=failed)
        events = client.read_events(EventFilter(resource=about), limit=50).events
    failures = sorted(run.end_time for run in runs if run.end_time and run.end_time > made)
    acted = [one.occurred for one in events if one.event == "prefect.automation.action.executed"]
    return History(made, failures, sorted(acted))


def _compare(predicted: float, history: History) -> Right | Wrong:
    """Compare a prediction with what happened in the minute after the first failure."""
    first = history.failures[0] if history.failures else history.made
    failures = [time for time in history.failures if time - first < _MINUTE]
    messages = [time for time in history.actions if time - first < _MINUTE]
    if not failures:
        return Wrong("The trigger is right. Now let `check_month` fail four times within a minute.")
    if len(failures) != 4:
        return Wrong(
            f"In the minute after the first failure that your automation has seen, `check_month` "
            f"has failed {len(failures)} times, and not four. Delete the automation, make it "
            "again, and let the flow fail four times within a minute."
        )
    if not messages:
        return Wrong(
            "The trigger is right, but your automation has sent nothing.",
            "A new automation is active a moment after it was made. And what do the events about "
            "the automation say?",
        )
    if predicted != len(messages):
        return Wrong(
            "The trigger is right. The number of messages was another: count them in `received`.",
            "What does a trigger do for the rest of the minute once it has fired?",
        )
    return Right(
        "The trigger fires as soon as it has counted to two, and then rests until the minute is "
        "over. So a flow that fails over and over does not fill your inbox."
    )


def q3(mended: object, check_month: Flow) -> Right | Wrong:
    """Judge a trigger by events about several flows; the server's own code decides."""
    trigger, name = _event_trigger(mended), check_month.name
    if trigger.posture != Posture.Reactive or trigger.threshold != 1:
        return Wrong("Change only what the trigger matches: it is to fire for each failure.")
    if _fires(trigger, "Failed", "another-flow", uuid4()):
        return Wrong(
            "Now your trigger fires for every flow that fails.",
            "The name of the flow is in the event, but not in its resource.",
        )
    if not _fires(trigger, "Failed", name, uuid4()):
        return _why_not(trigger, name)
    if _fires(trigger, "Completed", name, uuid4()):
        return Wrong("Your trigger fires for runs that have not failed, too.")
    return Right(
        "`match` looks only at the resource that an event is about, here the run. What the run "
        "belongs to is related: flow, deployment, work pool. A flow has the same name on every "
        "server, and it has it before its first run."
    )


def _why_not(trigger: EventTrigger, name: str) -> Wrong:
    if "prefect.resource.name" in trigger.match:
        return Wrong(
            "Your trigger still never fires: it asks the run for a name that runs do not have.",
            "Print the resource and the related resources of an event side by side.",
        )
    ids = json.dumps(trigger.model_dump(mode="json")["match_related"])
    if "prefect.flow." in ids:
        return Wrong(
            "Your trigger knows the flow by its id. On a server where the flow has not run yet, "
            "it would have another id: choose it by its name, as your colleague wanted.",
        )
    return Wrong(
        f"Your trigger does not fire when `{name}` fails.",
        "The flow is among the related resources: what is its role there, and what its name?",
    )
