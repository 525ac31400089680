"""A month's trips: read from its file, cleaned, and reported on.

The files are the trip records of the New York City Taxi and Limousine Commission (TLC).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from taxi_lib.errors import DataError
from taxi_lib.trips.month_file import COLUMNS, MonthFile, Taxi, check_file, is_inside

# The city's taxi zones; 264 and 265 mean that the zone is unknown.
ZONES = range(1, 266)
# Stands for a missing zone of a for-hire trip; the course counts it as a zone, too.
NO_ZONE = -1


@dataclass(frozen=True)
class CleaningReport:
    """How many rows cleaning a month has dropped, and which of the kept ones look odd.

    Attributes
    ----------
    month : str
        Such as ``"2021-01"``.
    read, kept : int
        Rows in the file, and rows left.
    dropped, noticed : dict of str to int
        Rows by reason. A dropped row counts once, under the first reason that applies;
        a kept row may be noticed for several reasons.
    """

    month: str
    read: int
    kept: int
    dropped: dict[str, int]
    noticed: dict[str, int]

    def to_frame(self) -> pd.DataFrame:
        """Return the report as a table with one column, which is named after the month."""
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
        When the file is damaged or not this month of this fleet
        (see :func:`taxi_lib.trips.month_file.check_file`), holds trips twice, or no trip is left.
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
    # Without the types that the file's author had in pandas: they may treat gaps differently.
    raw = table.to_pandas(ignore_metadata=True).rename(columns=COLUMNS[file.taxi])
    if file.taxi == "fhv":
        raw = raw.fillna({"PULocationID": NO_ZONE, "DOLocationID": NO_ZONE})
    return raw


def _repeated(raw: pd.DataFrame, file: MonthFile) -> pd.Series:
    """Return which rows repeat an earlier one; refuse a file with many of them."""
    repeated = raw.duplicated()
    # Real months repeat 3 rows in 1,000. Not FHV, where many trips look the same: they have no
    # distance and often no zones.
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
        "pick-up outside the month": ~is_inside(trips["pickup_datetime"], file.month),
        "unknown zone (264, 265)": zones.isin([264, 265]).any(axis="columns"),
        "same trip recorded before": repeated,
    }
    if "trip_distance" in trips:
        oddities["zero miles"] = trips["trip_distance"] == 0
        oddities["over 100 miles"] = trips["trip_distance"] > 100
    return oddities
