"""A month's parquet file, as the TLC publishes it: named, found, and checked column by column."""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taxi_lib.errors import DataError
from taxi_lib.months import check_month
from taxi_lib.trips.checksums import check_unchanged

Taxi = Literal["green", "yellow", "fhv"]
# The three fleets have different names for the same things; the workbook has one name for each.
_OURS = ["pickup_datetime", "dropoff_datetime", "PULocationID", "DOLocationID", "trip_distance"]
_THEIRS: dict[Taxi, list[str]] = {
    "green": ["lpep_pickup_datetime", "lpep_dropoff_datetime", *_OURS[2:]],
    "yellow": ["tpep_pickup_datetime", "tpep_dropoff_datetime", *_OURS[2:]],
    "fhv": ["pickup_datetime", "dropOff_datetime", "PUlocationID", "DOlocationID"],
}
COLUMNS = {taxi: dict(zip(theirs, _OURS, strict=False)) for taxi, theirs in _THEIRS.items()}
# A synthetic month has this key in its file's metadata, among pandas' attributes of a frame:
# pandas keeps these when somebody reads the month, takes a part of it, and saves that.
SOURCE_MARK = b"taxi_lib.source"
# The first and the last second, since 1970, that Python and pandas can write as a date.
_YEARS = (-62_135_596_800, 253_402_300_799)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class MonthFile:
    """One month's file, and where it came from.

    Attributes
    ----------
    month : str
        Such as ``"2021-01"``.
    path : pathlib.Path
        The parquet file.
    source : {"local", "tlc", "synthetic"}
        Found in the data folder, downloaded, or made up.
    taxi : {"green", "yellow", "fhv"}
        The fleet.
    """

    month: str
    path: Path
    source: str
    taxi: Taxi = "green"

    @property
    def is_real(self) -> bool:
        """Whether real taxis made these trips."""
        return self.source != "synthetic"


def file_name(month: str, taxi: Taxi = "green") -> str:
    """Return the TLC's name for a month's file: ``green_tripdata_2021-01.parquet``."""
    return f"{taxi}_tripdata_{check_month(month)}.parquet"


def is_there(path: Path) -> bool:
    """Return whether a month's file exists and, if it is a plain file, is not empty."""
    try:
        return path.exists() and (not path.is_file() or path.stat().st_size > 0)
    except OSError as error:
        raise _unreadable(path, error) from error


def check_file(path: Path, month: str, taxi: Taxi = "green") -> pa.Table:
    """Read the columns that the workbook uses, and check that they are that month of trips.

    Returns
    -------
    pyarrow.Table, shape (n_rows, 4 or 5)
        The columns of the fleet, times in microseconds.

    Raises
    ------
    DataError
        When the file cannot be read, is empty, is no parquet file (cut short, a web page), or
        changed since it was first used; when a column is missing, occurs twice, or has the wrong
        type; when a time is impossible, or more than a few pick-ups are of another month.
    """
    file = _open(path)
    names = list(COLUMNS[taxi])
    _check_columns(path, file.schema_arrow, taxi)
    try:
        table = _in_microseconds(file.read(names).select(names).replace_schema_metadata())
        times = table.column(0).to_pandas()
    except Exception as error:  # pyarrow raises all kinds of errors over damaged bytes
        raise _damaged(path, error) from error
    outside = ~is_inside(times, month)
    # Real months have at most 4 such rows in 10,000.
    if outside.mean() > 0.5 or (outside.sum() > 100 and outside.mean() > 0.01):
        raise DataError(
            f"{path.name} has {outside.mean():.0%} of its pick-ups outside {month}: "
            "it holds another month; rename it or fetch the right one."
        )
    return table


def check_whole(path: Path) -> None:
    """Refuse a file that pandas cannot read, also in columns that the workbook does not use."""
    _open(path)
    try:
        pd.read_parquet(io.BytesIO(_content(path)), page_checksum_verification=True)
    except Exception as error:
        raise _damaged(path, error) from error


def is_inside(times: pd.Series, month: str) -> pd.Series:
    """Return for each time whether it lies in the month."""
    first = pd.Timestamp(month)
    return times.between(first, first + pd.offsets.MonthBegin(), "left")


def source_mark(path: Path) -> str | None:
    """Return ``"synthetic"`` if a file says that of itself; None for a real month."""
    metadata = _open(path).schema_arrow.metadata or {}
    marked = any(SOURCE_MARK in part for entry in metadata.items() for part in entry)
    return "synthetic" if marked else None


def _open(path: Path) -> pq.ParquetFile:
    """Open a file that has not changed; pages that have checksums are verified when read."""
    content = _content(path)
    check_unchanged(path, content)
    try:
        return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    except Exception as error:
        fault = "cannot be read as a parquet file (cut short, or a web page under its name?)"
        raise DataError(f"{path.name} {fault}: delete {path} and fetch it again.") from error


def _content(path: Path) -> bytes:
    fault = ""
    try:
        if path.is_file():
            fault = "" if (content := path.read_bytes()) else "is empty (0 bytes)"
        elif path.exists():
            fault = "is a folder" if path.is_dir() else "is no file"
        else:
            fault = "is not there"
    except OSError as error:
        raise _unreadable(path, error) from error
    if fault:
        raise DataError(f"{path.name} {fault}: delete {path} and fetch it again.")
    return content


def _check_columns(path: Path, schema: pa.Schema, taxi: Taxi) -> None:
    missing = [name for name in COLUMNS[taxi] if name not in schema.names]
    if missing:
        alike = {name.strip().casefold(): name for name in schema.names}
        there = {name: alike.get(name.casefold()) for name in missing}
        named = ", ".join(f"{n} (but one called {there[n]!r})" if there[n] else n for n in missing)
        remedy = "rename what is spelled otherwise, or delete" if any(there.values()) else "delete"
        raise DataError(
            f"{path.name} has no column {named}: "
            f"it is not a {taxi} month as the TLC publishes it; {remedy} it and fetch it again."
        )
    # pandas refuses a file in which any name occurs twice, also one that we do not use.
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    faults = [f"the column {', '.join(twice)} twice"] if twice else []
    for name in [] if twice else COLUMNS[taxi]:
        kind, (expected, fits) = schema.field(name).type, _expected_type(name)
        faults += [] if fits(kind) else [f"{name} as {kind}, expected {expected}"]
    if faults:
        raise DataError(f"{path.name} has {faults[0]}: delete the file and fetch it again.")


def _expected_type(name: str) -> tuple[str, Callable[[pa.DataType], bool]]:
    if name.lower().endswith("datetime"):
        return "a timestamp without time zone", lambda t: pa.types.is_timestamp(t) and t.tz is None
    # Types differ between months: zones are int64, int32, or float where some are missing.
    return "a number", lambda t: pa.types.is_integer(t) or pa.types.is_floating(t)


def _in_microseconds(table: pa.Table) -> pa.Table:
    """Give all times the same unit; refuse times that pandas cannot represent."""
    for place, column in enumerate(table.columns):
        if not pa.types.is_timestamp(column.type):
            continue
        ends = pc.min_max(column.cast(pa.int64())).as_py()
        first, last = (year * _PER_SECOND[column.type.unit] for year in _YEARS)
        if ends["min"] is not None and not first <= ends["min"] <= ends["max"] <= last:
            raise ValueError(f"{table.column_names[place]} leaves the years 1 to 9999")
        times = column.cast(pa.timestamp("us"), safe=False)
        table = table.set_column(place, table.column_names[place], times)
    return table


def _damaged(path: Path, error: Exception) -> DataError:
    why = " ".join(str(error).split()).rstrip(".").replace(". ", "; ")
    return DataError(f"{path.name} is damaged ({why}): delete {path} and fetch it again.")


def _unreadable(path: Path, error: OSError) -> DataError:
    remedy = "let yourself read it" if isinstance(error, PermissionError) else "look after the disk"
    return DataError(f"{path.name} cannot be read ({error.strerror or error}): {remedy} ({path}).")
