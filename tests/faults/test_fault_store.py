"""MLflow's store: used by many processes at once, damaged, read-only, on a full disk, half made."""

import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking._tracking_service.utils import _get_store

from support.processes import as_anybody
from support.refusals import refused
from taxi_lib import tracking
from taxi_lib.errors import TaxiError

PROCESSES, METRICS = 8, 20
# Processes of their own, but MLflow is imported only once for all of them.
ANEW = multiprocessing.get_context("forkserver")
ANEW.set_forkserver_preload(["taxi_lib.tracking"])


def start(target: Callable[..., None], runs_dir: Path, *arguments: object) -> BaseProcess:
    process = ANEW.Process(target=target, args=(runs_dir, *arguments))
    process.start()
    return process


def exit_code(process: BaseProcess) -> int | None:
    process.join(120)
    return process.exitcode


def use_store(runs_dir: Path) -> None:
    os.environ |= {"TAXI_RUNS_DIR": str(runs_dir), "MLFLOW_TRACKING_URI": ""}
    tracking.use_store()


def use_store_and_write(runs_dir: Path, number: int, together: "multiprocessing.Barrier") -> None:
    together.wait()
    use_store(runs_dir)
    together.wait()
    with mlflow.start_run(run_name=str(number)):
        for step in range(METRICS):
            mlflow.log_metric("count", 100 * number + step, step=step)


@pytest.mark.slow
def test_eight_processes_make_the_store_at_once_and_then_all_their_metrics_are_there(
    runs_dir: Path,
):
    together = ANEW.Barrier(PROCESSES, timeout=100)
    writers = [
        start(use_store_and_write, runs_dir, number, together) for number in range(PROCESSES)
    ]
    assert [exit_code(writer) for writer in writers] == [0] * PROCESSES
    runs = mlflow.search_runs([tracking.use_store()], output_format="list")
    assert sorted(int(run.info.run_name) for run in runs) == list(range(PROCESSES))
    for run in runs:
        first = 100 * int(run.info.run_name)
        history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "count")
        assert [metric.value for metric in history] == list(range(first, first + METRICS))


@pytest.fixture(scope="module")
def sound_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store, in another process: this one shall hold no connection to it."""
    folder = tmp_path_factory.mktemp("sound")
    assert exit_code(start(use_store, folder)) == 0
    return folder / "mlflow.db"


@pytest.fixture
def store(runs_dir: Path, sound_store: Path) -> Path:
    """Return a sound store of this test's own."""
    runs_dir.mkdir()
    return Path(shutil.copy(sound_store, runs_dir))


def fill_with_garbage(store: Path) -> None:
    store.write_bytes(b"no database" * 1000)


def truncate(store: Path) -> None:
    store.write_bytes(store.read_bytes()[: store.stat().st_size // 2])


def change(store: Path, *statements: str) -> None:
    with sqlite3.connect(store) as tables:
        for statement in statements:
            tables.execute(statement)
    tables.close()


def make_newer(store: Path) -> None:
    change(store, "UPDATE alembic_version SET version_num = 'f00'")


def make_newer_without_a_table(store: Path) -> None:
    change(store, "UPDATE alembic_version SET version_num = 'f00'", "DROP TABLE trace_tags")


def make_older(store: Path) -> None:
    change(store, "UPDATE alembic_version SET version_num = '75868b020152'")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "fault", "remedy"),
    [
        (fill_with_garbage, "file is not a database", "move it away"),
        (truncate, "database disk image is malformed", "move it away"),
        (make_newer, "a newer MLflow than 3.", "f00): use that newer MLflow, or move it away"),
        (make_newer_without_a_table, "a newer MLflow than 3.", "f00): use that newer MLflow"),
        (make_older, "an older MLflow", "make a copy of it, then run"),
    ],
)
def test_a_store_that_is_of_no_use_is_refused_and_left_as_it_is(
    store: Path, spoil: Callable[[Path], None], fault: str, remedy: str
):
    spoil(store)
    spoiled = store.read_bytes()
    with refused(TaxiError, str(store), fault, remedy):
        tracking.use_store()
    assert store.read_bytes() == spoiled


@pytest.mark.slow
def test_a_store_that_was_moved_away_is_followed_by_a_new_one(store: Path):
    store.rename(store.with_name("away.db"))
    assert exit_code(start(use_store, store.parent)) == 0
    assert store.exists()


def test_a_folder_in_place_of_the_store_is_refused_at_once(runs_dir: Path):
    (runs_dir / "mlflow.db").mkdir(parents=True)
    begun = time.monotonic()
    with refused(TaxiError, str(runs_dir / "mlflow.db"), "it is a folder", "move it away"):
        tracking.use_store()
    assert time.monotonic() - begun < 5  # MLflow itself would try for 100 seconds


LOCKED = """
import sys
from pathlib import Path
from taxi_lib import tracking
for path in map(Path, sys.argv[1:]):
    mode = path.stat().st_mode
    path.chmod(0o555)
    try:
        tracking.use_store()
    except ValueError as error:
        print(error)
    path.chmod(mode)
"""


@pytest.mark.slow
def test_a_read_only_store_or_folder_is_refused(store: Path):
    command = [*as_anybody(), sys.executable, "-W", "ignore", "-c", LOCKED, store, store.parent]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == [
        f"MLflow cannot use its store {store} ({path} is read-only): "
        "make it writable, or set TAXI_RUNS_DIR to a folder of yours."
        for path in (store, store.parent)
    ]


def use_store_on_a_full_disk(runs_dir: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    with refused(TaxiError, str(runs_dir), "disk I/O error", "make room there"):
        use_store(runs_dir)


@pytest.mark.slow
def test_a_store_that_a_full_disk_left_half_made_is_made_once_there_is_room(runs_dir: Path):
    assert exit_code(start(use_store_on_a_full_disk, runs_dir)) == 0
    assert not (runs_dir / "mlflow.db").exists()
    assert exit_code(start(use_store, runs_dir)) == 0
    assert (runs_dir / "mlflow.db").exists()


@pytest.mark.slow
def test_a_store_whose_making_was_killed_is_made_by_the_next(runs_dir: Path):
    process = start(use_store, runs_dir)
    while not (partial := runs_dir / "mlflow.part.db").exists():
        assert process.is_alive()
        time.sleep(0.005)
    process.kill()
    assert exit_code(process) == -signal.SIGKILL
    assert partial.exists() and not (runs_dir / "mlflow.db").exists()
    with mlflow.start_run(experiment_id=tracking.use_store()):
        mlflow.log_metric("rmse", 1.0)
    assert not partial.exists()


@pytest.mark.slow
def test_half_a_store_that_was_left_behind_is_no_hindrance(runs_dir: Path):
    runs_dir.mkdir()
    (runs_dir / "mlflow.part.db").write_bytes(b"half a database")
    assert tracking.use_store()
    assert not (runs_dir / "mlflow.part.db").exists()


@pytest.mark.slow
def test_an_experiment_that_was_deleted_is_restored_with_its_runs(
    store: Path, caplog: pytest.LogCaptureFixture
):
    number = tracking.use_store()
    with mlflow.start_run():
        mlflow.log_metric("rmse", 1.0)
    for _ in range(2):  # on MLflow's page, between two lessons
        mlflow.MlflowClient().delete_experiment(number)
        caplog.clear()
        assert tracking.use_store() == number
        assert [record.getMessage() for record in caplog.records] == [
            "MLflow's experiment nyc-green-taxi was deleted: it is back, with its runs."
        ]
        with mlflow.start_run():
            mlflow.log_metric("rmse", 2.0)
    assert len(mlflow.search_runs([number])) == 3


@pytest.mark.slow
def test_an_experiment_that_is_gone_for_good_is_made_anew(store: Path):
    number = tracking.use_store()
    mlflow.MlflowClient().delete_experiment(number)
    _get_store()._hard_delete_experiment(number)  # as `mlflow gc` does
    assert mlflow.get_experiment_by_name(tracking.EXPERIMENT) is None
    with mlflow.start_run(experiment_id=tracking.use_store()):
        mlflow.log_metric("rmse", 1.0)


SHADOWED = """
try:
    from taxi_lib import tracking
except ValueError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_a_folder_that_is_taken_for_mlflow_is_named(tmp_path: Path):
    path = tmp_path / "mlflow" / "__init__.py"
    path.parent.mkdir()
    path.write_text("")
    command = [sys.executable, "-W", "ignore", "-c", SHADOWED]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert told == (
        f"TaxiError Python takes {path} for the package mlflow: "
        "rename it, or work in another folder.\n"
    )
