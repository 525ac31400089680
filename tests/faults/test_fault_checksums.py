"""A month that changed on disk is refused, and nothing of a damaged one passes in silence."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from support.months import five_trips
from support.processes import as_anybody
from support.refusals import refused
from taxi_lib.errors import DataError
from taxi_lib.trips.data import read_trips
from taxi_lib.trips.month_file import MonthFile
from taxi_lib.trips.sources import fetch_months

NAME = "green_tripdata_2021-01.parquet"
WriteMonth = Callable[..., Path]


def read(path: Path) -> pd.DataFrame:
    return read_trips(MonthFile("2021-01", path, "local"))[0]


def flip_bit(path: Path, sound: bytes, place: int) -> None:
    content = bytearray(sound)
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def test_a_months_checksum_is_kept_where_sha256sum_finds_it(write_month: WriteMonth):
    path = write_month()
    fetch_months("2021-01")
    assert record_of(path).read_text().split()[1:] == [NAME]
    checked = ["sha256sum", "--strict", "-c", record_of(path).name]
    subprocess.run(checked, cwd=path.parent, check=True, capture_output=True)


@pytest.mark.parametrize("codec", [None, "snappy", "zstd"])
def test_no_bit_of_a_month_changes_in_silence(write_month: WriteMonth, codec: str | None):
    path = write_month()
    five_trips().to_parquet(path, compression=codec)
    fetch_months("2021-01")
    sound = path.read_bytes()
    for place in random.Random(1).sample(range(8 * len(sound)), 30):
        flip_bit(path, sound, place)
        with refused(DataError, NAME, "has changed since it was first used", "on purpose"):
            fetch_months("2021-01")
        with refused(DataError, NAME, str(record_of(path)), f"delete {record_of(path).name}"):
            read(path)


@pytest.mark.slow
@pytest.mark.parametrize("codec", [None, "snappy", "zstd"])
def test_a_damaged_month_that_nobody_has_used_before_is_no_raw_error(
    write_month: WriteMonth, codec: str | None
):
    path = write_month()
    five_trips().to_parquet(path, compression=codec)
    sound, refusals = path.read_bytes(), 0
    for place in random.Random(2).sample(range(8 * len(sound)), 60):
        flip_bit(path, sound, place)
        record_of(path).unlink(missing_ok=True)
        try:
            pd.read_parquet(fetch_months("2021-01")[0].path)
        except DataError as error:
            refusals += 1
            assert str(error).endswith(".") and ". " not in str(error) and "\n" not in str(error)
    assert refusals > 5


def test_a_month_with_checksums_of_its_own_is_checked_against_them(data_dir: Path):
    five_trips().to_parquet(data_dir / NAME, write_page_checksum=True, compression=None)
    sound = (data_dir / NAME).read_bytes()
    miles = sound.index(pd.Series([5.0]).to_numpy().tobytes())
    flip_bit(data_dir / NAME, sound, 8 * miles)
    with refused(DataError, NAME, "is damaged", "fetch it again"):
        fetch_months("2021-01")


def test_a_made_up_month_that_was_damaged_is_made_again(runs_dir: Path):
    path = fetch_months("2021-01", source="synthetic")[0].path
    sound = path.read_bytes()
    flip_bit(path, sound, 4 * len(sound))
    assert fetch_months("2021-01", source="synthetic")[0].path.read_bytes() == sound


def test_a_made_up_month_has_checksums_wherever_it_is_copied(runs_dir: Path, data_dir: Path):
    sound = fetch_months("2021-01", source="synthetic")[0].path.read_bytes()
    flip_bit(data_dir / NAME, sound, 4 * len(sound))
    with refused(DataError, NAME, "is damaged", "fetch it again"):
        fetch_months("2021-01")


def test_a_month_that_was_changed_on_purpose_is_taken_once_its_record_is_deleted(
    write_month: WriteMonth,
):
    path = write_month()
    fetch_months("2021-01")
    five_trips().assign(trip_distance=7.0).to_parquet(path)
    with refused(DataError, NAME, f"delete {record_of(path).name} if you changed"):
        fetch_months("2021-01")
    record_of(path).unlink()
    assert set(read(fetch_months("2021-01")[0].path)["trip_distance"]) == {7.0}


def test_a_changed_month_is_refused_also_when_it_is_the_second(write_month: WriteMonth):
    write_month("2021-01")
    path = write_month("2021-02")
    fetch_months("2021-01", "2021-02")
    five_trips("2021-02").assign(trip_distance=7.0).to_parquet(path)
    with refused(DataError, path.name, "has changed since it was first used"):
        fetch_months("2021-01", "2021-02")


def test_a_month_that_is_deleted_is_fetched_again_whatever_it_was(
    write_month: WriteMonth, tlc: Path
):
    path = write_month()
    fetch_months("2021-01")
    five_trips().assign(trip_distance=7.0).to_parquet(tlc / NAME)
    path.unlink()
    fetch_months("2021-01")
    assert set(read(fetch_months("2021-01")[0].path)["trip_distance"]) == {7.0}


@pytest.mark.parametrize("text", ["", "no checksum", "0" * 63])
def test_a_record_without_a_checksum_is_refused(write_month: WriteMonth, text: str):
    path = write_month()
    record_of(path).write_text(text)
    with refused(DataError, record_of(path).name, "holds no SHA-256", "delete it"):
        fetch_months("2021-01")


def test_a_record_that_you_have_written_yourself_counts(write_month: WriteMonth):
    path = write_month()
    command = ["sha256sum", "--binary", path.name]
    done = subprocess.run(command, cwd=path.parent, check=True, capture_output=True, text=True)
    record_of(path).write_text(done.stdout.upper())
    fetch_months("2021-01")
    five_trips().assign(trip_distance=7.0).to_parquet(path)
    with refused(DataError, NAME, "has changed"):
        fetch_months("2021-01")


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_no_hindrance(
    write_month: WriteMonth, runs_dir: Path, data_dir: Path
):
    path = write_month()
    runs_dir.mkdir()
    shutil.chown(runs_dir, os.getuid())
    command = [*as_anybody(), sys.executable, "-m", "taxi_lib", "data", "2021-01"]
    told = []
    for miles in (1.0, 7.0):
        data_dir.chmod(0o755)
        five_trips().assign(trip_distance=miles).to_parquet(path)
        data_dir.chmod(0o555)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        told.append((done.returncode, done.stderr))
    data_dir.chmod(0o755)
    assert [status for status, _ in told] == [0, 2]
    assert f"{NAME} has changed since it was first used" in told[1][1]
    assert [p.name for p in data_dir.iterdir()] == [NAME]
