"""What several tests need: months of five rows, a workspace of their own, and no network."""

import http.server
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from filelock import FileLock
from xdist.scheduler import LoadScopeScheduling

from support.months import five_trips
from taxi_lib import settings

# The tests of each of these share a store, a notebook or months that take seconds to make; so do
# those of most files in tests/checks, which share runs on the server.
ONE_WORKER = {
    *("test_fault_cache", "test_fault_cells", "test_fault_kernels", "test_fault_store"),
    *("test_installed", "test_outputs", "test_pointers", "test_synthetic", "test_tracking"),
    *("test_ui", "test_cluster", "test_postgres", "test_workers"),
}
WORKSPACE = pytest.StashKey[TemporaryDirectory]()
NOBODY = pytest.StashKey[socket.socket]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--twice", action="store_true", help="run two copies of each lesson at once")


def pytest_configure(config: pytest.Config) -> None:
    """Keep every test away from your data, your runs, your Prefect, and the network.

    Here, not in a fixture: Prefect reads its home when a test module imports it.
    """
    config.stash[WORKSPACE] = TemporaryDirectory(prefix="taxi-tests-", ignore_cleanup_errors=True)
    config.stash[NOBODY] = socket.socket()
    config.stash[NOBODY].bind(("127.0.0.1", 0))  # bound, but nobody listens: a network that is down
    folder = Path(config.stash[WORKSPACE].name)
    for name in ("data", "runs"):
        (folder / name).mkdir()
    if not hasattr(config, "workerinput"):
        # One home for all workers: the first that needs a Prefect server starts it, all join it.
        os.environ["PREFECT_HOME"] = str(folder / "prefect")
    # The tests say themselves where their data is; yours is looked at for the real months.
    given = os.environ.pop("TAXI_DATA_DIR", "")
    os.environ.setdefault("REAL_TAXI_DATA_DIR", str(Path(given).resolve()) if given else "")
    os.environ |= {
        "TAXI_DATA_DIR": str(folder / "data"),
        "TAXI_RUNS_DIR": str(folder / "runs"),
        "TAXI_TLC_URL": f"http://127.0.0.1:{config.stash[NOBODY].getsockname()[1]}",
        # Two workers, one training each: more threads than cores only wait for each other.
        "OMP_NUM_THREADS": "1",
        # A flow of a test that was not given the server fails, and starts none: 20 s of a core.
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "0",
    }
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_PROFILE"):
        os.environ.pop(name, None)
    os.environ |= settings.environment()
    del os.environ["MLFLOW_TRACKING_URI"]


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[NOBODY].close()
    config.stash[WORKSPACE].cleanup()


def pytest_xdist_auto_num_workers() -> int:
    """Start one worker more than there are cores: many tests wait for a program to start."""
    return (os.cpu_count() or 1) + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Give tests to workers one by one, but files whose tests share what takes long as a whole."""

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.split("::")[0])
            whole = file.stem in ONE_WORKER or file.parent.name == "checks"
            return str(file) if whole else nodeid

    return Scheduler(config, log)


@pytest.hookimpl(tryfirst=True)  # before `-m "not slow"` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "prefect_server" in getattr(item, "fixturenames", ()):  # its start takes seconds
            item.add_marker("slow")
    # The slow ones first: all workers then end at about the same time.
    items.sort(key=lambda item: "slow" not in item.keywords)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """Join or start the one real Prefect server of this test run; the address of its API."""
    from taxi_lib.services.prefect_local import shared_server

    with shared_server() as address:
        yield address


@pytest.fixture
def prefect_api(prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let this test, and the processes it starts, talk to the tests' Prefect server."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield prefect_server


@pytest.fixture(scope="session")
def empty_store() -> Path:
    """Return a store of MLflow with nothing in it to copy; making the tables takes seconds."""
    from mlflow import MlflowClient

    # Beside Prefect's home, which all workers share.
    path = Path(os.environ["PREFECT_HOME"]).with_name("empty-mlflow.db")
    with FileLock(f"{path}.lock"):
        if not path.exists():
            making = path.with_name("making-mlflow.db")
            MlflowClient(f"sqlite:///{making}").search_experiments(max_results=1)
            shutil.copy(making, path)
    return path


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Yield a folder for temporary files; pytest's own would be too long for a socket's name."""
    with TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty data folder that is this test's own."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("TAXI_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def write_month(data_dir: Path) -> Callable[..., Path]:
    """Return a function that writes five trips of 10 to 50 minutes, changed as you like."""

    def write(month: str = "2021-01", **columns: object) -> Path:
        path = data_dir / f"green_tripdata_{month}.parquet"
        five_trips(month).assign(**columns).to_parquet(path)
        path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)  # a change on purpose
        return path

    return write


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for runs that is this test's own; it is not there yet."""
    folder = tmp_path / "räume mit leerzeichen"
    monkeypatch.setenv("TAXI_RUNS_DIR", str(folder))
    # MLflow sets this itself once it is told a store; afterwards it shall be as before.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    # We set this one likewise; set first, because only then it is removed at the end.
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "")
    monkeypatch.delenv("_MLFLOW_SERVER_ARTIFACT_ROOT")
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder for notebooks, with a runs folder and a store of its own."""
    monkeypatch.setenv("TAXI_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that lets a handler of requests answer in the TLC's place."""
    with ExitStack() as servers:

        def start(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> None:
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
            servers.enter_context(server)
            threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
            servers.callback(server.shutdown)
            monkeypatch.setenv("TAXI_TLC_URL", f"http://127.0.0.1:{server.server_port}")

        yield start


@pytest.fixture
def tlc(tmp_path: Path, serve: Callable[..., None]) -> Path:
    """Serve a folder over HTTP as the TLC does, and return it."""
    folder = tmp_path / "tlc"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: object) -> None:
            pass

    serve(Quiet)
    return folder
