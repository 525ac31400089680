"""The checks of lesson 12: each answer gets the sentence that fits it."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from prefect import flow, get_client
from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.schemas.objects import StateDetails
from prefect.events import EventTrigger
from prefect.events.actions import DoNothing, SendNotification
from prefect.events.schemas.automations import Posture
from prefect.states import Completed, Paused, State

from support.exercises import said
from taxi_lib.checks import lesson_12
from taxi_lib.checks.lesson_12 import History
from taxi_lib.services import webhook_sink
from taxi_lib.services.prefect_client import temporary_names, wait_for


@flow
def month_came(year: int, month: int) -> None: ...


@flow
def check_month() -> None:
    raise ValueError("12 trips")


def answered(answer: dict | None, year: int = 2022, month: int = 7, end: State = Completed) -> UUID:
    """Return a run that has been answered, without running anything."""
    keys = {"response": "paused-1-response", "schema": "paused-1-schema"}
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(month_came, parameters={"year": year, "month": month})
        paused = Paused(timeout_seconds=60)
        paused.state_details = StateDetails(run_input_keyset=keys, pause_timeout=datetime.now(UTC))
        client.set_flow_run_state(run.id, paused, force=True)
        if answer is not None:
            client.create_flow_run_input(run.id, keys["response"], json.dumps(answer))
        client.set_flow_run_state(run.id, end(), force=True)
    return run.id


NO = {"train": False, "reason": "too few trips"}
REFUSALS = {
    "right": ("right", "A no is a result", "Completed", "2022-07: do not train", NO),
    "a no fails": ("wrong", "ended in another state", "Failed", "2022-07: do not train", NO),
    "the lesson's month": ("wrong", "as `2022-07`", "Completed", "2021-03: do not train", NO),
    "no zero": ("wrong", "as `2022-07`", "Completed", "2022-7: do not train", NO),
    "the lesson's subject": ("wrong", "another subject", "Completed", "2022-07: train", NO),
    "the lesson's run": (
        "wrong",
        "told this run to train",
        "Completed",
        "2022-07: train",
        {"train": True, "reason": "the file looks right"},
    ),
    "no reason": ("wrong", "without a reason", "Completed", "x", {"train": False, "reason": " "}),
    "nobody answered": ("wrong", "nobody has answered it", "Completed", "x", None),
    "another flow": ("wrong", "no run of `month_came`", "Completed", "x", {"sure": True}),
    "untouched": ("not attempted", "check.hint(1)", "Completed", ..., NO),
}


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_looked_up_in_the_answer_that_the_server_kept(case: str):
    status, sentence, ends_in, subject, answer = REFUSALS[case]
    box = said("12", 1, ends_in, subject, answered(answer))
    assert box.status == status and sentence in box.text


def failures_of(name: str, **changes: object) -> EventTrigger:
    """Return a trigger for the failures of a flow, with changes."""
    related = {"prefect.resource.role": "flow", "prefect.resource.name": name}
    given = {
        "expect": {"prefect.flow-run.Failed"},
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": related,
    }
    return EventTrigger(**given | changes)


TWICE = {"threshold": 2, "within": timedelta(minutes=1)}
PROBLEMS = {
    "right": ({}, "twice", ""),
    "its own flow by id": ({"match_related": "id"}, "twice", ""),
    "threshold forgotten": ({"threshold": 1}, "twice", "counts to 1, and not to two"),
    "within forgotten": ({"within": timedelta(0)}, "twice", "within 0 seconds"),
    "for each run": ({"for_each": {"prefect.resource.id"}}, "twice", "counts each run for itself"),
    "each flow": ({"match_related": {}}, "twice", "failures of other flows"),
    "all ends": ({"expect": {"prefect.flow-run.*"}}, "twice", "have not failed, too"),
    "crashes": ({"expect": {"prefect.flow-run.Crashed"}}, "twice", "does not see"),
    "proactive": ({"posture": Posture.Proactive}, "twice", "Your trigger is proactive"),
    "another subject": ({}, "failed", 'with the subject "twice"'),
    "no message": ({}, None, 'with the subject "twice"'),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_an_automation_for_two_failures_is_judged_by_what_it_counts(
    case: str, monkeypatch: pytest.MonkeyPatch
):
    changes, subject, sentence = PROBLEMS[case]
    flow_id = uuid4()
    monkeypatch.setattr(lesson_12, "_id_of", lambda name: flow_id)
    if changes.get("match_related") == "id":
        changes = {"match_related": {"prefect.resource.id": f"prefect.flow.{flow_id}"}}
    notify = SendNotification(block_document_id=uuid4(), subject=subject or "", body="")
    actions = [notify if subject else DoNothing()]
    trigger = failures_of("check-month", **TWICE | changes)
    found = lesson_12._problem(
        Automation(name="twice", trigger=trigger, actions=actions), "check-month"
    )
    assert (found.hint if found else "").count(sentence) and bool(found) == bool(sentence)


MADE = datetime(2026, 1, 1, tzinfo=UTC)


def at(*seconds: float) -> list[datetime]:
    return [MADE + timedelta(seconds=each) for each in seconds]


HISTORIES = {
    "right": (1, at(3, 4, 5, 6), at(4.2), "rests until the minute is over"),
    "every second one": (2, at(3, 4, 5, 6), at(4.2), "number of messages was another"),
    "every one": (4, at(3, 4, 5, 6), at(4.2), "number of messages was another"),
    "a later minute": (1, at(3, 4, 5, 6, 80, 81), at(4.2, 81.1), "rests until"),
    "not tried": (1, [], [], "Now let `check_month` fail"),
    "spread out": (1, at(3, 4, 90, 91), at(4.2), "has failed 2 times"),
    "too early": (0, at(0.1, 0.2, 0.3, 0.4), [], "has sent nothing"),
}


@pytest.mark.parametrize("case", HISTORIES)
def test_a_prediction_of_messages_is_compared_with_the_minute_after_the_first_failure(case: str):
    predicted, failures, actions, sentence = HISTORIES[case]
    verdict = lesson_12._compare(predicted, History(MADE, failures, actions))
    assert sentence in getattr(verdict, "why", "") + getattr(verdict, "hint", "")


@pytest.fixture
def automated() -> Callable[[], Automation]:
    """Yield what makes the automation of the solution, with a webhook that listens."""
    with temporary_names() as named, webhook_sink() as (address, _):
        block = CustomWebhookNotificationBlock(name="t", url=address, json_data={})
        block_id = block.save(named("webhook"))
        notify = SendNotification(block_document_id=block_id, subject="twice", body="")

        def make() -> Automation:
            trigger = failures_of(check_month.name, **TWICE)
            return Automation(name=named("twice"), trigger=trigger, actions=[notify]).create()

        yield make


@pytest.mark.usefixtures("prefect_api")
def test_four_failures_within_a_minute_are_one_message(automated: Callable[[], Automation]):
    automation = automated()
    assert "Now let `check_month` fail" in said("12", 2, 1, automation, check_month).text
    time.sleep(1)  # until it is active
    for _ in range(4):
        check_month(return_state=True)
    wait_for(lambda: lesson_12._history(automation.id, check_month.name).actions)
    assert said("12", 2, 1, automation, check_month).status == "right"
    assert said("12", 2, 2, automation.id, check_month).status == "wrong"


OTHER_ANSWERS = {
    "not saved": (Automation(name="x", trigger=failures_of("x"), actions=[]), "is asked for"),
    "unknown": (uuid4(), "knows no such automation"),
}


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("case", OTHER_ANSWERS)
def test_an_automation_has_to_be_on_the_server(case: str):
    answer, sentence = OTHER_ANSWERS[case]
    box = said("12", 2, 1, answer, check_month)
    assert box.status == "wrong" and sentence in box.text


RUN = {"prefect.resource.id": "prefect.flow-run.*"}
THE_FLOW = {"prefect.resource.role": "flow", "prefect.resource.id": f"prefect.flow.{uuid4()}"}
MENDED = {
    "right": ({}, "right", "`match` looks only at the resource"),
    "the colleague's": (
        {"match": RUN | {"prefect.resource.name": "check-month"}, "match_related": {}},
        "wrong",
        "a name that runs do not have",
    ),
    "the lesson's": ({"match_related": THE_FLOW}, "wrong", "knows the flow by its id"),
    "every flow": ({"match_related": {}}, "wrong", "for every flow that fails"),
    "only the role": (
        {"match_related": {"prefect.resource.role": "flow"}},
        "wrong",
        "for every flow that fails",
    ),
    "a wrong role": (
        {"match_related": {"prefect.resource.role": "run", "prefect.resource.name": "check-month"}},
        "wrong",
        "does not fire when `check-month` fails",
    ),
    "every state": ({"expect": {"prefect.flow-run.*"}}, "wrong", "that have not failed, too"),
    "waits for two": (TWICE, "wrong", "Change only what the trigger matches"),
}


@pytest.mark.parametrize("case", MENDED)
def test_a_mended_trigger_is_shown_events_about_several_flows(case: str):
    changes, status, sentence = MENDED[case]
    box = said("12", 3, failures_of("check-month", **changes), check_month)
    assert box.status == status and sentence in box.text


def test_what_is_no_trigger_is_named():
    assert "an `EventTrigger` is asked for" in said("12", 3, {"match": RUN}, check_month).text
    assert said("12", 3, ..., check_month).status == "not attempted"
