"""A month's file with something wrong in it: refused in one sentence, or counted."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.months import five_trips
from support.processes import as_anybody
from support.refusals import refused
from taxi_lib import features, models
from taxi_lib.errors import DataError
from taxi_lib.trips.data import CleaningReport, read_trips
from taxi_lib.trips.month_file import MonthFile
from taxi_lib.trips.sources import fetch_months

NAME = "green_tripdata_2021-01.parquet"
WriteMonth = Callable[..., Path]


def read(path: Path) -> tuple[pd.DataFrame, CleaningReport]:
    return read_trips(MonthFile("2021-01", path, "local"))


def test_an_empty_file_is_refused(data_dir: Path):
    (data_dir / NAME).touch()
    with refused(DataError, NAME, "is empty (0 bytes)", "fetch it again"):
        read(data_dir / NAME)


def test_a_web_page_under_the_name_of_a_month_is_refused(data_dir: Path):
    (data_dir / NAME).write_text("<html>404 Not Found</html>")
    with refused(DataError, NAME, "cannot be read", "a web page under its name", "fetch it again"):
        read(data_dir / NAME)


@pytest.mark.parametrize("missing", [1, 100, 2000])
def test_a_truncated_file_is_refused(write_month: WriteMonth, missing: int):
    path = write_month()
    path.write_bytes(path.read_bytes()[:-missing])
    with refused(DataError, NAME, "cut short", "fetch it again"):
        read(path)


def test_a_file_damaged_inside_is_refused(write_month: WriteMonth):
    path = write_month()
    damaged = bytearray(path.read_bytes())
    damaged[4:400] = b"\xff" * 396
    path.write_bytes(damaged)
    with refused(DataError, NAME, "is damaged", "fetch it again"):
        read(path)


def test_a_folder_in_place_of_the_file_is_refused_and_not_concatenated(
    write_month: WriteMonth, data_dir: Path
):
    folder = data_dir / "folder"
    folder.mkdir()
    for month in ("2021-01", "2021-02"):
        write_month(month).rename(folder / f"{month}.parquet")
    folder.rename(data_dir / NAME)
    with refused(DataError, NAME, "is a folder", "delete"):
        read(data_dir / NAME)
    with refused(DataError, NAME, "is a folder", "delete"):
        fetch_months("2021-01")


@pytest.mark.parametrize("column", five_trips().columns)
def test_a_missing_column_is_named(write_month: WriteMonth, column: str):
    path = write_month()
    five_trips().drop(columns=column).to_parquet(path)
    with refused(DataError, NAME, f"has no column {column}", "not a green month", "fetch it again"):
        read(path)


def test_a_yellow_month_under_a_green_name_is_refused(write_month: WriteMonth):
    path = write_month()
    five_trips().rename(columns=lambda name: name.replace("lpep", "tpep")).to_parquet(path)
    with refused(DataError, NAME, "lpep_pickup_datetime, lpep_dropoff_datetime", "not a green"):
        read(path)


@pytest.mark.parametrize(
    ("column", "values", "kind"),
    [
        ("trip_distance", ["1", "2", "3", "4", "5"], "large_string"),
        ("PULocationID", ["74", "74", "75", "41", "42"], "large_string"),
        ("DOLocationID", ["075", "075", "074", "042", "041"], "large_string"),
        ("lpep_pickup_datetime", [1, 2, 3, 4, 5], "int64"),
        ("lpep_dropoff_datetime", ["2021-01-05 08:10:00"] * 5, "large_string"),
    ],
    ids=["text distance", "text zones", "zero-padded zones", "integers as times", "text times"],
)
def test_a_column_of_a_wrong_type_is_refused(
    write_month: WriteMonth, column: str, values: list, kind: str
):
    with refused(DataError, NAME, f"has {column} as {kind}, expected a ", "fetch it again"):
        read(write_month(**{column: values}))


@pytest.mark.parametrize("name", ["pulocationid", "PUlocationID", " PULocationID"])
def test_a_column_with_other_capitals_is_named_beside_the_one_that_is_looked_for(
    write_month: WriteMonth, name: str
):
    five_trips().rename(columns={"PULocationID": name}).to_parquet(path := write_month())
    with refused(DataError, NAME, f"no column PULocationID (but one called {name!r})", "rename"):
        fetch_months("2021-01")
    with refused(DataError, NAME, "no column PULocationID", "rename"):
        read(path)


@pytest.mark.parametrize("column", ["PULocationID", "VendorID"])
def test_a_column_that_is_there_twice_is_refused(write_month: WriteMonth, column: str):
    path, trips = write_month(), pa.Table.from_pandas(five_trips().assign(VendorID=2))
    pq.write_table(trips.append_column(column, trips[column]), path)
    with refused(DataError, NAME, f"has the column {column} twice", "fetch it again"):
        fetch_months("2021-01")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_unit_give_the_same_trips(write_month: WriteMonth, unit: str):
    expected, _ = read(write_month())
    times = list(five_trips())[:2]
    trips, _ = read(
        write_month(**{name: five_trips()[name].astype(f"M8[{unit}]") for name in times})
    )
    pd.testing.assert_frame_equal(trips, expected)


@pytest.mark.parametrize("year", [1, 1677, 2300, 3018, 9999])
def test_a_drop_off_in_an_absurd_year_is_dropped_and_counted(write_month: WriteMonth, year: int):
    ends = five_trips()["lpep_dropoff_datetime"].to_numpy(copy=True)
    ends[0] = f"{year:04d}-12-31"
    path = write_month(lpep_dropoff_datetime=ends)
    reason = "under 1 minute" if year < 2021 else "over 60 minutes"
    assert read(path)[1].dropped[reason] == 1


@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("far", [2**62, -(2**62)])
def test_a_time_that_no_calendar_has_is_refused(
    write_month: WriteMonth, column: int, far: int, unit: str
):
    trips = pa.Table.from_pandas(five_trips())
    times = trips.column(column).cast(pa.timestamp(unit)).cast(pa.int64()).to_pylist()
    times[2] = far
    name = trips.column_names[column]
    changed = trips.set_column(column, name, pa.array(times, pa.timestamp(unit)))
    pq.write_table(changed, path := write_month())
    with refused(DataError, NAME, "is damaged", name, "years 1 to 9999", "fetch it again"):
        read(path)
    with refused(DataError, NAME, "is damaged", name):
        fetch_months("2021-01")


@pytest.mark.parametrize("column", ["PULocationID", "DOLocationID"])
@pytest.mark.parametrize("zone", [43.5, 0, -1, 266, 999, 1e18, float("inf")])
def test_a_zone_that_the_city_does_not_have_is_dropped_and_counted(
    write_month: WriteMonth, column: str, zone: float
):
    trips, report = read(write_month(**{column: [float(zone), 264, 265, 1, 43]}))
    assert trips[column].tolist() == [264, 265, 1, 43]
    assert report.dropped["no zone or distance"] == 1


@pytest.mark.slow
def test_a_month_that_you_may_not_read_is_not_called_damaged(write_month: WriteMonth):
    path = write_month()
    path.chmod(0)
    command = [*as_anybody(), sys.executable, "-m", "taxi_lib", "data", "2021-01"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{NAME} cannot be read (Permission denied): let yourself read it" in done.stderr


@pytest.mark.parametrize("columns", [["lpep_pickup_datetime"], list(five_trips())[:2]])
def test_times_with_a_time_zone_are_refused(write_month: WriteMonth, columns: list[str]):
    zoned = {name: five_trips()[name].dt.tz_localize("UTC") for name in columns}
    with refused(DataError, NAME, "tz=UTC", "expected a timestamp without time zone"):
        read(write_month(**zoned))


def test_a_file_without_rows_is_refused(write_month: WriteMonth):
    path = write_month()
    five_trips().iloc[:0].to_parquet(path)
    with refused(DataError, NAME, "no trip", "among its 0 rows", "it is empty", "fetch it again"):
        read(path)


def test_a_month_with_no_trip_left_after_cleaning_is_refused(write_month: WriteMonth):
    late = five_trips()["lpep_dropoff_datetime"] + pd.Timedelta(hours=1)
    with refused(DataError, NAME, "among its 5 rows", "5 over 60 minutes", "fetch it again"):
        read(write_month(lpep_dropoff_datetime=late))


def test_a_month_in_which_every_drop_off_is_missing_is_refused(write_month: WriteMonth):
    never = pd.Series([pd.NaT] * 5, dtype="M8[us]")
    with refused(DataError, NAME, "5 no pick-up or drop-off time", "fetch it again"):
        read(write_month(lpep_dropoff_datetime=never))


def test_a_month_with_pick_up_and_drop_off_swapped_is_refused(write_month: WriteMonth):
    trips = five_trips()
    swapped = {
        "lpep_pickup_datetime": trips["lpep_dropoff_datetime"],
        "lpep_dropoff_datetime": trips["lpep_pickup_datetime"],
    }
    with refused(DataError, NAME, "5 under 1 minute", "fetch it again"):
        read(write_month(**swapped))


def test_another_months_file_under_this_name_is_refused(write_month: WriteMonth, data_dir: Path):
    write_month("2021-02").rename(data_dir / NAME)
    with refused(DataError, NAME, "100% of its pick-ups outside 2021-01", "rename it or fetch"):
        read(data_dir / NAME)
    with refused(DataError, NAME, "100% of its pick-ups outside 2021-01", "rename it or fetch"):
        fetch_months("2021-01")


def test_a_month_with_most_pick_ups_in_2009_is_refused(write_month: WriteMonth):
    trips = five_trips()
    years = pd.Timestamp("2021-01-05") - pd.Timestamp("2009-01-05")
    trips.loc[:2, ["lpep_pickup_datetime", "lpep_dropoff_datetime"]] -= years
    with refused(DataError, NAME, "60% of its pick-ups outside 2021-01", "rename it or fetch"):
        read(write_month(**trips))


def test_a_few_pick_ups_in_2009_are_kept_and_noticed(write_month: WriteMonth):
    trips = five_trips()
    years = pd.Timestamp("2021-01-05") - pd.Timestamp("2009-01-05")
    trips.loc[0, ["lpep_pickup_datetime", "lpep_dropoff_datetime"]] -= years
    _, report = read(write_month(**trips))
    assert (report.kept, report.noticed["pick-up outside the month"]) == (5, 1)


@pytest.mark.parametrize("kind", ["float64", "int32", "int64"])
def test_zones_of_any_numeric_type_become_whole_numbers(write_month: WriteMonth, kind: str):
    trips, _ = read(write_month(PULocationID=five_trips()["PULocationID"].astype(kind)))
    assert trips["PULocationID"].dtype == np.int64
    assert features.add_pair(trips)["PU_DO"].tolist() == [
        "74_75",
        "74_75",
        "75_74",
        "41_42",
        "42_41",
    ]


def test_zones_that_are_written_as_a_dictionary_are_read_like_any_other(write_month: WriteMonth):
    expected, _ = read(path := write_month())
    trips = pa.Table.from_pandas(five_trips())
    zones = trips["PULocationID"].dictionary_encode()
    pq.write_table(trips.set_column(2, "PULocationID", zones), path)
    pd.testing.assert_frame_equal(read(path)[0], expected)


@pytest.mark.parametrize("kind", ["Float64", "Int64", "float64"])
@pytest.mark.parametrize("column", ["PULocationID", "DOLocationID", "trip_distance"])
def test_a_number_that_is_missing_is_dropped_and_counted(
    write_month: WriteMonth, column: str, kind: str
):
    trips, report = read(write_month(**{column: pd.Series([1, None, 3, 4, 5], dtype=kind)}))
    assert trips[column].tolist() == [1, 3, 4, 5]
    assert report.dropped["no zone or distance"] == 1


@pytest.mark.parametrize("distance", [float("inf"), float("-inf"), float("nan")])
def test_a_distance_that_is_no_number_is_dropped_and_counted(
    write_month: WriteMonth, distance: float
):
    trips, report = read(write_month(trip_distance=[1.0, 2.0, distance, 4.0, 5.0]))
    assert trips["trip_distance"].tolist() == [1, 2, 4, 5]
    assert report.dropped["no zone or distance"] == 1


def write_days(path: Path, days: int, repeated: int) -> Path:
    """Write five trips a day, then the first ones once more."""
    table = pd.concat(
        five_trips().assign(trip_distance=five_trips()["trip_distance"] + day)
        for day in range(days)
    )
    both = pd.concat([table, table.head(repeated)])
    pq.write_table(pa.Table.from_pandas(both, preserve_index=False), path)
    return path


@pytest.mark.parametrize("repeated", [0, 5])
def test_a_tenth_of_repeated_rows_is_kept_and_noticed(data_dir: Path, repeated: int):
    _, report = read(write_days(data_dir / NAME, days=9, repeated=repeated))
    assert report.kept == 45 + repeated
    assert report.noticed["same trip recorded before"] == repeated


def test_more_than_a_tenth_of_repeated_rows_is_refused(data_dir: Path):
    path = write_days(data_dir / NAME, days=9, repeated=6)
    with refused(DataError, NAME, "12% of its 51 rows a second time", "fetch it again"):
        read(path)


def test_a_file_joined_with_itself_is_refused(data_dir: Path):
    path = write_days(data_dir / NAME, days=9, repeated=45)
    with refused(DataError, NAME, "50% of its 90 rows a second time", "fetch it again"):
        read(path)


JOINED = {
    "with itself": lambda trips: pd.concat([trips, trips]),
    "with itself, shuffled": lambda trips: pd.concat([trips, trips]).sample(frac=1, random_state=1),
    "with a part of itself": lambda trips: pd.concat([trips, trips.tail(20)]),
    "with itself, numbered": lambda trips: pd.concat([trips, trips], ignore_index=True).tail(80),
}


@pytest.mark.parametrize("how", JOINED)
def test_a_month_that_was_joined_with_itself_never_reaches_a_lesson(data_dir: Path, how: str):
    trips = pd.read_parquet(write_days(data_dir / NAME, days=9, repeated=0))
    JOINED[how](trips).to_parquet(data_dir / NAME)
    with refused(DataError, NAME, "% of its ", "rows a second time", "fetch it again"):
        fetch_months("2021-01")


@pytest.mark.parametrize(("own", "others"), [(2000, 1900), (9000, 120), (200, 150)])
def test_a_month_that_was_joined_with_another_never_reaches_a_lesson(
    data_dir: Path, own: int, others: int
):
    both = pd.concat([write_many("2021-01", own), write_many("2021-02", others)])
    both.to_parquet(data_dir / NAME)
    with refused(DataError, NAME, "of its pick-ups outside 2021-01", "fetch the right one"):
        fetch_months("2021-01")


def write_many(month: str, rows: int) -> pd.DataFrame:
    trips = five_trips(month).iloc[[0] * rows].reset_index(drop=True)
    return trips.assign(trip_distance=trips.index / 100)


@pytest.mark.parametrize(
    "columns",
    [
        {"trip_distance": float("nan")},
        {"PULocationID": 0},
        {"lpep_dropoff_datetime": pd.Timestamp("2021-01-20")},
    ],
)
def test_a_month_without_a_trip_to_keep_never_reaches_a_lesson(
    write_month: WriteMonth, columns: dict
):
    write_month(**columns)
    with refused(DataError, NAME, "no trip of 1 to 60 minutes", "fetch it again"):
        fetch_months("2021-01")


def test_fhv_trips_that_look_alike_are_kept(data_dir: Path):
    trips = pd.DataFrame(
        {
            "pickup_datetime": five_trips()["lpep_pickup_datetime"],
            "dropOff_datetime": five_trips()["lpep_dropoff_datetime"],
            "PUlocationID": [None] * 5,
            "DOlocationID": [None] * 5,
        }
    ).astype({"PUlocationID": float, "DOlocationID": float})
    pd.concat([trips, trips]).to_parquet(data_dir / "fhv.parquet")
    _, report = read_trips(MonthFile("2021-01", data_dir / "fhv.parquet", "local", "fhv"))
    assert (report.kept, report.noticed["same trip recorded before"]) == (10, 5)


@pytest.fixture
def model_and_trips(write_month: WriteMonth):
    trips = features.add_pair(read(write_month())[0])
    model = models.course_model(n_estimators=3)
    return model.fit(trips[features.PAIR_COLUMNS], trips["duration"]), trips


def test_trips_of_which_no_pair_was_seen_in_training_are_not_scored(model_and_trips):
    model, trips = model_and_trips
    elsewhere = features.add_pair(trips.assign(PULocationID=1, DOLocationID=2))
    with refused(DataError, "None of the 5 trips has a PU_DO", "'1_2'", "score it on"):
        models.rmse(model, elsewhere)


def test_zones_that_lost_their_type_are_not_scored(model_and_trips):
    model, trips = model_and_trips
    as_floats = features.add_pair(trips.astype({"PULocationID": float, "DOLocationID": float}))
    with refused(DataError, "None of the 5 trips has a PU_DO", "'74.0_75.0'", "score it on"):
        models.rmse(model, as_floats)


def test_trips_of_which_one_pair_was_seen_in_training_are_scored(model_and_trips):
    model, trips = model_and_trips
    some = trips.assign(PU_DO=["1_2"] * 4 + ["42_41"])
    assert models.rmse(model, some) > 0


def test_a_model_without_pairs_is_scored_on_zones_it_has_never_seen(model_and_trips):
    _, trips = model_and_trips
    model = models.naive_model().fit(trips, trips["duration"])
    elsewhere = trips.assign(PULocationID=1, DOLocationID=2)
    assert models.rmse(model, elsewhere) == pytest.approx(np.sqrt(200))
