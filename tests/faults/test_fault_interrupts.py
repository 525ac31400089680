"""A walkthrough that is interrupted, killed, or loses its server, in a process of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import ROOT
from support.cli import run, start
from support.flow_runs import flow_run_in, statuses, summary_of
from support.notebooks import write_cells
from support.processes import is_running, of_runs_in
from taxi_lib.services.ports import free_port, is_healthy
from taxi_lib.services.processes import program
from taxi_lib.services.waiting import wait_for

pytestmark = pytest.mark.slow

# Begins an MLflow run and a process of its own, says so, and waits; at the second try it is quick.
WAITING = """import os, subprocess, time
from pathlib import Path
import mlflow
mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
run = mlflow.start_run(log_system_metrics=False)
child = subprocess.Popen(["/bin/sleep", "600"], env={{}}, start_new_session=True)
begun = Path({begun!r})
again = begun.exists()
begun.write_text(f"{{os.getpid()}} {{child.pid}}")
if not again:
    time.sleep(600)
mlflow.end_run()"""
ENDINGS = {".ipynb", ".html", ".log", ".json"}


class Interrupted:
    """A folder of notebooks, one of which waits, and the workspace in which it runs."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder, self.runs, self.scratch = folder / "project", folder / "runs", scratch
        self.folder.mkdir()
        self.begun, self.run_dir = folder / "begun", self.runs / "one"
        waiting = WAITING.format(begun=str(self.begun))
        write_cells(self.folder, "print('quick')", name="01_quick")
        write_cells(self.folder, waiting, "print('after')", name="02_waiting")
        self.env = {
            "TAXI_RUNS_DIR": str(self.runs),
            "MLFLOW_TRACKING_URI": "",
            "TMPDIR": str(scratch),
        }
        self.arguments = ["--folder", self.folder, "--run-dir", self.run_dir, "--jobs", 2]

    def start_and_wait(self, **env: str) -> subprocess.Popen:
        process = start(*self.arguments, **self.env | env)
        wait_for(lambda: self.begun.exists() or process.poll() is not None, seconds=120)
        assert process.poll() is None, process.communicate()
        wait_for(lambda: len(self.begun.read_text().split()) == 2)
        wait_for(lambda: (self.run_dir / "01_quick.json").exists())
        return process

    def processes(self) -> list[int]:
        return [int(pid) for pid in self.begun.read_text().split()]

    def tracked(self) -> list[str]:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.runs / 'mlflow.db'}")
        return [run.info.status for run in client.search_runs(["0"], order_by=["start_time ASC"])]


@pytest.fixture
def interrupted(tmp_path: Path, scratch: Path, empty_store: Path) -> Interrupted:
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_store, tmp_path / "runs" / "mlflow.db")
    return Interrupted(tmp_path, scratch)


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_walkthrough_that_is_ended_leaves_nothing_running_and_the_next_goes_on(
    interrupted: Interrupted, number: signal.Signals
):
    process = interrupted.start_and_wait()
    process.send_signal(number)
    told, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and "trying again" not in told
    assert ("`run --resume` goes on" in told) == (number != signal.SIGKILL)
    wait_for(lambda: of_runs_in(interrupted.runs) == [], seconds=20)
    wait_for(lambda: not any(map(is_running, interrupted.processes())), seconds=20)
    wait_for(lambda: not list(interrupted.scratch.glob("kernel-*")), seconds=20)
    # What lies there under a final name is whole; nothing is said to be the last finished run.
    left = {path.suffix for path in interrupted.run_dir.iterdir() if "part" not in path.name}
    assert left <= ENDINGS and not (interrupted.runs / "latest").exists()
    told = summary_of(interrupted.run_dir)["status"]
    assert told == ("running" if number == signal.SIGKILL else "interrupted")

    status, printed = run("--resume", **interrupted.env)
    assert status == 0, printed
    assert f"Going on with {interrupted.run_dir} (" in printed
    again = statuses(summary_of(interrupted.run_dir))
    assert again == {"01_quick": "cached", "02_waiting": "completed"}
    # Nobody is told that the first one is still running.
    assert flow_run_in(interrupted.run_dir).state.is_crashed()
    assert interrupted.tracked() == ["KILLED", "FINISHED"]
    assert of_runs_in(interrupted.runs) == []


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[list[subprocess.Popen]]:
    """Yield a list of the Prefect servers of this test; they end with it."""
    servers: list[subprocess.Popen] = []
    yield servers
    for server in servers:
        server.kill()
        server.wait()


def serve(home: Path, port: int) -> subprocess.Popen:
    start_it = [program("prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    env = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    server = subprocess.Popen(
        start_it,
        env=env | {"PREFECT_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: is_healthy(f"http://127.0.0.1:{port}/api"), seconds=120)
    return server


def test_a_server_that_is_stopped_and_started_again_does_not_stop_the_walkthrough(
    interrupted: Interrupted, own_server: list[subprocess.Popen], tmp_path: Path
):
    port, home = free_port(), tmp_path / "home"
    home.mkdir()
    own_server.append(serve(home, port))
    api = f"http://127.0.0.1:{port}/api"
    write_cells(
        interrupted.folder,
        f"from pathlib import Path; Path({str(interrupted.begun)!r}).write_text('1 2')",
        "import time; time.sleep(12)",
        name="02_waiting",
    )
    process = interrupted.start_and_wait(PREFECT_API_URL=api)
    own_server[0].kill()
    own_server[0].wait()
    own_server.append(serve(home, port))
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert set(statuses(summary_of(interrupted.run_dir)).values()) == {"completed"}


@pytest.mark.usefixtures("prefect_api")
def test_many_interrupts_end_a_walkthrough_like_one(interrupted: Interrupted):
    process = interrupted.start_and_wait()
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.endswith("Stopping what runs; `run --resume` goes on with the rest.\n")
    assert summary_of(interrupted.run_dir)["status"] == "interrupted"
    assert of_runs_in(interrupted.runs) == []


@pytest.mark.parametrize("seconds", [0.5, 2])
def test_many_interrupts_before_a_walkthrough_end_it_in_one_word(
    interrupted: Interrupted, seconds: float
):
    process = start(*interrupted.arguments, **interrupted.env)
    time.sleep(seconds)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.removeprefix("Starting Prefect …\n") == "Stopped.\n"


def test_an_interrupt_in_generated_code_ends_like_any_other():
    # CPython ends by a signal after an interrupt in an `exec`, such as a dataclass's; see main().
    code = (
        "import runpy, signal, typer\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "press = 'import os, signal; os.kill(os.getpid(), signal.SIGINT)'\n"
        "typer.Typer.__call__ = lambda *_: exec(press)\n"
        "runpy.run_module('taxi_lib', run_name='__main__')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (ended.returncode, ended.stderr) == (130, "Stopped.\n")


@pytest.mark.usefixtures("prefect_api")
def test_two_runs_do_not_share_a_folder(interrupted: Interrupted):
    process = interrupted.start_and_wait()
    status, printed = run(*interrupted.arguments, **interrupted.env)
    assert status == 2
    assert f"Another run is going on in {interrupted.run_dir}: wait for it, or choose" in printed
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode != 0
