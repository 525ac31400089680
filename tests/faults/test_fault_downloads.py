"""A download that goes wrong leaves nothing under the month's name, and says so in a sentence."""

import errno
import hashlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest

from support.months import five_trips
from support.processes import as_anybody
from support.refusals import refused
from taxi_lib import settings
from taxi_lib.errors import DataError, MissingMonthError, TaxiError, UnreachableError
from taxi_lib.services.waiting import wait_for
from taxi_lib.trips import download
from taxi_lib.trips.sources import fetch_months

NAME = "green_tripdata_2021-01.parquet"
WHOLE = [NAME, f"{NAME}.sha256"]  # what a good download leaves, and nothing else
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"


@pytest.fixture
def month(tmp_path: Path) -> bytes:
    five_trips().to_parquet(tmp_path / "month")
    return (tmp_path / "month").read_bytes()


@pytest.fixture
def tlc_sends(serve: Callable[..., None]) -> Callable[..., list[str]]:
    """Return a function that says what the TLC sends, and gives the list of what was asked for."""

    def send(
        body: bytes, status: int = 200, then: Callable[[], object] = lambda: None, **headers: object
    ) -> list[str]:
        asked = []

        class Tlc(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), str(value))
                self.end_headers()
                self.wfile.write(body)
                then()

            def version_string(self) -> str:
                return headers.get("by", "AmazonS3")

            def log_message(self, *_: object) -> None:
                pass

        serve(Tlc)
        return asked

    return send


def fetch_path(month: str) -> Path:
    return fetch_months(month, source="tlc")[0].path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("status", "body"), [(404, b"Not Found"), (403, DENIED)])
def test_a_month_that_the_tlc_does_not_give_is_not_made_up(
    data_dir: Path, tlc_sends: Callable, status: int, body: bytes
):
    tlc_sends(body, status)
    with refused(MissingMonthError, NAME, f"HTTP {status}", "another month", "source=synthetic"):
        fetch_months("2021-01")
    assert files(data_dir) == []


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_that_is_out_of_order_may_recover(
    data_dir: Path, tlc_sends: Callable, status: int
):
    tlc_sends(b"Internal Server Error", status)
    with refused(UnreachableError, NAME, f"HTTP {status}", "try again later"):
        fetch_path("2021-01")
    assert files(data_dir) == []


@pytest.mark.parametrize("status", [408, 425, 429])
def test_a_server_that_is_busy_is_asked_again_later(
    data_dir: Path, tlc_sends: Callable, status: int
):
    tlc_sends(b"Too Many Requests", status)
    with refused(UnreachableError, NAME, f"HTTP {status}", "try again later"):
        fetch_path("2021-01")


HALF = {"body": b"PAR1", "Content_Length": 400}
ANSWERS = {
    "out of order": {"body": b"Internal Server Error", "status": 500},
    "busy": {"body": b"Too Many Requests", "status": 429},
    "without the month": {"body": b"Not Found", "status": 404},
    "broken off": HALF,
    "a web page": {"body": b"<html>Sign in to this network</html>"},
    "nothing": {"body": b"", "status": 204},
    "gzip that is none": {"body": b"PAR1", "Content_Encoding": "gzip"},
    "chunks that are none": {"body": b"PAR1", "Transfer_Encoding": "chunked"},
    "the way to a dead port": {"body": b"", "status": 302, "Location": "http://127.0.0.1:1/"},
    "the way to itself": {"body": b"", "status": 302, "Location": f"/{NAME}"},
    "the way to no address": {"body": b"", "status": 302, "Location": "ftp://127.0.0.1/"},
    "the way to nowhere": {"body": b"", "status": 302, "Location": "http://"},
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_network_that_was_reached_is_no_reason_to_make_months_up(
    data_dir: Path, tlc_sends: Callable, answer: dict
):
    tlc_sends(**answer)
    with pytest.raises(DataError) as refusal:
        fetch_months("2021-01")
    sentence = str(refusal.value)
    assert NAME in sentence and sentence.endswith(".") and ". " not in sentence
    assert files(data_dir) == []


def test_the_second_month_is_not_made_up_either(data_dir: Path, tlc_sends: Callable, month: bytes):
    (data_dir / NAME).write_bytes(month)
    tlc_sends(b"Service Unavailable", 503)
    with refused(UnreachableError, "green_tripdata_2021-02.parquet", "HTTP 503", "later"):
        fetch_months("2021-01", "2021-02")


def test_a_server_that_hangs_up_is_no_reason_to_make_months_up(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("TAXI_TLC_URL", f"https://127.0.0.1:{server.getsockname()[1]}")
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        with refused(UnreachableError, NAME, "gave no answer that can be used", "put the file"):
            fetch_months("2021-01")


def test_a_server_without_the_encryption_that_was_asked_for_is_refused(
    data_dir: Path, tlc_sends: Callable, month: bytes, monkeypatch: pytest.MonkeyPatch
):
    tlc_sends(month)
    monkeypatch.setenv("TAXI_TLC_URL", os.environ["TAXI_TLC_URL"].replace("http:", "https:"))
    with refused(UnreachableError, NAME, "gave no answer that can be used", "SSL", "put the file"):
        fetch_months("2021-01")


@pytest.mark.parametrize(
    "address",
    [
        *("htp://example.org", "example.org/trip-data", "localhost:8000", "http://", "https:/a/b"),
        *("http://127.0.0.1:99999", "http://127.0.0.1:a", "http://[::1", "file:///data", "C:/data"),
    ],
)
@pytest.mark.parametrize("source", ["auto", "tlc"])
def test_an_address_that_is_none_is_refused(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, address: str, source: str
):
    monkeypatch.setenv("TAXI_TLC_URL", address)
    with refused(TaxiError, f"TAXI_TLC_URL is {address!r}", "no web address", "write it like"):
        fetch_months("2021-01", source=source)


@pytest.mark.parametrize("host", ["taxi.invalid", "a" * 70 + ".invalid", ".example.org", "a b"])
def test_a_mistyped_host_is_refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch, host: str):
    def look_up(*_: object, **__: object) -> list:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("TAXI_TLC_URL", f"https://{host}")
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with refused(UnreachableError, NAME, host, "gave no answer that can be used", "put the file"):
        fetch_months("2021-01")


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("", socket.EAI_NONAME),
        (settings.TLC_URL, socket.EAI_NONAME),
        ("", socket.EAI_AGAIN),
        ("https://taxi.invalid", socket.EAI_AGAIN),
    ],
)
def test_without_a_name_server_months_are_made_up(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, address: str, code: int
):
    def look_up(*_: object, **__: object) -> list:
        raise socket.gaierror(code, "no name server")

    monkeypatch.setenv("TAXI_TLC_URL", address)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert fetch_months("2021-01")[0].source == "synthetic"


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT])
def test_without_a_way_to_the_tlc_months_are_made_up(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, code: int
):
    def connect(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(socket.socket, "connect", connect)
    assert fetch_months("2021-01")[0].source == "synthetic"


@pytest.mark.parametrize("length", ["abc", "-5", "", "1e3", "9" * 30])
def test_a_length_that_is_none_is_no_raw_error(
    data_dir: Path, tlc_sends: Callable, month: bytes, length: str
):
    tlc_sends(month, Content_Length=length)
    try:
        assert fetch_path("2021-01").read_bytes() == month
    except UnreachableError as error:  # nobody waits for so many bytes
        assert "broke off" in str(error) and length == "9" * 30


def drip(month: bytes, chunked: bool) -> type[http.server.BaseHTTPRequestHandler]:
    class Drip(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("A", "b")))
            self.end_headers()
            with suppress(OSError):  # the other end has had enough
                for byte in month:
                    self.wfile.write(b"1\r\n%c\r\n" % byte if chunked else bytes([byte]))
                    time.sleep(0.01)

        def log_message(self, *_: object) -> None:
            pass

    return Drip


@pytest.mark.parametrize("chunked", [False, True])
def test_a_download_that_drips_is_given_up(
    data_dir: Path,
    serve: Callable[..., None],
    month: bytes,
    monkeypatch: pytest.MonkeyPatch,
    chunked: bool,
):
    monkeypatch.setattr(download, "_PATIENCE", 0.5)
    serve(drip(month, chunked))
    with refused(UnreachableError, NAME, "is too slow (", "bytes in", "put the file there"):
        fetch_months("2021-01")
    assert files(data_dir) == []


def test_a_download_without_an_end_is_given_up(
    data_dir: Path, tlc_sends: Callable, month: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(download, "_LARGEST", 1000)
    tlc_sends(month)
    with refused(UnreachableError, NAME, "does not come to an end (", "put the file there"):
        fetch_path("2021-01")
    assert files(data_dir) == []


def test_the_password_in_an_address_is_not_shown(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    address = os.environ["TAXI_TLC_URL"].replace("//", "//me:my-password@")
    monkeypatch.setenv("TAXI_TLC_URL", address)
    with pytest.raises(UnreachableError, match="cannot be reached") as refusal:
        fetch_path("2021-01")
    assert "my-password" not in str(refusal.value)


@pytest.mark.parametrize("source", ["auto", "tlc"])
def test_an_empty_month_is_fetched_when_the_source_allows(
    data_dir: Path, tlc_sends: Callable, month: bytes, source: str
):
    (data_dir / NAME).touch()
    with refused(DataError, NAME, "is empty (0 bytes)", "fetch it again"):
        fetch_months("2021-01", source="local")
    tlc_sends(month)
    assert fetch_months("2021-01", source=source)[0].path.read_bytes() == month


@pytest.mark.slow
def test_two_runs_folders_may_share_a_data_folder(
    data_dir: Path, tlc_sends: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    big = pd.concat([five_trips().assign(trip_distance=n / 7) for n in range(2000)])
    big.to_parquet(tmp_path / "big", compression=None)
    asked = tlc_sends((tmp_path / "big").read_bytes())
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(subprocess.run, command(), env=os.environ | own, capture_output=True)
            for own in ({"TAXI_RUNS_DIR": str(tmp_path / str(n))} for n in range(2))
        ]
    assert [run.result().returncode for run in runs] == [0] * 2
    assert len(asked) == 1 and files(data_dir) == WHOLE


def test_nobody_answering_is_told_with_the_address(data_dir: Path):
    with refused(UnreachableError, NAME, os.environ["TAXI_TLC_URL"], "cannot be reached", "put"):
        fetch_path("2021-01")
    assert files(data_dir) == []


@pytest.mark.parametrize("part", [0, 0.5, 0.99])
def test_a_connection_cut_in_mid_download_leaves_nothing(
    data_dir: Path, tlc_sends: Callable, month: bytes, part: float
):
    tlc_sends(month[: int(part * len(month))], Content_Length=len(month))
    with refused(UnreachableError, NAME, "broke off", "put the file there"):
        fetch_path("2021-01")
    assert files(data_dir) == []


@pytest.mark.parametrize("part", [0.5, 0.99])
def test_a_file_cut_short_by_a_server_that_does_not_tell_its_length_leaves_nothing(
    data_dir: Path, tlc_sends: Callable, month: bytes, part: float
):
    tlc_sends(month[: int(part * len(month))])
    with refused(DataError, NAME, "cut short", "nothing was kept; try again"):
        fetch_path("2021-01")
    assert files(data_dir) == []


@pytest.mark.parametrize("part", [0, 0.5])
def test_a_server_that_stalls_is_given_up(
    data_dir: Path,
    tlc_sends: Callable,
    month: bytes,
    monkeypatch: pytest.MonkeyPatch,
    part: float,
):
    monkeypatch.setattr(download, "_TIMEOUT", (5, 0.3))
    given_up = threading.Event()
    tlc_sends(
        month[: int(part * len(month))], then=lambda: given_up.wait(20), Content_Length=len(month)
    )
    begun = time.monotonic()
    with refused(UnreachableError, NAME, "broke off", "put the file there"):
        fetch_path("2021-01")
    assert time.monotonic() - begun < 10
    given_up.set()
    assert files(data_dir) == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [(b"", "is empty"), (b"<html>Welcome</html>", "a web page under its name"), (DENIED, "a web")],
)
def test_what_is_no_parquet_file_leaves_nothing(
    data_dir: Path, tlc_sends: Callable, body: bytes, fault: str
):
    tlc_sends(body, Content_Length=len(body))
    with refused(DataError, NAME, fault, "nothing was kept; try again"):
        fetch_path("2021-01")
    assert files(data_dir) == []


def test_another_month_sent_under_this_name_leaves_nothing(
    data_dir: Path, tlc_sends: Callable, tmp_path: Path
):
    five_trips("2021-02").to_parquet(tmp_path / "other")
    tlc_sends((tmp_path / "other").read_bytes())
    with refused(DataError, NAME, "outside 2021-01", "nothing was kept; try again"):
        fetch_path("2021-01")
    assert files(data_dir) == []


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("encrypted", [{}, {"x_amz_server_side_encryption": "AES256"}])
def test_a_file_that_does_not_match_its_checksum_leaves_nothing(
    data_dir: Path, tlc_sends: Callable, month: bytes, encrypted: dict[str, str]
):
    sound = md5(month)
    tlc_sends(month[:-12] + b"\0" + month[-11:], ETag=f'"{sound}"', **encrypted)
    with refused(DataError, NAME, "does not match its checksum", sound, "nothing was kept"):
        fetch_path("2021-01")
    assert files(data_dir) == []


def test_a_file_that_matches_its_checksum_is_kept(
    data_dir: Path, tlc_sends: Callable, month: bytes
):
    tlc_sends(month, ETag=f'"{md5(month)}"')
    assert fetch_path("2021-01").read_bytes() == month


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": f'"{"0" * 32}-2"'},
        {"ETag": f'W/"{"0" * 32}"'},
        {"ETag": f'"{"0" * 32}"', "x_amz_server_side_encryption": "aws:kms"},
        {"ETag": f'"{"0" * 32}"', "by": "uvicorn"},
    ],
    ids=["put in parts", "weak", "encrypted with a key", "another server"],
)
def test_a_tag_that_is_no_checksum_is_ignored(
    data_dir: Path, tlc_sends: Callable, month: bytes, headers: dict[str, str]
):
    tlc_sends(month, **headers)
    assert fetch_path("2021-01").read_bytes() == month


def say_ready_and_fetch(place: Path) -> Path:
    (place / str(os.getpid())).touch()
    return fetch_path("2021-01")


@pytest.mark.slow
def test_two_processes_at_once_download_once(
    data_dir: Path, tlc_sends: Callable, month: bytes, tmp_path: Path
):
    ready = tmp_path / "ready"
    ready.mkdir()

    def wait_for_the_other() -> None:
        while len(files(ready)) < 2:
            time.sleep(0.01)
        time.sleep(0.3)

    asked = tlc_sends(month, then=wait_for_the_other)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        paths = list(pool.map(say_ready_and_fetch, [ready] * 2))
    assert paths == [data_dir / NAME] * 2
    assert files(data_dir) == WHOLE and asked == [f"/{NAME}"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "taxi_lib", "data", "2021-01", *arguments]


@pytest.mark.slow
def test_a_process_killed_in_mid_download_is_no_hindrance_to_the_next(
    data_dir: Path, tlc_sends: Callable, month: bytes
):
    halfway, dead = threading.Event(), threading.Event()
    tlc_sends(month[:2000], then=lambda: (halfway.set(), dead.wait(60)), Content_Length=len(month))
    with subprocess.Popen(command(), stderr=subprocess.DEVNULL) as process:
        assert halfway.wait(60)
        wait_for(lambda: list(data_dir.glob("*.part")))
        process.send_signal(signal.SIGKILL)
    dead.set()
    assert process.returncode == -signal.SIGKILL
    assert [name for name in files(data_dir) if not name.startswith(".")] == []
    tlc_sends(month)
    assert fetch_path("2021-01").read_bytes() == month
    assert files(data_dir) == WHOLE


@pytest.mark.slow
def test_a_disk_that_fills_up_in_mid_download_leaves_nothing(
    data_dir: Path, tlc_sends: Callable, month: bytes
):
    tlc_sends(month + bytes(100_000))
    limited = ["bash", "-c", 'ulimit -f 64; exec "$@"', "_", *command()]
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(limited, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    told = done.stderr.splitlines()[-1]
    assert f"{NAME} cannot be written to {data_dir}" in told and "make room there" in told
    assert files(data_dir) == []


def test_a_disk_that_fills_up_at_the_last_step_leaves_nothing(
    data_dir: Path, tlc_sends: Callable, month: bytes, monkeypatch: pytest.MonkeyPatch
):
    def fill_up(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    tlc_sends(month)
    monkeypatch.setattr(Path, "replace", fill_up)
    with refused(MissingMonthError, NAME, str(data_dir), "No space left", "TAXI_DATA_DIR"):
        fetch_months("2021-01")  # and not made-up trips
    assert files(data_dir) == []


@pytest.mark.slow
def test_a_data_folder_that_cannot_be_written_is_told(
    data_dir: Path, tlc_sends: Callable, month: bytes
):
    tlc_sends(month)
    data_dir.chmod(0o555)
    done = subprocess.run(
        [*as_anybody(), *command("--source", "auto")], capture_output=True, text=True, check=False
    )
    data_dir.chmod(0o755)
    assert done.returncode == 2 and done.stdout == ""
    told = done.stderr.splitlines()[-1]
    assert f"{NAME} cannot be written to {data_dir} (Permission denied)" in told
    assert files(data_dir) == []


def test_after_a_failed_download_the_next_one_is_whole(
    data_dir: Path, tlc_sends: Callable, month: bytes
):
    tlc_sends(month[:1000], Content_Length=len(month))
    with refused(UnreachableError, NAME):
        fetch_path("2021-01")
    tlc_sends(month)
    assert len(pd.read_parquet(fetch_path("2021-01"))) == 5
