"""A month's file: what it is called, which columns it must have, who made it.

Source of the files: the New York City Taxi and Limousine Commission (TLC) trip records.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from taxi_lib.errors import DataError
from taxi_lib.months import check_month

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
# What a made-up month carries in its own metadata, wherever it is copied to.
SOURCE_MARK = b"taxi_lib.source"


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


def check_file(path: Path, month: str, taxi: Taxi = "green") -> None:
    """Check that a file is that month of trips, reading no more than its times of pick-up.

    Raises
    ------
    DataError
        When it is empty, no parquet file (truncated, a web page), when a column is missing
        or of the wrong type, or when most pick-ups are of another month.
    """
    table = _open(path)
    _check_columns(path, table.schema_arrow, taxi)
    pickup = next(iter(COLUMNS[taxi]))
    try:
        times = table.read([pickup])[pickup].to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged(path, error) from error
    outside = 1 - inside(times, month).mean()
    if outside > 0.5:
        raise DataError(
            f"{path.name} has {outside:.0%} of its pick-ups outside {month}: "
            "it holds another month; rename it or fetch the right one."
        )


def inside(times: pd.Series, month: str) -> pd.Series:
    """Return for each time whether it lies in the month."""
    first = pd.Timestamp(month)
    return times.between(first, first + pd.offsets.MonthBegin(), "left")


def damaged(path: Path, error: Exception) -> DataError:
    """Return the error that says that a file's footer is well but its inside is not."""
    told = " ".join(str(error).split())
    return DataError(f"{path.name} is damaged ({told}): delete {path} and fetch it again.")


def _check_columns(path: Path, schema: pa.Schema, taxi: Taxi) -> None:
    missing = [name for name in COLUMNS[taxi] if name not in schema.names]
    if missing:
        raise DataError(
            f"{path.name} has no column {', '.join(missing)}: "
            f"it is not a {taxi} month as the TLC publishes it; delete it and fetch it again."
        )
    for name in COLUMNS[taxi]:
        kind = schema.field(name).type
        expected, fits = _expected_type(name)
        if not fits(kind):
            raise DataError(
                f"{path.name} has {name} as {kind}, expected {expected}: "
                "delete the file and fetch it again."
            )


def source_mark(path: Path) -> str | None:
    """Return what a file says of its own source: ``"synthetic"``, or None for a real month."""
    metadata = _open(path).schema_arrow.metadata or {}
    return metadata[SOURCE_MARK].decode() if SOURCE_MARK in metadata else None


def _expected_type(name: str) -> tuple[str, Callable[[pa.DataType], bool]]:
    if name.lower().endswith("datetime"):
        return "a timestamp without time zone", lambda t: pa.types.is_timestamp(t) and t.tz is None
    # Types drift between months: zones are int64, int32, or float where some are missing.
    return "a number", lambda t: pa.types.is_integer(t) or pa.types.is_floating(t)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        fault = "cannot be read as a parquet file (cut short, or a web page under its name?)"
        if path.is_dir():
            fault = "is a folder"
        elif path.is_file() and path.stat().st_size == 0:
            fault = "is empty (0 bytes)"
        raise DataError(f"{path.name} {fault}: delete {path} and fetch it again.") from error
