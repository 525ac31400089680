from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from support.months import five_trips, real_month_path
from taxi_lib.trips.data import read_trips
from taxi_lib.trips.month_file import MonthFile, check_file

WriteMonth = Callable[..., Path]


def month_file(path: Path, **changes: str) -> MonthFile:
    return MonthFile(**({"month": "2021-01", "path": path, "source": "local"} | changes))


def test_a_clean_month_is_kept_whole_with_its_minutes(write_month: WriteMonth):
    trips, report = read_trips(month_file(write_month()))
    assert trips["duration"].tolist() == [10, 20, 30, 40, 50]
    assert (report.read, report.kept, sum(report.dropped.values())) == (5, 5, 0)


def test_each_dropped_row_counts_once_under_its_reason(write_month: WriteMonth):
    trips = five_trips()
    trips.loc[0, "lpep_dropoff_datetime"] = trips.loc[0, "lpep_pickup_datetime"]
    trips.loc[1, "lpep_dropoff_datetime"] += pd.Timedelta(hours=20)
    trips.loc[2, "lpep_dropoff_datetime"] = pd.NaT
    trips.loc[3, "trip_distance"] = float("inf")
    _, report = read_trips(month_file(write_month(**trips)))
    assert report.dropped == {
        "no pick-up or drop-off time": 1,
        "no zone or distance": 1,
        "under 1 minute": 1,
        "over 60 minutes": 1,
    }
    assert report.kept == 1


def test_one_minute_and_one_hour_are_kept(write_month: WriteMonth):
    pickup = five_trips()["lpep_pickup_datetime"]
    seconds = pd.to_timedelta(pd.Series([59, 60, 61, 3600, 3601]), unit="s")
    trips, _ = read_trips(month_file(write_month(lpep_dropoff_datetime=pickup + seconds)))
    assert trips["duration"].round(3).tolist() == [1, 1.017, 60]


def test_odd_rows_are_kept_and_noticed(data_dir: Path):
    trips = pd.concat([five_trips().assign(trip_distance=miles) for miles in (1.0, 2.0)])
    trips = trips.reset_index(drop=True)
    trips.loc[0, "trip_distance"] = 102_621.0
    trips.loc[1, "PULocationID"] = 265
    trips.loc[2, ["lpep_pickup_datetime", "lpep_dropoff_datetime"]] -= pd.Timedelta(days=31)
    trips.loc[4] = trips.loc[3]
    trips.loc[5, "trip_distance"] = 0
    trips.to_parquet(data_dir / "odd.parquet")
    _, report = read_trips(month_file(data_dir / "odd.parquet"))
    assert report.kept == 10
    assert report.noticed == {
        "pick-up outside the month": 1,
        "unknown zone (264, 265)": 1,
        "same trip recorded before": 1,
        "zero miles": 1,
        "over 100 miles": 1,
    }


def test_the_report_is_a_table_with_every_reason(write_month: WriteMonth):
    _, report = read_trips(month_file(write_month()))
    table = report.to_frame()
    assert list(table.columns) == ["2021-01"]
    assert table.loc[("kept, but notice", "zero miles"), "2021-01"] == 1


def test_yellow_and_fhv_months_get_the_same_names(data_dir: Path):
    trips = five_trips().rename(columns=lambda name: name.replace("lpep", "tpep"))
    trips.to_parquet(data_dir / "yellow.parquet")
    yellow, _ = read_trips(month_file(data_dir / "yellow.parquet", taxi="yellow"))
    fhv_names = {
        "tpep_pickup_datetime": "pickup_datetime",
        "tpep_dropoff_datetime": "dropOff_datetime",
        "PULocationID": "PUlocationID",
        "DOLocationID": "DOlocationID",
    }
    trips.rename(columns=fhv_names).drop(columns="trip_distance").to_parquet(
        data_dir / "fhv.parquet"
    )
    fhv, _ = read_trips(month_file(data_dir / "fhv.parquet", taxi="fhv"))
    assert list(yellow.columns) == [*list(fhv.columns)[:4], "trip_distance", "duration"]


def test_an_fhv_trip_without_zone_is_kept_as_zone_minus_one(data_dir: Path):
    fhv = pd.DataFrame(
        {
            "pickup_datetime": five_trips()["lpep_pickup_datetime"],
            "dropOff_datetime": five_trips()["lpep_dropoff_datetime"],
            "PUlocationID": [None, 1.0, 2.0, 3.0, None],
            "DOlocationID": [None] * 4 + [5.0],
        }
    )
    fhv.to_parquet(data_dir / "fhv.parquet")
    trips, _ = read_trips(month_file(data_dir / "fhv.parquet", taxi="fhv"))
    assert trips["PULocationID"].tolist() == [-1, 1, 2, 3, -1]


@pytest.mark.parametrize(
    ("month", "read", "kept"),
    [
        ("2021-01", 76_518, 73_908),
        ("2021-02", 64_572, 61_921),
        ("2023-01", 68_211, 65_946),
        ("2023-02", 64_809, 62_574),
    ],
)
def test_real_months_have_the_known_rows(month: str, read: int, kept: int):
    path = real_month_path(month)
    if path is None:
        pytest.skip(f"the real {month} is not here")
    check_file(path, month)
    _, report = read_trips(month_file(path, month=month))
    assert (report.read, report.kept) == (read, kept)
