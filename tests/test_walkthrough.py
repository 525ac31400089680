"""The flow that runs notebooks: what it shows on Prefect's server, retries, and side by side."""

import contextvars
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from support.flow_runs import artifacts_of, flow_run_in, run_flow, statuses
from support.notebooks import GREETING, write_cells
from taxi_lib.runner.console import Board
from taxi_lib.services.prefect_client import logs_of, tasks_of
from taxi_lib.walkthrough import walkthrough

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]
REPORT = "from taxi_lib.results import report_results; report_results(rmse=6.5)"


def test_a_failure_is_named_in_its_task_its_log_and_an_artifact_and_the_others_go_on(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_cells(project, "x = 41; print('no word')", "x / 0", "print('never')", name="01_bad")
    write_cells(project, REPORT, name="02_good")
    report = run_flow(project, run_dir=tmp_path / "here")
    assert statuses(report) == {"01_bad": "failed", "02_good": "completed"}
    assert "no word" not in capsys.readouterr().out  # unless asked for, see below
    run = flow_run_in(tmp_path / "here")
    assert run.state.is_failed()
    where = "cell 5/6 · Work: ZeroDivisionError: division by zero"
    assert run.state.message == f"1 of 2 notebooks failed: 01_bad: {where}."
    tasks = {task.name: task for task in tasks_of(run.id)}
    assert tasks["01_bad"].state_name == "Failed" and where in tasks["01_bad"].state.message
    assert tasks["01_bad"].run_count == 1  # a failed cell fails again
    assert tasks["02_good"].state_name == "Completed"
    told = [log.message for log in logs_of(run.id) if "01_bad failed at" in log.message]
    assert where in told[0] and "x / 0" in told[0]
    page = artifacts_of(run)["failed-01-bad"].data
    for part in ("01_bad", where, "x / 0", str(tmp_path / "here" / "01_bad.html")):
        assert part in page


@pytest.mark.parametrize(("given", "source"), [({}, "s3"), ({"source": "gcs"}, "gcs")])
def test_a_notebook_may_have_a_source_and_a_month_of_its_own(
    project: Path, given: dict[str, Any], source: str
):
    lines = 'source: str = "s3"  # which bucket\nbilling_month: str = "Jan"  # of the bill'
    check = f"assert (source, billing_month) == ({source!r}, 'Jan')"
    write_cells(project, check, parameters=lines)
    report = run_flow(project, source="local", parameters=given)
    assert statuses(report) == {"01_test": "completed"}


def test_a_bar_on_prefects_page_shows_how_far_a_notebook_is(project: Path, tmp_path: Path):
    write_cells(project, *["import time; time.sleep(1.5)"] * 3, name="01_slow")
    seen: list[tuple[float, str]] = []

    def look(ended: threading.Event) -> None:
        while not ended.wait(0.2):
            with suppress(ValueError):  # its flow run has not begun
                bars = artifacts_of(flow_run_in(tmp_path / "here"))
                seen.extend((b.data, b.description) for b in bars.values() if b.type == "progress")

    with in_the_background(look):
        run_flow(project, run_dir=tmp_path / "here")
    bar = artifacts_of(flow_run_in(tmp_path / "here"))["01-slow"]
    assert (bar.type, bar.data, bar.description) == ("progress", 100.0, "completed")
    between = {done: line for done, line in seen if 0 < done < 100}
    assert list(between) == sorted(between) and len(between) >= 2
    assert any("cell 5/6" in line for line in between.values())


@contextmanager
def in_the_background(look: Callable[[threading.Event], None]) -> Iterator[None]:
    """Call a function in a thread that has this test's Prefect settings, until the block ends."""
    ended, context = threading.Event(), contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=[look, ended])
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_kernel_that_died_gets_a_second_try_and_its_evidence_stays(project: Path, tmp_path: Path):
    once = tmp_path / "once"
    die = f"""import os
from pathlib import Path
first = not Path({str(once)!r}).exists()
Path({str(once)!r}).touch()
if first:
    os.kill(os.getpid(), 9)"""
    write_cells(project, die, REPORT, name="01_dies")
    report = run_flow(project, run_dir=tmp_path / "here")
    assert statuses(report) == {"01_dies": "completed"}
    assert "kernel died" in (tmp_path / "here" / "01_dies.attempt-1.log").read_text()


def test_a_store_that_is_busy_gets_a_second_try_and_the_failure_is_shown_in_full(
    project: Path, tmp_path: Path
):
    store = tmp_path / "busy.db"
    write = f"""import sqlite3
open({str(tmp_path / "tries")!r}, "a").write("try ")
store = sqlite3.connect({str(store)!r}, timeout=0.1)
store.execute("create table mine (id)")"""
    holder = sqlite3.connect(store)
    holder.execute("create table theirs (id)")
    holder.execute("begin exclusive")
    write_cells(project, write, name="01_busy")
    report = run_flow(project, run_dir=tmp_path / "here")
    holder.close()
    (run,) = report["notebooks"]
    assert run["error"] == "cell 4/4 · Work: OperationalError: database is locked"
    assert run["cell"] == write and Path(run["html"]).is_file()
    assert (tmp_path / "tries").read_text().split() == ["try", "try"]
    assert "failed-01-busy" in artifacts_of(flow_run_in(tmp_path / "here"))


def test_results_are_the_same_side_by_side_and_one_by_one(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    train = """import os, time
import numpy as np
from taxi_lib.results import report_results
random = np.random.default_rng(0)
X = random.normal(size=(2000, 5))
weights = np.linalg.lstsq(X, X @ np.arange(5) + random.normal(size=2000))[0]
time.sleep(1)
report_results(sum=float(weights.sum()), number={number}, threads=os.environ["OMP_NUM_THREADS"])"""
    for number in (1, 2):
        write_cells(project, train.format(number=number), name=f"{number:02d}_train")
    reports = [
        run_flow(project, jobs=jobs, force=True, run_dir=tmp_path / str(jobs)) for jobs in (1, 2)
    ]
    # Kernels side by side share the cores.
    threads = [{run["results"].pop("threads") for run in r["notebooks"]} for r in reports]
    cores = len(os.sched_getaffinity(0))
    assert threads == [{str(cores)}, {str(max(1, cores // 2))}]
    one_by_one, side_by_side = (
        [(run["name"], run["status"], run["results"]) for run in report["notebooks"]]
        for report in reports
    )
    assert one_by_one == side_by_side
    assert {status for _, status, _ in one_by_one} == {"completed"}
    spans = [(task.start_time, task.end_time) for task in tasks_of(flow_run_in(tmp_path / "2").id)]
    assert max(start for start, _ in spans) < min(end for _, end in spans)


def test_what_cells_print_is_shown_when_asked_for(
    project: Path, capsys: pytest.CaptureFixture[str]
):
    write_cells(project, "print('one\\ntwo')", name="01_talks")
    run_flow(project, stream=True)
    assert "01 │ one\n01 │ two\n" in capsys.readouterr().out


def test_of_a_long_error_the_terminal_shows_how_it_begins(capsys: pytest.CaptureFixture[str]):
    Board().end("01_bad", "01 · cell 1/2 · Work: ValueError: one\ntwo")
    Board().end("02_bad", "x" * 1000)
    assert capsys.readouterr().out == (
        "01 · cell 1/2 · Work: ValueError: one …\n" + "x" * 500 + " …\n"
    )


def test_a_notebook_that_takes_too_long_is_stopped_and_the_others_go_on(project: Path):
    write_cells(project, "import time; time.sleep(600)", name="01_hangs")
    write_cells(project, REPORT, name="02_good")
    report = run_flow(project, cell_seconds=2)
    assert statuses(report) == {"01_hangs": "failed", "02_good": "completed"}
    assert "took longer than 2 seconds" in report["notebooks"][0]["error"]


def form_of(flow_parameters: dict[str, Any]) -> dict[str, Any]:
    (schema,) = (s for s in flow_parameters["parameters"]["anyOf"] if s.get("type") == "object")
    return schema["properties"]


def test_prefects_form_asks_for_each_parameter_with_its_type_help_and_range():
    form = form_of(walkthrough.parameters.model_dump()["properties"])
    assert form["boost_rounds"]["type"] == "integer" and form["boost_rounds"]["minimum"] == 1
    assert form["source"]["enum"] == ["auto", "local", "tlc", "synthetic"]
    assert form["train_month"]["description"] == "month to learn from"
    assert form["train_month"]["pattern"]
    assert json.loads(json.dumps(form)) == form  # so Prefect can send it to a browser


def test_a_value_that_no_notebook_takes_is_refused_before_anything_runs(project: Path):
    write_cells(project, "1", name="01_one", parameters=GREETING)
    for given in ({"greting": "x"}, {"greeting": 5}):
        state = walkthrough(folder=project, parameters=given, return_state=True)
        assert state.is_failed() and "greeting" in state.message
    assert not (project.parent / "runs" / "latest").exists()
