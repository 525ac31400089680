"""Months, written ``2021-01``: checked, counted, and compared."""

import re
from datetime import UTC, datetime
from typing import Literal

from taxi_lib.errors import ContractError

# Where months may come from; see taxi_lib.trips.sources.
Source = Literal["auto", "local", "tlc", "synthetic"]
# Asks for the month before the one in which a run was scheduled.
PREVIOUS = "previous"
# The TLC's records begin in 2009.
MONTH = re.compile(r"(2009|20[1-9]\d)-(0[1-9]|1[0-2])")


def check_month(month: str, what: str = "month") -> str:
    """Return the month if it is valid.

    Parameters
    ----------
    month : str
        A month such as ``"2021-01"``, from 2009 to 2099.
    what : str
        What the month is for, for the message.

    Raises
    ------
    ContractError
        When it is anything else, such as ``"2021-13"``, an empty text, a path, or a number.
    """
    if isinstance(month, str) and MONTH.fullmatch(month):
        return month
    raise ContractError(
        f"{what} is {month!r}, which is not a month: write year and month like 2021-01."
    )


def check_not_future(month: str, what: str = "month") -> str:
    """Return the month if :func:`check_month` does and it is not in the future."""
    now = datetime.now(UTC).strftime("%Y-%m")
    if check_month(month, what) > now:
        raise ContractError(
            f"{what} is {month!r}, which has not begun (this machine's clock says {now}): "
            "choose an earlier month."
        )
    return month


def next_month(month: str) -> str:
    """Return the month after a month: 2022-01 after 2021-12."""
    return _shift(month, 1)


def previous_month(month: str) -> str:
    """Return the month before a month: 2020-12 before 2021-01."""
    return _shift(month, -1)


def _shift(month: str, by: int) -> str:
    year, number = map(int, check_month(month).split("-"))
    year, index = divmod(year * 12 + number - 1 + by, 12)
    return f"{year}-{index + 1:02d}"


def month_range(first: str, last: str) -> list[str]:
    """Return the months from the first to the last, both included.

    Raises
    ------
    ContractError
        When a month is not valid, or the last is before the first.
    """
    if check_month(last, "last_month") < check_month(first, "first_month"):
        raise ContractError(f"last_month {last} is before first_month {first}: swap them.")
    months = [first]
    while months[-1] != last:
        months.append(next_month(months[-1]))
    return months


def check_different(months: dict[str, str]) -> None:
    """Refuse a month that is used for two things: no model is scored on its training trips.

    Parameters
    ----------
    months : dict of str to str
        What each month is for, and the month.
    """
    seen: dict[str, str] = {}
    for what, month in months.items():
        if month in seen:
            raise ContractError(
                f"{seen[month]} and {what} are both {month}: choose different months, "
                "or the model is scored on the trips it learned from."
            )
        seen[month] = what
