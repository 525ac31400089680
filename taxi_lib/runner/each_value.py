"""A folder of notebooks once for each of some values: the values, the table, and the trend."""

import io
import re
from typing import Any

from taxi_lib.errors import ContractError
from taxi_lib.months import MONTH, month_range
from taxi_lib.results import Value
from taxi_lib.runner.notebook_file import label

_RANGE = re.compile(r"(?P<first>[^.]+)\.\.(?P<last>[^.]+)")
_MOST = 1000  # values


def read_values(text: str) -> dict[str, list[str]]:
    """Return a parameter and its values, from ``month=2021-01..2021-06`` or ``rounds=5,10``.

    Raises
    ------
    ContractError
        When it is written otherwise, or a value is there twice.

    Examples
    --------
    >>> read_values("month=2020-12..2021-02")
    {'month': ['2020-12', '2021-01', '2021-02']}
    >>> read_values("rounds=5,10,100")
    {'rounds': ['5', '10', '100']}
    """
    name, equals, listed = (part.strip() for part in text.partition("="))
    parts = [part.strip() for part in listed.split(",")]
    if not (name.isidentifier() and equals and all(parts)):
        raise ContractError(
            f"--each takes name=first..last or name=a,b,c, not {text!r}: such as "
            "month=2021-01..2021-06."
        )
    values = [value for part in parts for value in _expanded(part, text)]
    if twice := [value for value in values if values.count(value) > 1]:
        raise ContractError(f"--each {text} has {twice[0]} twice: name each value once.")
    return {name: values}


def _expanded(part: str, text: str) -> list[str]:
    """Return the months or the whole numbers of a range, or the one value that is none."""
    if not (found := _RANGE.fullmatch(part)):
        return [part]
    first, last = found["first"].strip(), found["last"].strip()
    if MONTH.fullmatch(first) and MONTH.fullmatch(last):
        if last < first:
            raise ContractError(f"--each {text} names the later month first: swap them.")
        return month_range(first, last)
    if not re.fullmatch(r"-?\d+", first) or not re.fullmatch(r"-?\d+", last):
        raise ContractError(
            f"--each {text} has {part!r}, which is no range of months or whole numbers: list the "
            "values with commas."
        )
    if not int(first) <= int(last) < int(first) + _MOST:
        raise ContractError(
            f"--each {text} has {part!r}: name the smaller number first, and at most {_MOST:,}."
        )
    return [str(number) for number in range(int(first), int(last) + 1)]


def folder_name(value: Value) -> str:
    """Return the name of the folder for a value's run."""
    return re.sub(r"[^\w.+-]+", "-", str(value)).strip(".-")[:60] or "value"


def run_of(value: Value, outcome: dict[str, Any] | BaseException, folder: str) -> dict[str, Any]:
    """Return what the summary says about one value: its status, results, or why it failed."""
    run = {"value": value, "folder": folder}
    if isinstance(outcome, BaseException):
        return run | {"status": "failed", "seconds": 0.0, "error": str(outcome), "notebooks": []}
    failed = [each for each in outcome["notebooks"] if each["status"] == "failed"]
    error = "; ".join(f"{each['name']}: {each['error']}" for each in failed) or None
    return run | {
        "status": outcome["status"],
        "seconds": outcome["seconds"],
        "error": error,
        "notebooks": outcome["notebooks"],
    }


def table(name: str, runs: list[dict[str, Any]], most: int = 8) -> list[dict[str, str]]:
    """Return a row for each value, with its status, its seconds, and its numeric results.

    Results that are the same for all values are left out, and so are more than the first `most`.
    """
    columns = dict(list(_differing(runs).items())[:most])
    return [
        {
            name: str(run["value"]),
            "status": run["status"],
            "seconds": f"{run['seconds']:.1f}",
            **{title: short(values[n]) for title, values in columns.items()},
            "error": run["error"] or "",
        }
        for n, run in enumerate(runs)
    ]


def _differing(runs: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    """Return the numeric results that differ, such as ``02 rmse``: one number for each run."""
    numbers = [_numbers(run) for run in runs]
    titles = dict.fromkeys(title for found in numbers for title in found)
    columns = {title: [found.get(title) for found in numbers] for title in titles}
    return {title: values for title, values in columns.items() if len(set(values)) > 1}


def _numbers(run: dict[str, Any]) -> dict[str, float]:
    return {
        f"{label(notebook['name'])} {name}": value
        for notebook in run["notebooks"]
        for name, value in notebook["results"].items()
        if is_number(value)
    }


def is_number(value: object) -> bool:
    """Return whether a value is a number, which True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def short(value: object) -> str:
    """Return a number with four digits, or a whole one in full; empty for anything else."""
    if not is_number(value):
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def is_rising(values: list[str]) -> bool:
    """Return whether values are months, or numbers, each greater than the one before.

    Examples
    --------
    >>> is_rising(["2021-01", "2021-02"]), is_rising(["5", "10"]), is_rising(["a", "b"])
    (True, True, False)
    """
    if all(MONTH.fullmatch(value) for value in values):
        return values == sorted(set(values))
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return False
    return numbers == sorted(set(numbers))


def trend(name: str, runs: list[dict[str, Any]], most: int = 6) -> bytes | None:
    """Return a picture, as PNG, of how the first results change with the value; None without any.

    Months and numbers that rise are joined by a line, in which what failed is a gap. Other values,
    such as files, have no order: they are dots.
    """
    columns = list(_differing(runs).items())[:most]
    if not columns or len(runs) < 2:
        return None
    from matplotlib.figure import Figure  # slow to import, and not always needed

    figure = Figure(figsize=(8, 1.1 + 1.7 * len(columns)), layout="constrained")
    panels = figure.subplots(len(columns), sharex=True, squeeze=False)[:, 0]
    values = [str(run["value"]) for run in runs]
    line = "-" if is_rising(values) else ""
    for axes, (title, numbers) in zip(panels, columns, strict=True):
        known = [float("nan") if number is None else number for number in numbers]
        axes.plot(values, known, marker="o", linestyle=line, color="#0072b2")
        axes.set_ylabel(title)
        axes.grid(visible=True, alpha=0.3)
    good = sum(run["status"] == "completed" for run in runs)
    panels[0].set_title(f"{good} of {len(runs)} runs completed; results by {name}", loc="left")
    panels[-1].set_xlabel(name)
    is_wide = len(runs) > 6 or len("".join(values)) > 50  # names beside each other would overlap
    for text in panels[-1].get_xticklabels() if is_wide else ():
        text.set(rotation=30, ha="right", rotation_mode="anchor")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return picture.getvalue()
