"""The lab: ten failures that the learner repairs; each check looks at what was repaired."""

import ast
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import numpy as np
from scipy import sparse

from taxi_lib.checks import schedules, server
from taxi_lib.checks.answers import UnreadableError, function, text, truth
from taxi_lib.checks.verdicts import Right, Wrong

HINTS = {
    1: [
        "Open the executed copy. Which cell did papermill add, and what is in it?",
        "Compare the name in the added cell with the name in the cell above it, letter by letter.",
    ],
    2: [
        "Read the error: does it say that the experiment is unknown?",
        "In MLflow, deleting is a mark that can be taken back: look at `mlflow.MlflowClient`.",
    ],
    3: [
        "Which program has the store's file open?",
        "`psutil.process_iter()` lists the programs, `open_files()` their files; `terminate()`.",
    ],
    4: [
        "What did the server send instead of a parquet file? Print it.",
        "The page names the new folder; the address ends with `/`.",
    ],
    5: [
        "The error names a number of bits. Which arrays of a sparse matrix hold whole numbers?",
        "A CSR matrix has `indices` and `indptr`; `astype` changes the type of an array.",
    ],
    6: [
        "What is the same before and after the correction: the path, the time, the content?",
        "A text that depends on `arguments['path'].read_bytes()` and on nothing else will do.",
    ],
    7: [
        "Look at the page of the run's work pool: who is there to do the work?",
        "`process_worker(pool)` starts a worker; then the run needs some seconds.",
    ],
    8: [
        "The last lines of the run's log name a file. Is it there?",
        "The deployment holds an `entrypoint`. Apply it again, under the same name.",
    ],
    9: [
        "Which time is it in New York when it is nine in UTC?",
        "`Cron` takes a `timezone`; `client.read_deployment(…).schedules` says what is kept.",
    ],
    10: [
        "Print the `execution_count` of each cell of the copy.",
        "Which cells have no count although nothing is wrong? Prose, and empty cells.",
    ],
}


def q1(copy: object) -> Right | Wrong:
    """Judge an executed copy: papermill must have given a name that the notebook declares."""
    cells = _cells(copy)
    given = [c for c in cells if "injected-parameters" in c["metadata"].get("tags", [])]
    declared = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    if not given:
        return Wrong(
            "Papermill has added no cell to this copy: it was given nothing.",
            "Give the value with `-p`, instead of editing the notebook.",
        )
    known, used = _assigned(declared), _assigned(given)
    if unknown := used.keys() - known.keys():
        return Wrong(f"Papermill wrote `{', '.join(unknown)}` into the copy. Which cell uses it?")
    counted = "".join("".join(o.get("text", "")) for c in cells for o in c.get("outputs", []))
    if "2021-02" not in used.values() or "counted 2021-02" not in counted:
        return Wrong("This copy did not count February.", "Which value did it get?")
    return Right(
        "A value under a name that nobody reads changes nothing, and papermill only warns. So "
        "check the names before the run: a contract does it, and any test can."
    )


def _cells(copy: object) -> list[dict]:
    if not isinstance(copy, Path) or not copy.is_file():
        raise UnreadableError(f"The answer is `{copy!r:.60}`; the path of a copy is asked for.")
    return json.loads(copy.read_text(encoding="utf-8"))["cells"]


def _assigned(cells: list[dict]) -> dict[str, object]:
    body = ast.parse("\n".join("".join(cell["source"]) for cell in cells)).body
    plain = [node for node in body if isinstance(node, ast.Assign)]
    return {ast.unparse(node.targets[0]): ast.literal_eval(node.value) for node in plain}


def q2(experiment_id: object, store: Path) -> Right | Wrong:
    """Judge whether the experiment can be used again, with the run that it had."""
    said = text(experiment_id)
    with _opened(store) as database:
        query = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = 'lab'"
        kept = database.execute(query).fetchall()
        query = "SELECT count(*) FROM runs WHERE experiment_id = ? AND lifecycle_stage = 'active'"
        (runs,) = database.execute(query, [said]).fetchone()
    if not any(str(found) == said for found, _ in kept):
        return Wrong("That is another experiment. The recorded run is still in the deleted one.")
    if ("deleted" in dict(kept).values()) or not runs:
        return Wrong("The experiment `lab` is still marked as deleted, or its run is.")
    return Right("Deleted is a mark, and the run is back. Only `mlflow gc` removes it for good.")


@contextmanager
def _opened(store: Path) -> Iterator[sqlite3.Connection]:
    if not store.is_file():
        raise UnreadableError(f"The store {store.name} is gone, and its runs with it: begin anew.")
    database = sqlite3.connect(store, timeout=0.5, isolation_level=None)
    try:
        yield database
    except sqlite3.OperationalError as error:
        raise UnreadableError(f"The store answers `{error}`: something still holds it.") from None
    finally:
        database.close()


def q3(ended: object, store: Path) -> Right | Wrong:
    """Judge whether the store can be written to, and still holds its run."""
    if not truth(ended):
        return Wrong("End the program that holds the store, and put `True`.")
    with _opened(store) as database:
        database.execute("BEGIN IMMEDIATE")
        (metrics,) = database.execute("SELECT count(*) FROM metrics").fetchone()
        database.execute("ROLLBACK")
    if not metrics:
        return Wrong("The store can be written to, but the recorded run is gone.")
    return Right(
        "One writer at a time, and nobody else while it writes: that is SQLite. The lock belonged "
        "to a program, so ending the program was enough, and nothing was lost."
    )


def q4(address: object, path: Path) -> Right | Wrong:
    """Judge an address on this machine by asking it for the month."""
    said = text(address)
    if urlsplit(said).hostname not in ("127.0.0.1", "localhost"):
        return Wrong("The server is on this machine: the address begins as `months_address` does.")
    if not said.endswith("/"):
        return Wrong("The file's name is put right after the address: it must end with `/`.")
    answer = httpx.get(said + path.name, trust_env=False)
    if answer.status_code != 200:
        return Wrong(f"There the server answers with status {answer.status_code}.")
    if answer.content != path.read_bytes():
        return Wrong("There is an answer, but it is not the month. What is it? Print it.")
    return Right(
        "Status 200 says that somebody answered, not that the answer is data. Check the first "
        "bytes, or a checksum, before a download is kept."
    )


def q5(for_lasso: object) -> Right | Wrong:
    """Judge a function on a matrix with wide indices."""
    rng = np.random.default_rng()
    matrix = sparse.random(40, 300, density=0.05, format="csr", rng=rng)
    matrix.indices, matrix.indptr = matrix.indices.astype("int64"), matrix.indptr.astype("int64")
    before = matrix.copy()
    result = function(for_lasso)(matrix)
    if isinstance(result, np.ndarray | np.matrix):
        return Wrong(
            "The matrix is dense now: a month of 74,000 trips and 13,000 columns takes 8 GB so.",
            "Keep it sparse, and change only the type of its indices.",
        )
    if not sparse.issparse(result):
        raise UnreadableError(f"The function returns `{type(result).__name__}`, not a matrix.")
    wide = [name for name in ("indices", "indptr") if getattr(result, name).dtype != np.int32]
    if wide:
        return Wrong(
            f"The result still has 64-bit numbers in `{'`, `'.join(wide)}`.",
            "`astype` of the matrix changes its values; the indices are arrays of their own.",
        )
    if result.shape != before.shape or abs(result - before).max() > 0:
        return Wrong("The matrix has other values than before.")
    return Right(
        "The values are the same, and each index takes half of the memory. Ask for the size of a "
        "dense matrix before you make one: rows × columns × 8 bytes."
    )


def q6(key: object) -> Right | Wrong:
    """Judge a cache key on files that the check makes."""
    answer = function(key)
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder) / "sheet.csv", Path(folder) / "elsewhere" / "sheet.csv"
        other.parent.mkdir()
        one.write_text("first\n")
        other.write_text("first\n")
        first, elsewhere = (answer(None, {"path": path}) for path in (one, other))
        os.utime(one, (1_000_000_000, 1_000_000_000))
        touched = answer(None, {"path": one})
        one.write_text("again\n")
        os.utime(one, (1_000_000_000, 1_000_000_000))
        changed = answer(None, {"path": one})
    if not all(type(found) is str and found for found in (first, elsewhere, touched, changed)):
        return Wrong("A cache key is a text: the function returns something else.")
    if changed == first:
        return Wrong(
            "The key is the same for another content of the same length.",
            "Name, size and time are not the content.",
        )
    if touched != first:
        return Wrong("The key changes when the file is only touched. Which part of it is a time?")
    if elsewhere != first:
        return Wrong("The same content in another folder has another key.")
    return Right(
        "A key is a promise: the same key, the same result. Put into it what the result depends "
        "on, and nothing else."
    )


def q7(run_id: object, deployment_id: UUID) -> Right | Wrong:
    """Judge whether the waiting run was done by a worker."""
    run = server.flow_run(run_id)
    if run.deployment_id != deployment_id:
        return Wrong("This is a run of something else: the waiting one is still waiting.")
    if not server.a_worker_completed(run):
        return Wrong(f"The run is {run.state_name}, but no worker has completed it.")
    return Right(
        "A run waits for a worker as long as it takes. Prefect marks it `Late`, and an automation "
        "can tell you."
    )


def q8(run_id: object, deployment_id: UUID) -> Right | Wrong:
    """Judge whether the same deployment has completed a run after the failed one."""
    run = server.flow_run(run_id)
    if run.deployment_id != deployment_id:
        return Wrong(
            "This run belongs to another deployment. What others call by its name is still broken.",
            "Apply the deployment again under its old name.",
        )
    if not server.a_worker_completed(run):
        return Wrong(f"This run is {run.state_name}. The last lines of its log say why.")
    return Right(
        "A deployment is created although its code cannot be found: only a run proves it. So run "
        "it once after each deploy."
    )


def q9(rescheduled: object, deployment_id: UUID) -> Right | Wrong:
    """Judge the schedules that the server keeps, by the hours of the next year."""
    if not truth(rescheduled):
        return Wrong("Change the schedule of the deployment, and put `True`.")
    with server.server() as client:
        kept = client.read_deployment(deployment_id).schedules
    active = [one.schedule for one in kept if one.active]
    if len(active) != 1:
        return Wrong(f"The deployment has {len(active)} active schedules: one is asked for.")
    times = schedules.planned(active[0], 13, ZoneInfo("America/New_York"))
    if {time.day for time in times} != {3} or {time.minute for time in times} != {0}:
        return Wrong("The runs do not start on the third, at a full hour, in New York.")
    if (hours := {time.hour for time in times}) != {9}:
        listed = " and ".join(map(str, sorted(hours)))
        return Wrong(
            f"Over the next year the runs start at {listed} o'clock in New York.",
            "Two hours: summer and winter. Which part of a schedule knows about that?",
        )
    return Right(
        "The schedule itself knows New York's clock, so that it is nine there on both sides of "
        "the change to summer time."
    )


def q10(ran_to_its_end: object) -> Right | Wrong:
    """Judge a function on copies that the check makes."""
    answer = function(ran_to_its_end)
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, cells in _COPIES.items():
            path = Path(folder) / f"{name.replace(' ', '_')}.ipynb"
            content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
            path.write_text(json.dumps(content), encoding="utf-8")
            found[name] = answer(path)
    wrong = [name for name, said in found.items() if said is not (name in _WHOLE)]
    if not wrong:
        return Right(
            "An exit status of 0 is what the runner thinks. The copy holds what happened: every "
            "cell with code has a count, and none an error."
        )
    if all(type(said) is not bool for said in found.values()):
        return Wrong("The function returns something else than True or False.")
    meant = "ran to its end" if wrong[0] in _WHOLE else "did not run to its end"
    return Wrong(f"A copy with {wrong[0]} {meant}, and the function says otherwise.")


def _code(source: str, count: int | None, *outputs: dict) -> dict:
    kept = {"execution_count": count, "outputs": list(outputs), "metadata": {}}
    return {
        "cell_type": "code",
        "id": f"c{abs(hash((source, count)))}"[:12],
        "source": source,
    } | kept


_PROSE = {"cell_type": "markdown", "id": "prose", "metadata": {}, "source": "# Title"}
_ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
_WHOLE = {"three cells that ran", "prose and an empty cell"}
_COPIES = {
    "three cells that ran": [_code("a = 1", 1), _code("b = 2", 2), _code("c = 3", 3)],
    "prose and an empty cell": [_PROSE, _code("a = 1", 1), _code("  ", None)],
    "a last cell that never began": [_PROSE, _code("a = 1", 1), _code("b = 2", None)],
    "an error in its last cell": [_code("a = 1", 1), _code("b = 2", 2, _ERROR)],
    "an error in the middle, and cells that ran after it": [
        _code("a = 1", 1, _ERROR),
        _code("b = 2", 2),
    ],
}
