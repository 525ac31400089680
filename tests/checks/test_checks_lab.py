"""The lab: its failures are real, its checks see through repairs that are none."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import nbformat
import numpy as np
import pytest
from prefect import flow, get_client, states
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from scipy import sparse

from support import ROOT
from support.exercises import said
from support.sandbox import Sandbox
from taxi_lib.services.prefect_client import temporary_names
from taxi_lib.services.web_apps import serve

LAB = "lab_break_and_mend"
NOTEBOOK = ROOT / "notebooks" / f"{LAB}.ipynb"
SOLUTIONS = NOTEBOOK.with_name("solutions") / f"{LAB}_solutions.ipynb"
# What each section prints when it is broken, and when its parameter is sound.
BROKEN = {
    "parameter": ("counted 2021-01", "counted 2021-02"),
    "deleted": ("Cannot set a deleted experiment", "It works: lab"),
    "locked": ("database is locked", "It works: RUNNING"),
    "address": ("b'<h1>'", "b'PAR1'"),
    "matrix": ("32-bit integer indices", "It works: Lasso"),
    "cache": ("2 lines, and the report says 1", "2 lines, and the report says 2"),
    "worker": ("after some seconds: Scheduled", "after some seconds: Completed"),
    "moved": ("Crashed: ", "Completed: "),
    "zone": ("0 9 3 * * UTC", "0 9 3 * * America/New_York"),
    "early": ('None   print("saved the model")', '3   print("saved the model")'),
}
SOUND = """
month_name, deleted, locked, address_moved = "train_month", False, False, False
index_type, cached_by, watched, file_moved = "int32", "content", True, False
zone, second_cell = "America/New_York", "pass"
"""


def executed(path: Path, folder: Path, scratch: Path) -> dict[str, str]:
    """Run a notebook, which must leave nothing behind; return what each cell showed."""
    sandbox = Sandbox(folder, scratch)
    ((notebook, _),) = sandbox.execute(path)
    assert sandbox.processes() == [] and sandbox.files() == []
    shown = {cell.id: str(cell.get("outputs")) for cell in notebook.cells}
    return {name: text.replace("\\'", "'") for name, text in shown.items()}


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_each_failure_is_there_until_it_is_mended(tmp_path: Path, scratch: Path):
    shown = executed(SOLUTIONS, tmp_path, scratch)
    assert {name for name, (broken, _) in BROKEN.items() if broken not in shown[name]} == set()
    assert {name for name in BROKEN if ": right" not in shown[f"{name}-mend"]} == set()


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_no_failure_is_there_when_its_parameter_is_sound(tmp_path: Path, scratch: Path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    parameters = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    parameters.source += f"\nkeep = False{SOUND}"
    nbformat.write(notebook, tmp_path / "lab.ipynb")
    shown = executed(tmp_path / "lab.ipynb", tmp_path, scratch)
    assert {name for name, (_, sound) in BROKEN.items() if sound not in shown[name]} == set()
    assert {n for n in BROKEN if "not attempted yet" not in shown[f"{n}-mend"]} == set()


def test_the_lab_and_its_solutions_make_the_same_failures():
    lab, solved = (
        {cell.id: cell.source for cell in nbformat.read(path, as_version=4).cells}
        for path in (NOTEBOOK, SOLUTIONS)
    )
    assert {name for name in BROKEN if lab[name] != solved[name]} == set()


def copy_of(folder: Path, given: str, counted: str = "2021-02") -> Path:
    """Write an executed copy, as papermill leaves it."""
    output = {"output_type": "stream", "name": "stdout", "text": [f"counted {counted}\n"]}
    cells = [
        {"source": 'train_month = "2021-01"', "metadata": {"tags": ["parameters"]}},
        {"source": given, "metadata": {"tags": ["injected-parameters"]}},
        {"source": 'print("counted", train_month)', "metadata": {}, "outputs": [output]},
    ]
    path = folder / "copy.ipynb"
    path.write_text(json.dumps({"cells": [cell for cell in cells if cell["source"]]}))
    return path


COPIES = {
    "right": ("right", 'train_month = "2021-02"', "2021-02"),
    "the old name": ("wrong", 'trian_month = "2021-02"', "2021-01"),
    "edited by hand": ("wrong", "", "2021-02"),
    "another month": ("wrong", 'train_month = "2021-03"', "2021-03"),
}


@pytest.mark.parametrize("case", COPIES)
def test_a_copy_is_judged_by_what_it_was_given(case: str, tmp_path: Path):
    status, given, counted = COPIES[case]
    assert said(LAB, 1, copy_of(tmp_path, given, counted)).status == status


@pytest.fixture
def store(tmp_path: Path, empty_store: Path) -> Path:
    path = tmp_path / "lab.db"
    shutil.copy(empty_store, path)
    with sqlite3.connect(path) as database:
        database.execute(
            "INSERT INTO experiments (experiment_id, name, lifecycle_stage, workspace) "
            "VALUES (7, 'lab', 'active', 'default')"
        )
        database.execute(
            "INSERT INTO runs (run_uuid, experiment_id, lifecycle_stage) VALUES ('a', 7, 'active')"
        )
        database.execute(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) "
            "VALUES ('rmse', 6.5, 1, 'a', 0, 0)"
        )
    return path


def change(store: Path, statement: str) -> None:
    with sqlite3.connect(store) as database:
        database.execute(statement)


EXPERIMENTS = {
    "right": ("right", "7", "SELECT 1"),
    "another experiment": ("wrong", "0", "SELECT 1"),
    "still deleted": ("wrong", "7", "UPDATE experiments SET lifecycle_stage = 'deleted'"),
    "without its run": ("wrong", "7", "DELETE FROM runs"),
    "a number": ("wrong", 7, "SELECT 1"),
}


@pytest.mark.parametrize("case", EXPERIMENTS)
def test_an_experiment_is_usable_with_its_run(case: str, store: Path):
    status, answer, statement = EXPERIMENTS[case]
    if "runs" in statement:
        change(store, "DELETE FROM metrics")
    change(store, statement)
    assert said(LAB, 2, answer, store).status == status


def test_a_store_is_free_and_whole(store: Path):
    holder = sqlite3.connect(store, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert "still holds it" in said(LAB, 3, True, store).text
    holder.execute("ROLLBACK")
    assert said(LAB, 3, False, store).status == "wrong"
    assert said(LAB, 3, True, store).status == "right"
    change(store, "DELETE FROM metrics")
    assert "recorded run is gone" in said(LAB, 3, True, store).text
    holder.close()
    store.unlink()
    assert "is gone" in said(LAB, 3, True, store).text and not store.exists()


def test_an_address_is_asked_for_the_month(tmp_path: Path):
    from fastapi import FastAPI
    from fastapi.responses import FileResponse

    path = tmp_path / "month.parquet"
    path.write_bytes(b"PAR1 and more")
    (tmp_path / "page").write_text("<h1>We have moved</h1>")
    app = FastAPI()
    for folder, file in {"new": path, "old": tmp_path / "page"}.items():
        app.get(f"/{folder}/{{name}}")(lambda name, file=file: FileResponse(file))
    with serve(app) as address:
        answers = {f"{address}/{x}": x for x in ("new/", "old/", "none/", "new")}
        found = {name: said(LAB, 4, answer, path) for answer, name in answers.items()}
        elsewhere = said(LAB, 4, "https://example.org/new/", path)
    assert [name for name, box in found.items() if box.status == "right"] == ["new/"]
    assert "not the month" in found["old/"].text and "status 404" in found["none/"].text
    assert "must end with" in found["new"].text and "on this machine" in elsewhere.text


def narrowed(matrix: sparse.csr_matrix, *names: str) -> sparse.csr_matrix:
    for name in names:
        setattr(matrix, name, getattr(matrix, name).astype(np.int32))
    return matrix


MATRICES: dict[str, tuple[str, Callable]] = {
    "right": ("right", lambda matrix: narrowed(matrix, "indices", "indptr")),
    "dense": ("wrong", lambda matrix: matrix.toarray()),
    "only one array": ("wrong", lambda matrix: narrowed(matrix, "indices")),
    "values instead": ("wrong", lambda matrix: matrix.astype(np.float32)),
    "as it was": ("wrong", lambda matrix: matrix),
    "other values": ("wrong", lambda matrix: narrowed(2 * matrix, "indices", "indptr")),
    "its shape": ("wrong", lambda matrix: matrix.shape),
}


@pytest.mark.parametrize("case", MATRICES)
def test_a_matrix_stays_sparse_and_gets_narrow_indices(case: str):
    status, answer = MATRICES[case]
    assert said(LAB, 5, answer).status == status


KEYS: dict[str, tuple[str, str, Callable]] = {
    "right": ("right", "A key is a promise", lambda c, a: a["path"].read_text()),
    "name": ("wrong", "same length", lambda c, a: a["path"].name),
    "size": ("wrong", "same length", lambda c, a: str(a["path"].stat().st_size)),
    "time": (
        "wrong",
        "touched",
        lambda c, a: f"{a['path'].stat().st_mtime} {a['path'].read_text()}",
    ),
    "folder": ("wrong", "another folder", lambda c, a: f"{a['path']} {a['path'].read_text()}"),
    "bytes": ("wrong", "is a text", lambda c, a: a["path"].read_bytes()),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_key_changes_with_the_content_and_only_then(case: str):
    status, sentence, answer = KEYS[case]
    box = said(LAB, 6, answer)
    assert box.status == status and sentence in box.text


@pytest.fixture
def deployment(prefect_api: str):
    with temporary_names() as named, get_client(sync_client=True) as client:
        flow_id = client.create_flow(flow(name=named("nightly"))(lambda: None))
        schedule = CronSchedule(cron="0 9 3 * *", timezone="UTC")
        yield client.create_deployment(
            flow_id,
            named("nightly"),
            schedules=[DeploymentScheduleCreate(schedule=schedule, active=True)],
        )


def test_a_run_must_have_been_completed_by_a_worker(deployment: UUID):
    with get_client(sync_client=True) as client:
        by_hand = client.create_flow_run_from_deployment(deployment)
        client.set_flow_run_state(by_hand.id, states.Completed(), force=True)
    called = flow(name="called")(lambda: 1)(return_state=True)
    for question in (7, 8):
        assert said(LAB, question, by_hand.id, deployment).status == "wrong"
        assert said(LAB, question, by_hand.id, uuid4()).status == "wrong"
        assert said(LAB, question, called, deployment).status == "wrong"
        assert said(LAB, question, "done", deployment).status == "wrong"


ZONES = {
    "right": ("right", [CronSchedule(cron="0 9 3 * *", timezone="America/New_York")]),
    "as it was": ("wrong", [CronSchedule(cron="0 9 3 * *", timezone="UTC")]),
    "right in winter": ("wrong", [CronSchedule(cron="0 14 3 * *", timezone="UTC")]),
    "another day": ("wrong", [CronSchedule(cron="0 9 4 * *", timezone="America/New_York")]),
    "none": ("wrong", []),
}


@pytest.mark.parametrize("case", ZONES)
def test_a_schedule_starts_at_nine_in_new_york_in_summer_and_in_winter(case: str, deployment: UUID):
    status, schedules = ZONES[case]
    with get_client(sync_client=True) as client:
        for old in client.read_deployment_schedules(deployment):
            client.delete_deployment_schedule(deployment, old.id)
        client.create_deployment_schedules(deployment, [(one, True) for one in schedules])
    assert said(LAB, 9, True, deployment).status == status


def _begun(cells: list[dict]) -> bool:
    return all(cell["execution_count"] for cell in cells)


def looked_at(judge: Callable[[list[dict]], object]) -> Callable[[Path], object]:
    def answer(path: Path) -> object:
        cells = json.loads(path.read_text())["cells"]
        return judge([cell for cell in cells if cell["cell_type"] == "code"])

    return answer


def whole(cells: list[dict]) -> bool:
    written = [cell for cell in cells if cell["source"].strip()]
    errors = [o for cell in written for o in cell["outputs"] if o["output_type"] == "error"]
    return _begun(written) and not errors


ENDINGS: dict[str, tuple[str, Callable]] = {
    "right": ("right", looked_at(whole)),
    "always yes": ("wrong", lambda path: True),
    "always no": ("wrong", lambda path: False),
    "only counts": ("wrong", looked_at(_begun)),
    "only the last cell": ("wrong", looked_at(lambda cells: bool(cells[-1]["execution_count"]))),
    "only errors": ("wrong", looked_at(lambda cells: not any(c["outputs"] for c in cells))),
    "a text": ("wrong", lambda path: "yes"),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_a_copy_ran_to_its_end(case: str):
    status, answer = ENDINGS[case]
    assert said(LAB, 10, answer).status == status
