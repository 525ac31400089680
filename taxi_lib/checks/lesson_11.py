"""Lesson 11: a first Monday, one month more and the clock of an evening, and a date too early."""

import datetime as dt
import inspect
import re
from zoneinfo import ZoneInfo

import numpy as np
from prefect import Flow
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import CronSchedule
from prefect.schedules import Schedule

from taxi_lib.checks import schedules, server
from taxi_lib.checks.answers import UnreadableError, number, shown
from taxi_lib.checks.verdicts import Right, Wrong

HINTS = {
    1: [
        "Count with a calendar: which days of June 2021 match the third part, and which the fifth?",
        "With both a day of the month and a weekday, one of them is enough for cron. `day_or` of "
        "`CronSchedule` says so, and can say otherwise. And which clock shows 7:30?",
    ],
    2: [
        "The day of a run is the day in UTC. What does the clock in UTC show at 20:00 in New York?",
        "`sources.fetch_months(…)` brings a month's file into the folder; `ask_for(day)` asks for "
        "the run of a day. For the evening, leave the folder out.",
    ],
    3: [
        "When does Python work out a default: at `def`, or at each call? Which process reads it?",
        "What does `today()` return in a run that is five years late, wherever you write it? "
        "`dates.py` asks `runtime` instead.",
    ],
}
NEW_YORK = ZoneInfo("America/New_York")
_JUNE = dt.datetime(2021, 6, 1, tzinfo=NEW_YORK)
_LATE = dt.date(2021, 5, 3)
_EITHER = "30 7 1-7 * 1"


def q1(fires: object, schedule: object) -> Right | Wrong:
    """Judge how often an expression fires in a month, and a schedule for the first Mondays."""
    predicted, given = number(fires), _cron_schedule(schedule)
    return _compare_june(predicted) or _first_mondays(given)


def _cron_schedule(answer: object) -> CronSchedule:
    from prefect.server.schemas.schedules import CronSchedule as OfServer

    if type(answer) not in (CronSchedule, OfServer, Schedule) or not answer.cron:
        raise UnreadableError(
            f"The answer is {shown(answer)}; a schedule is asked for: `CronSchedule(cron=…, …)`."
        )
    return CronSchedule(cron=answer.cron, timezone=answer.timezone, day_or=answer.day_or)


def _compare_june(predicted: float) -> Wrong | None:
    """Compare a prediction with what Prefect makes of the expression in June 2021."""
    schedule = CronSchedule(cron=_EITHER, timezone="America/New_York")
    times = schedules.planned(schedule, 31, NEW_YORK, start=_JUNE)
    days = {time.day for time in times if (time.year, time.month) == (2021, 6)}
    mondays = {day for day in days if dt.date(2021, 6, day).weekday() == 0}
    early = {day for day in days if day <= 7}
    if predicted == len(days):
        return None
    if predicted == len(mondays & early):
        return Wrong(
            f"You take `{_EITHER}` for the first Monday. It fires more often in June 2021.",
            "Let `CronSchedule(cron=…).get_dates(…, start=…)` list the times, and look at them.",
        )
    if predicted == len(mondays) + len(early):
        return Wrong("You count one day twice: it is a Monday, and one of the first seven days.")
    if predicted in (len(mondays), len(early)):
        return Wrong("You count the days for one part of the expression. What about the other one?")
    return Wrong(f"In June 2021 `{_EITHER}` does not fire {predicted:g} times.", "List the times.")


def _first_mondays(schedule: CronSchedule) -> Right | Wrong:
    """Judge the times of a schedule from a day that differs each time."""
    day = dt.timedelta(days=int(np.random.default_rng().integers(0, 3000)))
    start = dt.datetime(2022, 1, 1, tzinfo=dt.UTC) + day
    times = schedules.planned(schedule, 36, NEW_YORK, start=start)
    found = "It starts runs at " + ", ".join(f"{time:%a %d %b %Y %H:%M}" for time in times[:3])
    found += " … by New York's clocks."
    if len(times) < 36:
        return Wrong("This schedule never comes, or ends.")
    if any(time.weekday() != 0 or time.day > 7 for time in times):
        return Wrong(
            f"{found} Not all are first Mondays.",
            "Which switch of `CronSchedule` joins a day of the month and a weekday by *and*?",
        )
    if any((time.hour, time.minute) != (7, 30) for time in times):
        return Wrong(
            f"{found} Half past seven is asked for, in summer and in winter.",
            "A schedule without a time zone means UTC.",
        )
    counted = [time.year * 12 + time.month for time in times]
    if counted != list(range(counted[0], counted[0] + 36)):
        return Wrong(f"{found} It leaves months out, or comes twice in one.")
    return Right(
        "With a day of the month and a weekday, cron takes either; that is an old rule, and many "
        "schedules fire too often because of it. List the next times before you deploy: an "
        "expression that looks right costs nothing to try."
    )


def q2(
    months: object, extra: object, evening: object, backfill_to: str, deployment_id: object
) -> Right | Wrong:
    """Judge one more month of the backfill, and a run on the evening before its month begins."""
    predicted = _pair(months)
    more, late = server.flow_run(extra), server.flow_run(evening)
    for run in (more, late):
        if run.deployment_id != deployment_id:
            return Wrong(f"The run {run.name} is not one of this lesson's deployment.")
        if run.parameters.get("date"):
            return Wrong(
                f"{run.name} was given a `date`. Leave it out: the scheduled time should decide."
            )
    return (
        _one_month_more(more, backfill_to)
        or _on_the_evening_before(late, more)
        or _compare_months(predicted, late, more)
    )


def _pair(answer: object) -> list[str]:
    if type(answer) not in (list, tuple) or [type(one) for one in answer] != [str, str]:
        raise UnreadableError(
            f"The answer is {shown(answer)}; two months are asked for, as `months_for` returns "
            "them."
        )
    return list(answer)


def _one_month_more(run: FlowRun, backfill_to: str) -> Wrong | None:
    """Judge a run for the month after the backfill, which must be there exactly once."""
    year, month = map(int, backfill_to.split("-"))
    next_month = _months_before(dt.date(year, month, 1), -1)
    due = _months_before(_due(run, dt.UTC).date(), 3)
    if due != next_month:
        return Wrong(
            f"This run was due on {run.expected_start_time:%Y-%m-%d}, which is the day for "
            f"{due}, and not for the month after `backfill_to`."
        )
    if not server.a_worker_completed(run):
        return Wrong(
            f"The run {run.name} is {run.state_name}. The end of its log says why.",
            "Which two files does it need, and are both in the folder that it was given?",
        )
    if not run.parameters.get("folder"):
        return Wrong(
            "This run was given no folder, so it has only said which months it would take."
        )
    if (times := _completed_like(run)) > 1:
        return Wrong(
            f"The server has {times} completed runs for this day, so the month was done {times} "
            "times.",
            "`idempotency_key` makes a second call return the first run. Delete the runs that are "
            "too many on their page.",
        )
    return None


def _due(run: FlowRun, zone: dt.tzinfo = NEW_YORK) -> dt.datetime:
    """Return when a run was due, by the clock of a zone, as a plain datetime."""
    return dt.datetime.fromtimestamp(run.expected_start_time.timestamp(), zone)


def _months_before(day: dt.date, count: int) -> str:
    month = day.year * 12 + day.month - 1 - count
    return f"{month // 12}-{month % 12 + 1:02d}"


def _completed_like(run: FlowRun) -> int:
    """Return how many completed runs the deployment has for the same time."""
    ours = filters.DeploymentFilter(id=filters.DeploymentFilterId(any_=[run.deployment_id]))
    named = filters.FlowRunFilter(name=filters.FlowRunFilterName(any_=[run.name]))
    with server.server() as client:
        runs = client.read_flow_runs(deployment_filter=ours, flow_run_filter=named)
    same_time = [one for one in runs if one.expected_start_time == run.expected_start_time]
    return sum(one.state_name == "Completed" for one in same_time)


def _on_the_evening_before(run: FlowRun, more: FlowRun) -> Wrong | None:
    """Judge whether a run was due at 20:00 in New York, on the last day of the month before."""
    due = _due(run)
    first = _due(more).date().replace(day=1)
    if (due.hour, due.minute) != (20, 0):
        return Wrong(
            f"The second run was due at {due:%H:%M} in New York, and not at 20:00.",
            "A time without a time zone counts as UTC: `tzinfo=ZoneInfo('America/New_York')`.",
        )
    if due.date() != first - dt.timedelta(days=1):
        return Wrong(
            f"The second run was due on {due:%d %B %Y} in New York; the last day of the month "
            "before the first run's is asked for."
        )
    if not server.a_worker_completed(run):
        return Wrong(f"The run {run.name} is {run.state_name}. The end of its log says why.")
    return None


def _compare_months(predicted: list[str], late: FlowRun, more: FlowRun) -> Right | Wrong:
    took = _months_of(late)
    if predicted == took:
        return Right(
            "In UTC that evening is already the first of the month, so both runs take the same "
            "months. The server's times are in UTC; where the local day matters, turn the time "
            "into the local zone *before* you take its date. A run in the middle of the day has "
            "no such trouble."
        )
    if predicted == took[::-1]:
        return Wrong("These are the months, in the other order: first the one to train on.")
    evening = _due(late).date()
    if predicted[1] == _months_before(evening, 3):
        return Wrong(
            "Both runs are as they should be. You count from the day in New York. Which day does "
            "the flow count from?",
            "Print `evening.expected_start_time`, and read what the text says about `.date()`.",
        )
    return Wrong(
        "Both runs are as they should be, but the second took other months: look at its name."
    )


def _months_of(run: FlowRun) -> list[str]:
    """Return the months that a run has in its name, which its own process gives it."""
    found = re.fullmatch(r"train on (\d{4}-\d\d), validate on (\d{4}-\d\d)", run.name)
    if not found:
        raise UnreadableError(f"The run {run.name!r} does not have its months in its name.")
    return list(found.groups())


def q3(taken: object, run: object, due: object) -> Right | Wrong:
    """Judge what a flow with today's date as its default took, and a flow that is right."""
    predicted, late = _pair(taken), server.flow_run(run)
    own = server.flow(due)
    return _ran_too_late(late) or _compare_taken(predicted, late) or _mended(own)


def _ran_too_late(run: FlowRun) -> Wrong | None:
    """Judge whether a run is one of the colleague's flow, due on 3 May 2021."""
    deployment = server.deployment(run.deployment_id)
    form = (deployment.parameter_openapi_schema or {}).get("properties", {})
    if not re.match(r"\d{4}-", str(form.get("date", {}).get("default"))):
        return Wrong(
            "The deployment of this run has no date as its default: is it the lesson's own?",
            "Deploy a copy of `dates.py` with the colleague's line, under a new name.",
        )
    if run.parameters.get("date"):
        return Wrong("This run was given a `date`. Ask without one, so that the default counts.")
    if _due(run).date() != _LATE:
        return Wrong(
            f"This run was due on {run.expected_start_time:%d %B %Y}; 3 May 2021 is asked for.",
            "`run_deployment(…, scheduled_time=…)`",
        )
    if not server.a_worker_completed(run):
        return Wrong(f"The run {run.name} is {run.state_name}. The end of its log says why.")
    return None


def _compare_taken(predicted: list[str], run: FlowRun) -> Wrong | None:
    took = _months_of(run)
    if predicted == took:
        return None
    if predicted[1] == _months_before(_LATE, 3):
        return Wrong(
            "These months belong to the day on which the run was *due*. Does this flow ask for it?",
            "The name of the run says which months it took.",
        )
    if predicted == took[::-1]:
        return Wrong("These are the months, in the other order: first the one to train on.")
    return Wrong("The run took other months than you predict: its name says which.")


def _mended(own: Flow) -> Right | Wrong:
    """Run the learner's flow for days long past, and for a day that is given."""
    days = np.random.default_rng().integers(0, 2000, 2)
    for day in (dt.date(2016, 1, 1) + dt.timedelta(days=int(n)) for n in days):
        if problem := _took_other_months(own, day):
            return problem
    given = dt.date(2014, 6, 15)
    ended = server.run_flow(own, given)
    if _listed(ended.result) != _both(given):
        return Wrong(
            f"For a `date` that is given, {given}, the flow returns {shown(ended.result)}: a date "
            "that somebody gives comes first."
        )
    return Right(
        "`def` is read once, when the file is imported, and its defaults are worked out then: "
        "here when the run's process begins. In the body, `today()` would be the clock of the "
        "run, which is late by the same five years. Only the scheduled time stays what it was."
    )


def _took_other_months(own: Flow, day: dt.date) -> Wrong | None:
    noon = dt.datetime.combine(day, dt.time(12), tzinfo=dt.UTC)
    found = _listed(server.run_flow_due(own, noon).result)
    if found == _both(day):
        return None
    today = dt.datetime.now(dt.UTC).date()
    if found not in (_both(today), _both(today - dt.timedelta(days=1))):
        return Wrong(
            f"For a run that was due on {day} the flow returns {shown(found)}.",
            "It should return what `months_for` says of that day.",
        )
    default = inspect.signature(own.fn).parameters
    if any(isinstance(one.default, dt.date) for one in default.values()):
        return Wrong(
            f"A run that was due on {day} takes the months of today: the default was worked out "
            "when your cell was run.",
            "Let the default be `None`, which says that nobody gave a date.",
        )
    return Wrong(
        f"A run that was due on {day} takes the months of today: the flow looks at the clock.",
        "Is it the time at which the run began, or the one it was scheduled for?",
    )


def _listed(result: object) -> object:
    if isinstance(result, BaseException):
        raise UnreadableError(f"The flow ended with `{result!r:.200}`.")
    return list(result) if type(result) is tuple else result


def _both(day: dt.date) -> list[str]:
    return [_months_before(day, 4), _months_before(day, 3)]
