"""Months for tests: five made-up trips, or the real files where they are."""

import os
from pathlib import Path

import pandas as pd

from support import ROOT


def five_trips(month: str = "2021-01") -> pd.DataFrame:
    """Return five trips of 10 to 50 minutes."""
    pickup = pd.Series(pd.date_range(f"{month}-05 08:00", periods=5, freq="h")).astype("M8[us]")
    minutes = pd.Series([10, 20, 30, 40, 50])
    return pd.DataFrame(
        {
            "lpep_pickup_datetime": pickup,
            "lpep_dropoff_datetime": pickup + pd.to_timedelta(minutes, unit="min"),
            "PULocationID": [74, 74, 75, 41, 42],
            "DOLocationID": [75, 75, 74, 42, 41],
            "trip_distance": [1.0, 2.0, 0.0, 4.0, 5.0],
        }
    )


def real_month_path(month: str) -> Path | None:
    """Return the real file of a month, or None if it is not here."""
    folders = [ROOT / "data", ROOT.parent / "shared" / "data"]
    if os.environ.get("REAL_TAXI_DATA_DIR"):
        folders.insert(0, Path(os.environ["REAL_TAXI_DATA_DIR"]))
    paths = (folder / f"green_tripdata_{month}.parquet" for folder in folders)
    return next((path.resolve() for path in paths if path.exists()), None)


def link_real_months(folder: Path, *needed: str) -> bool:
    """Make a folder with links to the real months, if they are here; nothing is written there."""
    paths = [real_month_path(month) for month in needed]
    if not all(paths):
        return False
    folder.mkdir()
    for path in paths[0].parent.glob("green_tripdata_*.parquet"):
        (folder / path.name).symlink_to(path)
    return True
