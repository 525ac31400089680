"""The checks of lesson 11: each answer gets the sentence that fits it."""

import datetime as dt
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from prefect import Flow, flow, runtime
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import CronSchedule
from prefect.schedules import Cron, Interval
from prefect.server.schemas.schedules import CronSchedule as CronOfServer

from support.exercises import cell, said
from support.worker_runs import Deployed, deployed
from taxi_lib.checks.lesson_11 import _both

NEW_YORK = ZoneInfo("America/New_York")
BOTH = CronOfServer(cron="30 7 1-7 * 1", timezone="America/New_York", day_or=False)


def cron(expression: str, **more: object) -> CronSchedule:
    return CronSchedule(cron=expression, **{"timezone": "America/New_York"} | more)


SCHEDULES = {
    "right": ("right", "takes either", 10, BOTH),
    "of the client": ("right", "takes either", 10, cron("30 7 1-7 * 1", day_or=False)),
    "the first of its kind": ("right", "takes either", 10, cron("30 7 * * 1#1")),
    "to deploy with": (
        "right",
        "takes either",
        10,
        Cron("30 7 * * 1#1", timezone="America/New_York"),
    ),
    "either": ("wrong", "Not all are first Mondays", 10, cron("30 7 1-7 * 1")),
    "every Monday": ("wrong", "Not all are first Mondays", 10, cron("30 7 * * 1")),
    "first Sundays": ("wrong", "Not all are first Mondays", 10, cron("30 7 * * 0#1")),
    "no time zone": ("wrong", "in summer and in winter", 10, cron("30 7 * * 1#1", timezone=None)),
    "another hour": (
        "wrong",
        "in summer and in winter",
        10,
        cron("7 3 * * 1#1"),
    ),
    "winter's hour in UTC": (
        "wrong",
        "in summer and in winter",
        10,
        cron("30 12 * * 1#1", timezone="UTC"),
    ),
    "one quarter": ("wrong", "leaves months out", 10, cron("30 7 * 1,4,7,10 1#1")),
    "the first Monday alone": ("wrong", "fires more often", 1, BOTH),
    "Mondays": ("wrong", "the other one", 4, BOTH),
    "days": ("wrong", "the other one", 7, BOTH),
    "one twice": ("wrong", "one day twice", 11, BOTH),
    "guessed": ("wrong", "does not fire 30 times", 30, BOTH),
    "a text": ("wrong", "a schedule is asked for", 10, "30 7 1-7 * 1"),
    "an interval": ("wrong", "a schedule is asked for", 10, Interval(60)),
    "untouched": ("not attempted", "check.hint(1)", 10, ...),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_a_schedule_for_the_first_mondays(case: str):
    status, sentence, fires, schedule = SCHEDULES[case]
    box = said("11", 1, fires, schedule)
    assert box.status == status and sentence in box.text


@pytest.fixture
def project(prefect_api: str) -> Iterator[Deployed]:
    with deployed("monthly") as made:
        yield made


def at(day: str, zone: dt.tzinfo = NEW_YORK) -> dt.datetime:
    return dt.datetime.fromisoformat(day).replace(tzinfo=zone)


def ran(
    made: Deployed, deployment: UUID, due: dt.datetime, state: str = "Completed", **more: object
) -> FlowRun:
    """Leave a run with the name that the lesson's flow would give it."""
    train, val = _both(due.astimezone(dt.UTC).date())
    name = f"train on {train}, validate on {val}"
    return made.run(deployment, state, **{"due": due, "name": name} | more)


def extra_run(made: Deployed, deployment: UUID, **more: object) -> FlowRun:
    return ran(made, deployment, **{"due": at("2021-08-03 09:00"), "folder": "trips"} | more)


def evening_run(made: Deployed, deployment: UUID, **more: object) -> FlowRun:
    return ran(made, deployment, **{"due": at("2021-07-31 20:00")} | more)


MONTHS = {
    "right": ("right", "already the first of the month", ["2021-04", "2021-05"]),
    "by New York's day": ("wrong", "the day in New York", ["2021-03", "2021-04"]),
    "swapped": ("wrong", "in the other order", ["2021-05", "2021-04"]),
    "others": ("wrong", "look at its name", ["2021-06", "2021-07"]),
    "one": ("wrong", "two months are asked for", "2021-05"),
    "untouched": ("not attempted", "check.hint(2)", [..., "2021-05"]),
}


def test_months_of_the_evening_are_compared_with_what_was_predicted(project: Deployed):
    deployment = project.deployment("green")
    extra, evening = extra_run(project, deployment), evening_run(project, deployment)
    for case, (status, sentence, months) in MONTHS.items():
        box = said("11", 2, months, extra, evening, "2021-04", deployment)
        assert box.status == status and sentence in box.text, case


EXTRA: dict[str, tuple[str, dict]] = {
    "the lesson's": ("the day for 2021-04", {"due": at("2021-07-03 09:00")}),
    "the month itself": ("the day for 2021-02", {"due": at("2021-05-03 09:00")}),
    "no file": ("end of its log", {"state": "Failed"}),
    "nobody's work": ("end of its log", {"by_a_worker": False}),
    "no folder": ("given no folder", {"folder": None}),
    "a date": ("was given a `date`", {"date": "2021-08-03"}),
}


@pytest.mark.parametrize("case", EXTRA)
def test_another_run_is_not_one_month_more(case: str, project: Deployed):
    sentence, change = EXTRA[case]
    deployment = project.deployment("green")
    extra, evening = extra_run(project, deployment, **change), evening_run(project, deployment)
    box = said("11", 2, ["2021-04", "2021-05"], extra, evening, "2021-04", deployment)
    assert box.status == "wrong" and sentence in box.text


EVENING: dict[str, tuple[str, dict]] = {
    "in UTC": ("not at 20:00", {"due": at("2021-07-31 20:00", dt.UTC)}),
    "its own month": ("last day of the month before", {"due": at("2021-08-31 20:00")}),
    "failed": ("is Failed", {"state": "Failed"}),
    "named by hand": ("its months in its name", {"name": "evening"}),
}


@pytest.mark.parametrize("case", EVENING)
def test_another_run_is_not_that_of_the_evening(case: str, project: Deployed):
    sentence, change = EVENING[case]
    deployment = project.deployment("green")
    extra, evening = extra_run(project, deployment), evening_run(project, deployment, **change)
    box = said("11", 2, ["2021-04", "2021-05"], extra, evening, "2021-04", deployment)
    assert box.status == "wrong" and sentence in box.text


def test_a_month_that_was_done_twice_is_said(project: Deployed):
    deployment = project.deployment("green")
    extra, evening = extra_run(project, deployment), evening_run(project, deployment)
    extra_run(project, deployment)
    box = said("11", 2, ["2021-04", "2021-05"], extra, evening, "2021-04", deployment)
    assert box.status == "wrong" and "has 2 completed runs" in box.text


def test_a_run_of_another_deployment_is_said(project: Deployed):
    deployment, other = project.deployment("green"), project.deployment("other")
    extra, evening = extra_run(project, other), evening_run(project, deployment)
    box = said("11", 2, ["2021-04", "2021-05"], extra, evening, "2021-04", deployment)
    assert box.status == "wrong" and "not one of this lesson's" in box.text


DUE = """
    @flow(name="due")
    def due(date{default}):
        day = {day}
        month = day.year * 12 + day.month - 1
        return [f"{{n // 12}}-{{n % 12 + 1:02d}}" for n in (month - 4, month - 3)]
"""
SCHEDULED, TODAY = "runtime.flow_run.scheduled_start_time.date()", "dt.datetime.now(dt.UTC).date()"


def due_flow(day: str = f"date or {SCHEDULED}", default: str = ": dt.date | None = None") -> Flow:
    return cell(DUE.format(day=day, default=default), dt=dt, flow=flow, runtime=runtime)


FORM = {"type": "object", "properties": {"date": {"type": "string", "default": "2026-01-02"}}}


@pytest.fixture
def late(project: Deployed) -> SimpleNamespace:
    """Return a run of the colleague's flow, and the months that it took."""
    colleagues = project.deployment("colleague", parameter_openapi_schema=FORM)
    run = project.run(
        colleagues, due=at("2021-05-03 09:00"), name="train on 2025-09, validate on 2025-10"
    )
    return SimpleNamespace(run=run, months=["2025-09", "2025-10"], deployment=colleagues)


FLOWS: dict[str, tuple[str, str, Callable[[], object]]] = {
    "right": ("right", "`def` is read once", due_flow),
    "the colleague's": (
        "wrong",
        "when your cell was run",
        lambda: due_flow("date", f": dt.date = {TODAY}"),
    ),
    "in the body": ("wrong", "looks at the clock", lambda: due_flow(f"date or {TODAY}")),
    "never the date": ("wrong", "a date that somebody gives", lambda: due_flow(SCHEDULED)),
    "one fixed day": ("wrong", "a run that was due on", lambda: due_flow("dt.date(2021, 5, 3)")),
    "a mistake": ("raised", "AttributeError", lambda: due_flow("runtime.flow_run.scheduled_at")),
    "a failure": ("wrong", "The flow ended with", lambda: due_flow("1 / 0")),
    "no flow": ("wrong", "a function below `@flow`", lambda: len),
    "untouched": ("not attempted", "check.hint(3)", lambda: ...),
}


@pytest.mark.parametrize("case", FLOWS)
def test_a_flow_takes_the_day_on_which_its_run_was_due(case: str, late: SimpleNamespace):
    status, sentence, make = FLOWS[case]
    box = said("11", 3, late.months, late.run, make())
    assert sentence in box.text and box.status == status


TAKEN = {
    "of the due day": ("*due*", ["2021-01", "2021-02"]),
    "swapped": ("other order", ["2025-10", "2025-09"]),
    "others": ("its name says which", ["2025-10", "2025-11"]),
}


def test_months_of_the_late_run_are_compared_with_what_was_predicted(late: SimpleNamespace):
    for case, (sentence, months) in TAKEN.items():
        box = said("11", 3, months, late.run, due_flow())
        assert box.status == "wrong" and sentence in box.text, case


def test_another_run_is_not_the_late_one(project: Deployed, late: SimpleNamespace):
    lessons = project.deployment("green", parameter_openapi_schema={"properties": {"date": {}}})
    wrong = {
        "the lesson's own": project.run(lessons, due=at("2021-05-03 09:00")),
        "was given a `date`": project.run(late.deployment, date="2021-05-03"),
        "3 May 2021 is asked for": project.run(late.deployment, due=at("2021-06-03 09:00")),
        "is Failed": project.run(late.deployment, "Failed", due=at("2021-05-03 09:00")),
    }
    for sentence, run in wrong.items():
        box = said("11", 3, late.months, run, due_flow())
        assert box.status == "wrong" and sentence in box.text, sentence


@pytest.mark.usefixtures("prefect_api")
def test_a_deployment_that_is_gone_is_said():
    extra = flow(lambda: None, name="extra")(return_state=True)
    box = said("11", 2, ["2021-04", "2021-05"], extra, extra, "2021-04", uuid4())
    assert box.status == "wrong" and "not one of this lesson's" in box.text
