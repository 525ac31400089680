"""Lesson 1 reads its months with pandas: odd ones are read, too, or refused in a sentence."""

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest

from support import ROOT
from taxi_lib import features, settings
from taxi_lib.errors import DataError
from taxi_lib.trips.data import read_trips
from taxi_lib.trips.sources import fetch_months

Change = Callable[[pd.DataFrame], pd.DataFrame]
TIMES = ["lpep_pickup_datetime", "lpep_dropoff_datetime"]
TEN_MINUTES = pd.Timedelta(minutes=10)


def month_of(first: str, seed: int, rows: int = 400) -> pd.DataFrame:
    """Make up a small month: some hundred trips between a few zones."""
    rng = np.random.default_rng(seed)
    pickup = pd.Series(
        pd.Timestamp(first) + pd.to_timedelta(rng.integers(28 * 86400, size=rows), "s")
    )
    minutes = rng.gamma(3, 5, rows)
    trips = {
        "lpep_pickup_datetime": pickup,
        "lpep_dropoff_datetime": pickup + pd.to_timedelta(minutes.round(), "min"),
        "PULocationID": rng.integers(70, 80, rows),
        "DOLocationID": rng.integers(70, 80, rows),
        "trip_distance": (minutes / 4).round(1),
    }
    return pd.DataFrame(trips)


def at_nine(trips: pd.DataFrame) -> pd.DataFrame:
    ride = trips[TIMES[1]] - trips[TIMES[0]]
    start = trips[TIMES[0]].dt.normalize() + pd.Timedelta(hours=9)
    return trips.assign(lpep_pickup_datetime=start, lpep_dropoff_datetime=start + ride)


def gaps(trips: pd.DataFrame) -> pd.DataFrame:
    """Let each column miss something, say something absurd, or say it in another unit."""
    trips = trips.astype({"PULocationID": float, TIMES[0]: "M8[ms]", TIMES[1]: "M8[us]"})
    absurd = {
        "PULocationID": (None, 43.5),
        "DOLocationID": (0, 266),
        "trip_distance": (None, float("inf")),
        TIMES[1]: (pd.NaT, np.datetime64("3018-01-01", "us")),
    }
    for place, (column, values) in enumerate(absurd.items()):
        for value in values:
            trips[column] = trips[column].where(trips.index % 17 != place, value)
            trips.index = trips.index[::-1]
    return trips.set_index(trips.index // 2)


BOTH, ONE = ["2021-03", "2021-04"], ["2021-04"]
ODD: dict[str, tuple[Change, list[str]]] = {
    "few trips": (lambda trips: trips.head(8), BOTH),
    "one trip": (lambda trips: trips[trips["trip_distance"] == 3].head(1), BOTH),
    "trips at nine only": (at_nine, BOTH),
    "one pair": (lambda trips: trips.assign(PULocationID=74, DOLocationID=75), BOTH),
    "pairs never met": (lambda trips: trips.assign(PULocationID=1, DOLocationID=2), ONE),
    "no distances": (lambda trips: trips.assign(trip_distance=0.0), BOTH),
    "far trips": (lambda trips: trips.assign(trip_distance=trips["trip_distance"] + 30), ONE),
    "trips of ten minutes": (lambda t: t.assign(**{TIMES[1]: t[TIMES[0]] + TEN_MINUTES}), BOTH),
    "gaps": (gaps, BOTH),
    "gaps in one": (gaps, ONE),
}


def run_lesson() -> dict:
    """Run the cells of lesson 1 in this process, on months that are not the course's."""
    path = next((ROOT / "notebooks").glob("01_*.ipynb"))
    found: dict = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            source = cell.source.replace('= "2021-01"  #', '= "2021-03"  #')
            exec(source.replace('= "2021-02"  #', '= "2021-04"  #'), found)
            plt.close("all")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("change", "changed"), ODD.values(), ids=ODD)
@pytest.mark.filterwarnings("default")  # seaborn's, about what cannot be drawn
def test_lesson_1_reads_odd_months_as_the_library_does(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, change: Change, changed: list[str]
):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(settings, "use_workspace", lambda: None)  # this process has its own
    for seed, month in enumerate(BOTH):
        trips = month_of(month, seed)
        path = data_dir / f"green_tripdata_{month}.parquet"
        (change(trips) if month in changed else trips).to_parquet(path)
    lesson = run_lesson()
    train, val = (features.add_pair(read_trips(file)[0]) for file in fetch_months(*BOTH))
    assert lesson["train"]["PU_DO"].tolist() == train["PU_DO"].tolist()
    assert lesson["unseen"].sum() == features.count_unseen(train, val)


def test_lesson_1_is_stopped_by_a_month_of_which_nothing_can_be_kept(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(settings, "use_workspace", lambda: None)
    for seed, month in enumerate(BOTH):
        path = data_dir / f"green_tripdata_{month}.parquet"
        month_of(month, seed).assign(PULocationID=0).to_parquet(path)
    with pytest.raises(DataError, match="has no trip of 1 to 60 minutes among its 400 rows"):
        run_lesson()
