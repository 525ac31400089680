"""When a cron expression starts a run: worked out by what Prefect itself uses."""

import asyncio
import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from zoneinfo import ZoneInfo

from prefect._vendor.croniter import croniter
from prefect.client.schemas.schedules import CronSchedule

from taxi_lib.checks.answers import UnreadableError, shown, text
from taxi_lib.checks.verdicts import Wrong


def times_of(answer: object, start: dt.datetime, count: int) -> list[dt.datetime]:
    """Return when a cron expression starts runs.

    Parameters
    ----------
    answer : str
        The expression.
    start : datetime.datetime
        With a time zone, which is that of the schedule; a run at this very time does not count.
    count : int
        How many times to return.

    Raises
    ------
    UnreadableError
        When it is no text, or no expression that Prefect takes, or never comes.
    """
    expression = text(answer)
    try:
        cron = croniter(CronSchedule(cron=expression).cron, start)
        return [cron.get_next(dt.datetime) for _ in range(count)]
    except ValueError:  # also of croniter and pydantic
        raise UnreadableError(
            f"Prefect does not take {shown(expression)}: a cron expression has five parts with "
            "spaces between them, `minute hour day month weekday`, and comes true at some time."
        ) from None


def planned(
    schedule: CronSchedule, count: int, zone: ZoneInfo, start: dt.datetime | None = None
) -> list[dt.datetime]:
    """Return the next times of a schedule as the server works them out, by the clock of a zone."""
    from prefect.server.schemas.schedules import CronSchedule as Calendar

    calendar = Calendar.model_validate(schedule.model_dump())
    with ThreadPoolExecutor() as thread:  # this one may have a running loop
        times = thread.submit(asyncio.run, calendar.get_dates(count, start)).result()
    return [time.astimezone(zone) for time in times]


def monthly(answer: object, day: int, hour: int) -> Wrong | None:
    """Judge a cron expression for one day of each month, at a full hour; None if it is right."""
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    wanted = [
        start.replace(year=2026 + month // 12, month=1 + month % 12, day=day, hour=hour)
        for month in range(36)
    ]
    times = times_of(answer, start, len(wanted))
    if times == wanted:
        return None
    shown_times = ", ".join(f"{time:%a %Y-%m-%d %H:%M}" for time in times[:3])
    return Wrong(f"From 2026-01-01 on it would start at {shown_times} … {_fault(times, wanted)}")


def _fault(times: list[dt.datetime], wanted: list[dt.datetime]) -> str:
    """Say what to look at when a schedule starts runs at other times than it should."""
    right = wanted[0]
    if {(time.minute, time.hour) for time in times} == {(right.hour, right.minute)}:
        return "Hour and minute have changed places: which of the five parts comes first?"
    if times[1] - times[0] >= dt.timedelta(days=7) and len({t.weekday() for t in times}) == 1:
        return "It looks at the day of the week. Which part is the day of the month?"
    if times[-1] - times[0] < (wanted[-1] - wanted[0]) / 2:
        return "That is too often: which part should name one value, and has `*` or a list?"
    if times[-1].date() > wanted[-1].date():
        return "It leaves months out: which part holds the months?"
    return "Read the five parts from the left: minute, hour, day of the month, month, weekday."
