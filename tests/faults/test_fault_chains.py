"""Notebooks that take from each other, when a run is interrupted, repaired, or not alone."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from support.cli import run, start
from support.flow_runs import statuses, summary_of
from support.notebooks import write_cells
from support.processes import is_running
from taxi_lib.services.waiting import wait_for

pytestmark = pytest.mark.slow

REPORT = "from pathlib import Path\nfrom taxi_lib.results import report_results\n"
SLOW = """import os, time
from pathlib import Path
begun = Path({begun!r}) / str(n)
again = begun.exists()
begun.write_text(str(os.getpid()))
while not again and n > 1:
    time.sleep(0.1)"""


@pytest.fixture
def env(tmp_path: Path, scratch: Path, empty_store: Path) -> dict[str, str]:
    (tmp_path / "runs").mkdir()
    (tmp_path / "begun").mkdir()
    shutil.copy(empty_store, tmp_path / "runs" / "mlflow.db")
    return {
        "TAXI_RUNS_DIR": str(tmp_path / "runs"),
        "MLFLOW_TRACKING_URI": "",
        "TMPDIR": str(scratch),
    }


@pytest.fixture
def chain(project: Path, tmp_path: Path) -> Path:
    """Write a step that waits for ever where `n` is more than 1, the first time, and one behind."""
    results = f"{REPORT}made: Path\nPath('n.txt').write_text(str(n)); report_results(made='n.txt')"
    write_cells(
        project,
        SLOW.format(begun=str(tmp_path / "begun")),
        name="01_make",
        parameters="n: int = 1",
        results=results,
    )
    taken = "from pathlib import Path\nmade: Path = 'none'  # [from 01_make]\nmost: int = 9"
    write_cells(
        project, "assert int(Path(made).read_text()) <= most", name="02_read", parameters=taken
    )
    return project


def wait_for_kernels(tmp_path: Path, process: subprocess.Popen, *names: str) -> list[int]:
    places = [tmp_path / "begun" / name for name in names]
    wait_for(
        lambda: all(p.exists() and p.read_text() for p in places) or process.poll(), seconds=90
    )
    assert process.poll() is None, process.communicate()
    return [int(place.read_text()) for place in places]


def test_values_that_are_interrupted_stop_together_and_are_resumed(
    chain: Path, tmp_path: Path, env: dict[str, str]
):
    arguments = ["--folder", chain, "--each", "n=1..3", "--jobs", 2]
    process = start(*arguments, "--run-dir", tmp_path / "runs" / "all", **env)
    kernels = wait_for_kernels(tmp_path, process, "2", "3")
    wait_for(lambda: (tmp_path / "runs" / "all" / "1" / "02_read.json").exists())
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=90)
    assert process.returncode == 130, printed
    assert not any(map(is_running, kernels))
    assert summary_of(tmp_path / "runs" / "all")["status"] == "interrupted"
    status, printed = run("--resume", "--jobs", 2, **env)
    assert status == 0, printed
    assert statuses(summary_of(tmp_path / "runs" / "all")) == {
        "1/01_make": "cached",
        "1/02_read": "cached",
        "2/01_make": "completed",
        "2/02_read": "completed",
        "3/01_make": "completed",
        "3/02_read": "completed",
    }


def test_a_failed_run_is_repaired_with_another_value(
    chain: Path, tmp_path: Path, env: dict[str, str]
):
    arguments = ["--folder", chain, "--run-dir", tmp_path / "runs" / "one"]
    status, _ = run(*arguments, "-p", "most=0", **env)
    assert status == 1
    status, printed = run("--resume", "-p", "most=1", **env)
    assert status == 0, printed
    assert statuses(summary_of(tmp_path / "runs" / "one")) == {
        "01_make": "cached",
        "02_read": "completed",
    }
    assert "the new values may change" not in printed


def test_two_runs_at_once_do_not_take_each_others_files(
    chain: Path, tmp_path: Path, env: dict[str, str]
):
    for n in (2, 3):
        (tmp_path / "begun" / str(n)).write_text("before")  # so that it does not wait
    processes = {}
    for n in (2, 3):
        place = tmp_path / "runs" / str(n)
        arguments = ["--folder", chain, "-p", f"n={n}", "-p", f"most={n}", "--run-dir", place]
        processes[n] = start(*arguments, **env)
    for n, process in processes.items():
        printed, _ = process.communicate(timeout=200)
        assert process.returncode == 0, printed
        assert (tmp_path / "runs" / str(n) / "01_make" / "n.txt").read_text() == str(n)
