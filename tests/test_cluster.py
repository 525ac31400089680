"""Notebooks on the workers of a Dask cluster: the same runs, records and failures as in threads."""

import logging
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import nbformat
import pytest
from distributed import Client, LocalCluster
from prefect_dask import DaskTaskRunner

from support import cli
from support.flow_runs import run_flow, statuses
from support.notebooks import write_cells
from support.processes import of_runs_in
from support.refusals import refused
from taxi_lib.errors import ContractError, TaxiError
from taxi_lib.runner.cluster import check_runner, cluster_of
from taxi_lib.services.ports import free_port
from taxi_lib.services.processes import module
from taxi_lib.services.waiting import wait_for
from taxi_lib.walkthrough import walkthrough

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]

REPORT = "from taxi_lib.results import report_results\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start two workers; the address of their scheduler."""
    how = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**how, host="127.0.0.1", silence_logs=logging.CRITICAL) as workers:
        yield workers.scheduler_address


@pytest.fixture
def chain(project: Path) -> Path:
    """Write three notebooks: the second one takes from the first."""
    root = "side: float = 2.0  # of a square"
    area = f"{REPORT}area: float\nreport_results(area=side**2)"
    write_cells(project, "assert side > 0", name="01_area", parameters=root, results=area)
    taken = "area: float = 99.0  # [from 01_area]"
    double = f"{REPORT}double: float\nreport_results(double=2 * area)"
    write_cells(project, "1", name="02_double", parameters=taken, results=double)
    write_cells(project, "print('alone')", name="03_alone")
    return project


def facts(report: dict) -> list[tuple[str, str, dict, str | None]]:
    return [(n["name"], n["status"], n["results"], n["error"]) for n in report["notebooks"]]


def test_a_cluster_gives_what_threads_give_and_leaves_the_same_records(
    chain: Path, tmp_path: Path, cluster: str
):
    there = run_flow(chain, run_dir=tmp_path / "there", runner=cluster)
    here = run_flow(chain, run_dir=tmp_path / "here", force=True)
    assert facts(there) == facts(here)
    assert there["notebooks"][1]["results"] == {"double": 8.0}
    files = [{path.name for path in (tmp_path / name).iterdir()} for name in ("there", "here")]
    assert files[0] == files[1]
    again = run_flow(chain, run_dir=tmp_path / "again")
    assert set(statuses(again).values()) == {"cached"}


def test_a_failure_on_a_worker_skips_what_depends_on_it(chain: Path, tmp_path: Path, cluster: str):
    report = run_flow(chain, run_dir=tmp_path / "one", runner=cluster, parameters={"side": -1.0})
    assert statuses(report) == {
        "01_area": "failed",
        "02_double": "skipped",
        "03_alone": "completed",
    }
    assert "AssertionError" in report["notebooks"][0]["error"]


def test_each_value_is_run_on_the_cluster(chain: Path, tmp_path: Path, cluster: str):
    report = run_flow(chain, run_dir=tmp_path / "all", runner=cluster, each="side=1,2,3")
    doubles = [run["notebooks"][1]["results"]["double"] for run in report["each"]["runs"]]
    assert doubles == [2.0, 8.0, 18.0]


def runs_on_a_worker(folder: Path, cluster: str) -> bool:
    """Return whether the kernel of a notebook with `ANCESTORS` was a child of a worker."""
    cells = nbformat.read(folder / "01_test.ipynb", as_version=4).cells
    ancestors = "".join(o.get("text", "") for c in cells for o in c.get("outputs", []))
    with Client(cluster) as client:
        return any(f" {pid}" in ancestors for pid in client.run(os.getpid).values())


ANCESTORS = "import psutil\nprint('', *[p.pid for p in psutil.Process().parents()])"


def test_a_cell_runs_in_a_process_of_the_worker(project: Path, tmp_path: Path, cluster: str):
    write_cells(project, ANCESTORS)
    run_flow(project, run_dir=tmp_path / "one", runner=cluster)
    assert runs_on_a_worker(tmp_path / "one", cluster)


def test_a_flow_whose_own_task_runner_is_dasks_runs_its_cells_there(
    project: Path, tmp_path: Path, cluster: str
):
    write_cells(project, ANCESTORS)
    dask = DaskTaskRunner(address=cluster)
    report = walkthrough.with_options(task_runner=dask)(folder=project, run_dir=tmp_path / "one")
    assert statuses(report) == {"01_test": "completed"}
    assert runs_on_a_worker(tmp_path / "one", cluster)


ONCE = """
import pathlib, time
mark = pathlib.Path(mark)
again = mark.exists()
mark.write_text("begun")
time.sleep(0 if again else 120)
"""


def test_a_run_completes_although_a_worker_is_killed(project: Path, tmp_path: Path, cluster: str):
    mark = tmp_path / "mark"
    write_cells(project, ONCE, parameters=f"mark: str = {str(mark)!r}")

    def kill_the_worker_that_is_busy() -> None:
        wait_for(mark.exists, seconds=60)
        with Client(cluster) as client:
            (busy,) = (worker for worker, keys in client.processing().items() if keys)
            os.kill(client.run(os.getpid, workers=[busy])[busy], signal.SIGKILL)

    killer = Thread(target=kill_the_worker_that_is_busy)
    killer.start()
    report = run_flow(project, run_dir=tmp_path / "one", runner=cluster)
    killer.join()
    assert statuses(report) == {"01_test": "completed"}
    assert report["notebooks"][0]["seconds"] < 60


def test_a_run_that_is_killed_leaves_no_kernel_on_the_workers(
    project: Path, tmp_path: Path, cluster: str
):
    mark = tmp_path / "mark"
    write_cells(project, ONCE, parameters=f"mark: str = {str(mark)!r}")
    command = [*module("taxi_lib"), "run", "--folder", str(project), "--runner", cluster]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
        wait_for(mark.exists, seconds=100)
        assert of_runs_in(tmp_path / "runs")
        run.kill()
    wait_for(lambda: not of_runs_in(tmp_path / "runs"), seconds=60)


def test_the_command_starts_a_cluster_and_is_quiet_about_it(project: Path, tmp_path: Path):
    write_cells(project, "print('here')")
    arguments = ("--folder", project, "--run-dir", tmp_path / "one", "--runner", "dask")
    status, said = cli.run(*arguments)
    assert status == 0, said
    assert "distributed" not in said and "tcp://" not in said


def test_a_runner_that_is_none_is_refused_before_anything_runs():
    with refused(ContractError, "--runner", "threads", "dask", "'spark'"):
        check_runner("spark")


def test_a_scheduler_that_does_not_answer_is_named():
    address = f"tcp://127.0.0.1:{free_port()}"
    with refused(TaxiError, address, "--runner dask"), cluster_of(address, 1):
        pass
