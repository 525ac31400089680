import errno
import http.server
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest
import requests
from conftest import five_trips

from taxi_lib.errors import (
    ContractError,
    DataError,
    MissingMonthError,
    TaxiError,
    UnreachableError,
)
from taxi_lib.sources import banner, fetch_held_out, fetch_months

WriteMonth = Callable[..., Path]


@pytest.fixture
def tlc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a folder over HTTP as the TLC does, and return it."""
    folder = tmp_path / "tlc"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("TAXI_TLC_URL", f"http://127.0.0.1:{server.server_port}")
        yield folder
        server.shutdown()


def fetch_path(month: str) -> Path:
    return fetch_months(month, source="tlc")[0].path


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


def test_the_held_out_month_is_as_real_as_the_training_month(write_month: WriteMonth):
    write_month("2021-01")
    (training,) = fetch_months("2021-01")
    missing, why_not = fetch_held_out("2021-03", training)
    assert missing is None and "no green_tripdata_2021-03.parquet" in why_not
    write_month("2021-03")
    assert fetch_held_out("2021-03", training)[0].source == "local"


def test_the_held_out_month_of_made_up_ones_is_made_up(data_dir: Path):
    (training,) = fetch_months("2021-01")
    assert fetch_held_out("2021-03", training)[0].source == "synthetic"


def test_the_same_month_is_not_fetched_for_two_purposes(data_dir: Path):
    with pytest.raises(ContractError, match="are both 2021-01"):
        fetch_months("2021-01", "2021-01", source="synthetic")


def test_local_asks_nobody_else(data_dir: Path, tlc: Path):
    five_trips().to_parquet(tlc / "green_tripdata_2021-01.parquet")
    with pytest.raises(MissingMonthError, match="put it there, set TAXI_DATA_DIR"):
        fetch_months("2021-01", source="local")


def test_a_month_that_the_tlc_does_not_have_is_not_made_up(data_dir: Path, tlc: Path):
    with pytest.raises(MissingMonthError, match="HTTP 404"):
        fetch_months("2021-01")


@pytest.mark.parametrize("part", [0, 0.5, 0.99])
def test_a_download_that_was_cut_short_leaves_nothing(data_dir: Path, tlc: Path, part: float):
    path = tlc / "green_tripdata_2021-01.parquet"
    five_trips().to_parquet(path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(DataError, match=f"^{path.name} (is empty|cannot be read).* nothing was"):
        fetch_months("2021-01")
    assert list(data_dir.iterdir()) == []


def test_a_web_page_in_place_of_a_month_leaves_nothing(data_dir: Path, tlc: Path):
    (tlc / "green_tripdata_2021-01.parquet").write_text("<Error>Access denied</Error>")
    with pytest.raises(DataError, match="a web page under its name"):
        fetch_months("2021-01")
    assert list(data_dir.iterdir()) == []


def test_a_folder_that_cannot_be_written_does_not_end_in_made_up_trips(
    data_dir: Path, tlc: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    five_trips().to_parquet(tlc / "green_tripdata_2021-01.parquet")
    monkeypatch.setattr("shutil.copyfile", refuse)
    with pytest.raises(MissingMonthError, match=r"cannot be written there \(Read-only") as refusal:
        fetch_months("2021-01")
    assert not isinstance(refusal.value, UnreachableError)
    assert list(data_dir.iterdir()) == []


def test_a_server_that_is_out_of_order_may_recover(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        response = requests.Response()
        response.status_code = 503
        response.raise_for_status()

    monkeypatch.setattr("pooch.retrieve", fail)
    with pytest.raises(UnreachableError, match="HTTP 503"):
        fetch_months("2021-01", source="tlc")


def test_a_file_that_is_not_that_month_is_refused_where_it_is_found(write_month: WriteMonth):
    write_month("2021-01").rename(write_month("2021-02"))
    with pytest.raises(DataError, match="100% of its pick-ups outside 2021-02"):
        fetch_months("2021-02")


def test_a_data_folder_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAXI_DATA_DIR", "/no/such/folder")
    with pytest.raises(TaxiError, match="TAXI_DATA_DIR is /no/such/folder, which is no folder"):
        fetch_months("2021-01")


def test_several_processes_may_download_at_once(data_dir: Path, tlc: Path):
    five_trips().to_parquet(tlc / "green_tripdata_2021-01.parquet")
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        paths = list(pool.map(fetch_path, ["2021-01"] * 3))
    assert paths == [data_dir / "green_tripdata_2021-01.parquet"] * 3
    assert [path.name for path in data_dir.iterdir()] == ["green_tripdata_2021-01.parquet"]


def test_only_green_months_are_made_up(data_dir: Path):
    with pytest.raises(DataError, match="Only green months can be made up, not fhv"):
        fetch_months("2021-01", source="synthetic", taxi="fhv")


def test_the_banner_shouts_when_trips_are_made_up(write_month: WriteMonth):
    assert "MADE-UP" in banner(*fetch_months("2021-01", source="synthetic")).data
    write_month()
    assert "real trips" in banner(*fetch_months("2021-01")).data
