from collections.abc import Callable
from pathlib import Path
from shutil import copy

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.months import five_trips, real_month_path
from support.refusals import refused
from taxi_lib.errors import ContractError, DataError, MissingMonthError, TaxiError
from taxi_lib.trips.month_file import MonthFile
from taxi_lib.trips.sources import banner, fetch_held_out, fetch_months, is_synthetic

WriteMonth = Callable[..., Path]


def test_the_data_folder_is_looked_in_first(write_month: WriteMonth):
    path = write_month()
    (file,) = fetch_months("2021-01")
    assert (file.path, file.source, file.is_real) == (path, "local", True)


def test_a_month_that_is_not_there_is_downloaded(data_dir: Path, tlc: Path):
    five_trips().to_parquet(tlc / "green_tripdata_2021-01.parquet")
    (file,) = fetch_months("2021-01")
    assert (file.path.parent, file.source) == (data_dir, "tlc")
    assert len(pd.read_parquet(file.path)) == 5


def test_without_network_months_are_made_up(data_dir: Path):
    files = fetch_months("2021-01", "2021-02")
    assert [file.source for file in files] == ["synthetic", "synthetic"]
    assert list(data_dir.iterdir()) == []


def test_made_up_months_are_never_met_in_the_data_folder_as_real(data_dir: Path):
    (made_up,) = fetch_months("2021-01", source="synthetic")
    made_up.path.rename(data_dir / made_up.path.name)
    (found,) = fetch_months("2021-01", source="local")
    assert (found.source, found.is_real) == ("synthetic", False)


def save_all(trips: pd.DataFrame, path: Path) -> None:
    trips.to_parquet(path)


def save_the_first(trips: pd.DataFrame, path: Path) -> None:
    trips.head(500).to_parquet(path)


def save_sorted(trips: pd.DataFrame, path: Path) -> None:
    trips.sort_values("trip_distance").to_parquet(path, compression=None)


def save_without_metadata(trips: pd.DataFrame, path: Path) -> None:
    pq.write_table(pa.Table.from_pandas(trips).replace_schema_metadata(), path)


def save_five_columns_of_some(trips: pd.DataFrame, path: Path) -> None:
    some = trips[list(five_trips())].sample(300, random_state=1).astype({"PULocationID": float})
    pq.write_table(pa.Table.from_pandas(some).replace_schema_metadata(), path)


def save_with_others(trips: pd.DataFrame, path: Path) -> None:
    pd.concat([five_trips(), trips[list(five_trips())].tail(50)]).to_parquet(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "save",
    [
        *(save_all, save_the_first, save_sorted, save_without_metadata),
        *(save_five_columns_of_some, save_with_others),
    ],
)
def test_a_made_up_month_that_was_saved_again_is_still_made_up(
    data_dir: Path, save: Callable[[pd.DataFrame, Path], None]
):
    (made_up,) = fetch_months("2021-01", source="synthetic")
    save(pd.read_parquet(made_up.path), data_dir / made_up.path.name)
    for _ in range(2):  # also when it is used a second time
        (found,) = fetch_months("2021-01")
        assert (found.source, found.is_real) == ("synthetic", False)
    with refused(DataError, made_up.path.name, "holds made-up trips", "source=synthetic"):
        fetch_months("2021-01", source="tlc")


def test_a_made_up_month_that_is_sent_for_a_real_one_is_not_kept(data_dir: Path, tlc: Path):
    made_up = fetch_months("2021-01", source="synthetic")[0].path
    (tlc / made_up.name).write_bytes(made_up.read_bytes())
    with refused(DataError, made_up.name, "holds made-up trips", "nothing was kept"):
        fetch_months("2021-01")
    assert list(data_dir.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("month", ["2021-01", "2021-02", "2023-01", "2023-02"])
def test_a_real_month_is_never_taken_for_a_made_up_one(month: str):
    path = real_month_path(month)
    if path is None:
        pytest.skip(f"the real {month} is not here")
    assert not is_synthetic(MonthFile(month, path, "local"))


def test_real_and_made_up_months_are_not_mixed(write_month: WriteMonth, data_dir: Path):
    write_month("2021-02")
    made_up = fetch_months("2021-01", source="synthetic")[0].path
    (data_dir / made_up.name).write_bytes(made_up.read_bytes())
    with pytest.raises(MissingMonthError, match="never mixes real and made-up months"):
        fetch_months("2021-01", "2021-02")


def test_beside_a_real_month_a_missing_one_is_missing(write_month: WriteMonth):
    write_month("2021-01")
    with pytest.raises(MissingMonthError, match=r"no green_tripdata_2021-02.parquet in .* cannot"):
        fetch_months("2021-01", "2021-02")


@pytest.mark.slow
def test_the_held_out_month_is_as_real_as_the_training_month(write_month: WriteMonth):
    write_month("2021-01")
    (training,) = fetch_months("2021-01")
    missing, why_not = fetch_held_out("2021-03", training)
    assert missing is None and "no green_tripdata_2021-03.parquet" in why_not
    write_month("2021-03")
    assert fetch_held_out("2021-03", training)[0].source == "local"


def test_the_held_out_month_of_made_up_ones_is_synthetic(data_dir: Path):
    (training,) = fetch_months("2021-01")
    assert fetch_held_out("2021-03", training)[0].source == "synthetic"


def test_the_same_month_is_not_fetched_for_two_purposes(data_dir: Path):
    with pytest.raises(ContractError, match="are both 2021-01"):
        fetch_months("2021-01", "2021-01", source="synthetic")


def test_local_asks_nobody_else(data_dir: Path, tlc: Path):
    five_trips().to_parquet(tlc / "green_tripdata_2021-01.parquet")
    with pytest.raises(MissingMonthError, match="put it there, set TAXI_DATA_DIR"):
        fetch_months("2021-01", source="local")


def test_a_data_folder_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAXI_DATA_DIR", "/no/such/folder")
    with pytest.raises(TaxiError, match="TAXI_DATA_DIR is /no/such/folder, which is no folder"):
        fetch_months("2021-01")


def test_yellow_months_are_not_made_up(data_dir: Path):
    with pytest.raises(DataError, match="Only green and FHV months can be made up, not yellow"):
        fetch_months("2021-01", source="synthetic", taxi="yellow")


def test_fhv_months_are_made_up_and_known_as_such_when_somebody_copies_them(data_dir: Path):
    (made,) = fetch_months("2021-06", source="synthetic", taxi="fhv")
    assert (made.taxi, made.is_real, made.path.name) == (
        "fhv",
        False,
        "fhv_tripdata_2021-06.parquet",
    )
    copy(made.path, data_dir)
    (found,) = fetch_months("2021-06", source="local", taxi="fhv")
    assert found.path.parent == data_dir and not found.is_real


def test_the_banner_shouts_when_trips_are_made_up(write_month: WriteMonth):
    assert "MADE-UP" in banner(*fetch_months("2021-01", source="synthetic")).data
    write_month()
    assert "real trips" in banner(*fetch_months("2021-01")).data
