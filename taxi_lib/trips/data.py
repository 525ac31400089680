"""A month's file, checked and read, and its trips cleaned into a frame.

Source of the files: the New York City Taxi and Limousine Commission (TLC) trip records.
"""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taxi_lib.errors import DataError
from taxi_lib.months import check_month
from taxi_lib.trips.checksums import check_unchanged

Taxi = Literal["green", "yellow", "fhv"]
# The three fleets name the same things differently; the workbook has one name for each.
COLUMNS: dict[Taxi, dict[str, str]] = {
    "green": {
        "lpep_pickup_datetime": "pickup_datetime",
        "lpep_dropoff_datetime": "dropoff_datetime",
        "PULocationID": "PULocationID",
        "DOLocationID": "DOLocationID",
        "trip_distance": "trip_distance",
    },
    "yellow": {
        "tpep_pickup_datetime": "pickup_datetime",
        "tpep_dropoff_datetime": "dropoff_datetime",
        "PULocationID": "PULocationID",
        "DOLocationID": "DOLocationID",
        "trip_distance": "trip_distance",
    },
    "fhv": {
        "pickup_datetime": "pickup_datetime",
        "dropOff_datetime": "dropoff_datetime",
        "PUlocationID": "PULocationID",
        "DOlocationID": "DOLocationID",
    },
}
# What a made-up month carries in its own metadata, among the attributes of a frame: pandas keeps
# them when it reads a month, takes a part of it, and saves it.
SOURCE_MARK = b"taxi_lib.source"
# What pyarrow raises when bytes make no sense, whichever part they belong to.
_UNDECODABLE = (
    *(pa.ArrowException, OSError, ArithmeticError, AttributeError, LookupError, MemoryError),
    *(TypeError, ValueError),
)
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


def check_file(path: Path, month: str, taxi: Taxi = "green") -> pa.Table:
    """Read the columns that the workbook uses, and check that they are that month of trips.

    Returns
    -------
    pyarrow.Table, shape (n_rows, 4 or 5)
        The columns of the fleet, times in microseconds.

    Raises
    ------
    DataError
        When the file cannot be read, is empty, no parquet file (truncated, a web page), or no
        longer what it was; when a column is missing, there twice, or of the wrong type; when a
        time is none, or more than a few pick-ups are of another month.
    """
    file = _open(path)
    names = list(COLUMNS[taxi])
    _check_columns(path, file.schema_arrow, taxi)
    try:
        table = file.read(names).select(names).replace_schema_metadata()
        table = _in_microseconds(table)
        times = table.column(0).to_pandas()
    except _UNDECODABLE as error:
        raise damaged(path, error) from error
    outside = ~inside(times, month)
    # In real months it is 4 rows of 10,000 at most.
    if outside.mean() > 0.5 or (outside.sum() > 100 and outside.mean() > 0.01):
        raise DataError(
            f"{path.name} has {outside.mean():.0%} of its pick-ups outside {month}: "
            "it holds another month; rename it or fetch the right one."
        )
    return table


def check_whole(path: Path) -> None:
    """Check that pandas can read all of a file, also the columns that the workbook leaves aside.

    Raises
    ------
    DataError
        When it cannot.
    """
    _open(path)
    try:
        pd.read_parquet(io.BytesIO(_content(path)), page_checksum_verification=True)
    except _UNDECODABLE as error:
        raise damaged(path, error) from error


def inside(times: pd.Series, month: str) -> pd.Series:
    """Return for each time whether it lies in the month."""
    first = pd.Timestamp(month)
    return times.between(first, first + pd.offsets.MonthBegin(), "left")


def damaged(path: Path, error: Exception) -> DataError:
    """Return the error that says that a file's footer is well but its inside is not."""
    told = " ".join(str(error).split()).rstrip(".").replace(". ", "; ")
    return DataError(f"{path.name} is damaged ({told}): delete {path} and fetch it again.")


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
    # pandas refuses any name that is there twice, ours or not.
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise DataError(
            f"{path.name} has the column {', '.join(twice)} twice: "
            "delete the file and fetch it again."
        )
    for name in COLUMNS[taxi]:
        kind = schema.field(name).type
        expected, fits = _expected_type(name)
        if not fits(kind):
            raise DataError(
                f"{path.name} has {name} as {kind}, expected {expected}: "
                "delete the file and fetch it again."
            )


def _in_microseconds(table: pa.Table) -> pa.Table:
    """Give all times the same unit; refuse those with which nobody can calculate."""
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


def source_mark(path: Path) -> str | None:
    """Return what a file says of its own source: ``"synthetic"``, or None for a real month."""
    metadata = _open(path).schema_arrow.metadata or {}
    marked = any(SOURCE_MARK in part for entry in metadata.items() for part in entry)
    return "synthetic" if marked else None


def is_there(path: Path) -> bool:
    """Tell whether a month's file is there; an empty one is what a broken download has left.

    Raises
    ------
    DataError
        When the folder it lies in cannot be looked into.
    """
    try:
        return path.exists() and (not path.is_file() or path.stat().st_size > 0)
    except OSError as error:
        raise _unreadable(path, error) from error


def _expected_type(name: str) -> tuple[str, Callable[[pa.DataType], bool]]:
    if name.lower().endswith("datetime"):
        return "a timestamp without time zone", lambda t: pa.types.is_timestamp(t) and t.tz is None
    # Types drift between months: zones are int64, int32, or float where some are missing.
    return "a number", lambda t: pa.types.is_integer(t) or pa.types.is_floating(t)


def _open(path: Path) -> pq.ParquetFile:
    """Open a file that is still what it was, with its own checksums, if it has any, verified."""
    content = _content(path)
    check_unchanged(path, content)
    try:
        return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    except _UNDECODABLE as error:
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


def _unreadable(path: Path, error: OSError) -> DataError:
    remedy = "let yourself read it" if isinstance(error, PermissionError) else "look after the disk"
    return DataError(f"{path.name} cannot be read ({error.strerror or error}): {remedy} ({path}).")


# The city's taxi zones; 264 and 265 mean that the zone is unknown.
ZONES = range(1, 266)
# A for-hire trip of which no zone was recorded.
NO_ZONE = -1


@dataclass(frozen=True)
class CleaningReport:
    """What cleaning a month did: rows dropped, and rows kept that deserve a look.

    Attributes
    ----------
    month : str
        Such as ``"2021-01"``.
    read, kept : int
        Rows in the file, and rows left.
    dropped, noticed : dict of str to int
        Rows by reason. Each dropped row counts once, under the first reason that fits;
        a kept row may be noticed for several.
    """

    month: str
    read: int
    kept: int
    dropped: dict[str, int]
    noticed: dict[str, int]

    def to_frame(self) -> pd.DataFrame:
        """Return the report as a table of one column, named by the month."""
        rows = {("read", "all rows"): self.read}
        rows |= {("dropped", reason): count for reason, count in self.dropped.items()}
        rows |= {("kept", "1 to 60 minutes"): self.kept}
        rows |= {("kept, but notice", what): count for what, count in self.noticed.items()}
        return pd.Series(rows, name=self.month).to_frame()


def read_trips(file: MonthFile) -> tuple[pd.DataFrame, CleaningReport]:
    """Read a month and keep the trips of 1 to 60 minutes.

    Parameters
    ----------
    file : MonthFile
        From :func:`taxi_lib.trips.sources.fetch_months`.

    Returns
    -------
    trips : pandas.DataFrame, shape (n_kept, 6)
        ``pickup_datetime`` and ``dropoff_datetime`` (New York time), ``PULocationID`` and
        ``DOLocationID`` (taxi zones), ``trip_distance`` (miles, as the meter recorded it;
        not for ``fhv``) and ``duration`` (minutes). A missing FHV zone is -1.
    report : CleaningReport
        What was dropped and what was noticed.

    Raises
    ------
    DataError
        When the file is damaged or not a month of this fleet (see :func:`check_file`),
        holds another month's trips or the same trips twice, or no trip is left.
    """
    raw = _read(file)
    repeated = _repeated(raw, file)
    raw["duration"] = (raw["dropoff_datetime"] - raw["pickup_datetime"]).dt.total_seconds() / 60
    faults = _faults(raw, file.taxi)
    dropped, left = {}, pd.Series(True, index=raw.index)
    for reason, rows in faults.items():
        dropped[reason] = int((rows & left).sum())
        left &= ~rows
    trips = raw[left]
    if trips.empty:
        why = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)
        raise DataError(
            f"{file.path.name} has no trip of 1 to 60 minutes among its {len(raw):,} rows "
            f"({why or 'it is empty'}): delete the file and fetch it again."
        )
    trips = trips.astype({"PULocationID": "int64", "DOLocationID": "int64"})
    odd = _oddities(trips, file, repeated[left])
    noticed = {what: int(rows.sum()) for what, rows in odd.items()}
    return trips, CleaningReport(file.month, len(raw), len(trips), dropped, noticed)


def _read(file: MonthFile) -> pd.DataFrame:
    table = check_file(file.path, file.month, file.taxi)
    # The types of whoever saved the file are left aside: they may have a "missing" of their own.
    raw = table.to_pandas(ignore_metadata=True).rename(columns=COLUMNS[file.taxi])
    if file.taxi == "fhv":
        # Most of these trips have no zone; the course counts "no zone" as a zone of its own.
        raw = raw.fillna({"PULocationID": NO_ZONE, "DOLocationID": NO_ZONE})
    return raw


def _repeated(raw: pd.DataFrame, file: MonthFile) -> pd.Series:
    """Return which rows repeat an earlier one; refuse a file that was joined with itself."""
    repeated = raw.duplicated()
    # In real months it is 3 rows of 1,000. FHV trips are not judged: without a distance, and
    # often without zones, many look the same.
    if file.taxi != "fhv" and repeated.sum() > len(raw) / 10:
        raise DataError(
            f"{file.path.name} has {repeated.mean():.0%} of its {len(raw):,} rows a second time: "
            "delete the file and fetch it again."
        )
    return repeated


def _faults(raw: pd.DataFrame, taxi: Taxi) -> dict[str, pd.Series]:
    zones = raw[["PULocationID", "DOLocationID"]]
    known = zones.isin([*ZONES, NO_ZONE] if taxi == "fhv" else ZONES).all(axis="columns")
    if "trip_distance" in raw:
        known &= np.isfinite(raw["trip_distance"])
    return {
        "no pick-up or drop-off time": raw["duration"].isna(),
        "no zone or distance": ~known,
        "under 1 minute": raw["duration"] < 1,
        "over 60 minutes": raw["duration"] > 60,
    }


def _oddities(trips: pd.DataFrame, file: MonthFile, repeated: pd.Series) -> dict[str, pd.Series]:
    zones = trips[["PULocationID", "DOLocationID"]]
    oddities = {
        "pick-up outside the month": ~inside(trips["pickup_datetime"], file.month),
        "unknown zone (264, 265)": zones.isin([264, 265]).any(axis="columns"),
        "same trip recorded before": repeated,
    }
    if "trip_distance" in trips:
        oddities["zero miles"] = trips["trip_distance"] == 0
        oddities["over 100 miles"] = trips["trip_distance"] > 100
    return oddities
