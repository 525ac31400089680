"""The months in the data folder: readable, whole, and as their checksums say."""

import re
import time
from pathlib import Path

from taxi_lib import settings
from taxi_lib.doctor.findings import Finding, Findings, ok, problem, warning
from taxi_lib.errors import TaxiError
from taxi_lib.months import MONTH

_SECONDS = 1.0  # for all months together
_NAME = re.compile(rf"(?P<taxi>green|yellow|fhv)_tripdata_(?P<month>{MONTH.pattern})\.parquet")
_DEFAULTS = ("2021-01", "2021-02")  # of the lessons


def check_months() -> Findings:
    """Read the months that are there, those of the lessons first, for a second."""
    from taxi_lib.trips.month_file import file_name, is_there

    folder = settings.data_dir()
    if not folder.exists():
        yield ok(f"none in {folder}: lessons fetch months, or make them up")
        return
    names = [file_name(month) for month in _DEFAULTS]
    try:
        paths = sorted(folder.iterdir(), key=lambda path: (path.name not in names, path.name))
    except OSError as error:
        yield problem(f"{folder} cannot be read ({error.strerror})", "make it a folder of yours")
        return
    months = [path for path in paths if _NAME.fullmatch(path.name)]
    faults = list(_faults(months))
    yield from faults
    there = [name for name in names if is_there(folder / name)]
    if len(there) == 1:
        (other,) = set(names) - set(there)
        remedy = f"make data, or move {there[0]} away to have both made up"
        yield warning(f"{there[0]} is in {folder}, but not {other}", remedy)
    if not faults:
        yield ok(f"{len(months)} in {folder}")


def _faults(months: list[Path]) -> Findings:
    end = time.monotonic() + _SECONDS
    for number, path in enumerate(months):
        if time.monotonic() > end:
            yield ok(f"{number} of {len(months)} were read, in {_SECONDS:.0f} second")
            return
        if finding := _fault(path):
            yield finding


def _fault(path: Path) -> Finding | None:
    from taxi_lib.trips.month_file import check_file

    named = _NAME.fullmatch(path.name)
    try:
        check_file(path, named["month"], named["taxi"])
    except TaxiError as error:
        fault, _, remedy = str(error).rstrip(".").partition(": ")
        return problem(fault, remedy)
    return None
