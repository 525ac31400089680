from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import five_trips, real_month_path

from taxi_lib.data import read_trips
from taxi_lib.errors import DataError
from taxi_lib.files import MonthFile, check_file

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


def test_odd_rows_are_kept_and_noticed(write_month: WriteMonth):
    trips = five_trips()
    trips.loc[0, "trip_distance"] = 102_621.0
    trips.loc[1, "PULocationID"] = 265
    trips.loc[4] = trips.loc[3]
    trips.loc[2, ["lpep_pickup_datetime", "lpep_dropoff_datetime"]] -= pd.Timedelta(days=31)
    _, report = read_trips(month_file(write_month(**trips)))
    assert report.kept == 5
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


def test_zones_may_be_of_any_numeric_type(write_month: WriteMonth):
    zones = five_trips()["PULocationID"].astype(float)
    trips, _ = read_trips(month_file(write_month(PULocationID=zones)))
    assert trips["PULocationID"].tolist() == [74, 74, 75, 41, 42]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"<html>404 Not Found</html>", "cannot be read as a parquet file"),
    ],
)
def test_a_file_that_is_no_parquet_is_refused(data_dir: Path, content: bytes, fault: str):
    path = data_dir / "green_tripdata_2021-01.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path.name} {fault}.*fetch it again"):
        read_trips(month_file(path))


def test_a_truncated_file_is_refused(write_month: WriteMonth):
    path = write_month()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be read as a parquet file"):
        read_trips(month_file(path))


def test_a_file_damaged_inside_is_refused(write_month: WriteMonth):
    path = write_month()
    damaged = bytearray(path.read_bytes())
    damaged[4:400] = b"\xff" * 396
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=f"{path.name} is damaged"):
        read_trips(month_file(path))


def test_a_missing_column_is_named(write_month: WriteMonth):
    path = write_month()
    pd.read_parquet(path).drop(columns=["trip_distance"]).to_parquet(path)
    with pytest.raises(DataError, match="has no column trip_distance: it is not a green month"):
        read_trips(month_file(path))


@pytest.mark.parametrize(
    ("column", "values", "kind"),
    [
        ("trip_distance", ["1", "2", "3", "4", "5"], "string"),
        ("PULocationID", list("abcde"), "string"),
        ("lpep_pickup_datetime", [1, 2, 3, 4, 5], "int64"),
        ("lpep_pickup_datetime", five_trips()["lpep_pickup_datetime"].dt.tz_localize("UTC"), "tz"),
    ],
)
def test_a_wrong_type_is_named(write_month: WriteMonth, column: str, values: object, kind: str):
    with pytest.raises(DataError, match=rf"has {column} as .*{kind}.*, expected"):
        read_trips(month_file(write_month(**{column: values})))


def test_a_month_with_no_trip_left_is_refused(write_month: WriteMonth):
    same = five_trips()["lpep_pickup_datetime"]
    with pytest.raises(DataError, match="has no trip of 1 to 60 minutes among its 5 rows"):
        read_trips(month_file(write_month(lpep_dropoff_datetime=same)))


def test_a_file_without_rows_is_refused(write_month: WriteMonth):
    path = write_month()
    pd.read_parquet(path).iloc[:0].to_parquet(path)
    with pytest.raises(DataError, match="among its 0 rows"):
        read_trips(month_file(path))


def test_another_months_file_under_this_name_is_refused(write_month: WriteMonth):
    path = write_month("2021-02")
    with pytest.raises(DataError, match="has 100% of its pick-ups outside 2021-01"):
        read_trips(month_file(path))


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
