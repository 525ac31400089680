import http.server
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest
from conftest import five_trips

from taxi_lib.errors import ContractError, DataError, MissingMonthError
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
    assert fetch_held_out("2021-03", training) is None
    write_month("2021-03")
    assert fetch_held_out("2021-03", training).source == "local"


def test_the_held_out_month_of_made_up_ones_is_made_up(data_dir: Path):
    (training,) = fetch_months("2021-01")
    assert fetch_held_out("2021-03", training).source == "synthetic"


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
    with pytest.raises(DataError, match="parquet file"):
        fetch_months("2021-01")
    assert list(data_dir.iterdir()) == []


def test_a_web_page_in_place_of_a_month_leaves_nothing(data_dir: Path, tlc: Path):
    (tlc / "green_tripdata_2021-01.parquet").write_text("<Error>Access denied</Error>")
    with pytest.raises(DataError, match="a web page saved under its name"):
        fetch_months("2021-01")
    assert list(data_dir.iterdir()) == []


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
