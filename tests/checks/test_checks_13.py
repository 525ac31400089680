"""The checks of lesson 13: each answer gets the sentence that fits it."""

import json
import os
from functools import cache
from pathlib import Path
from uuid import UUID

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from prefect import State, flow, task
from prefect.states import Completed

from support import ROOT
from support.exercises import said
from taxi_lib.checks import lesson_13, server

COUNT, TRAIN, SHARE = "01_count_trips", "02_train", "03_share"


@task(task_run_name="{name}")
def step(name: str, state: str) -> State:
    return Completed(name=state)


@flow
def monthly(states: dict[str, str], result: dict | None) -> dict | None:
    """End each step in the state that is given; the name says whether it was cached."""
    for name, state in states.items():
        step(name, state, return_state=True)
    if result is None:
        raise TypeError("03_share.ipynb has no parameter miles")
    return result


@cache  # the runs are only read
def ran(count: str, train: str, share: str = "", result: str = '{"trips": 8}') -> State:
    states = {COUNT: count, TRAIN: train} | ({SHARE: share} if share else {})
    return monthly(states, json.loads(result), return_state=True)


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "_PATIENCE", 2)  # seconds to wait for a third step


def add_copy(project: Path, run: State, name: str, given: str, results: dict | None = None) -> None:
    """Add an executed copy with an injected cell and results to the runs of a project."""
    folder = project / "runs" / server.flow_run(run).name
    folder.mkdir(parents=True, exist_ok=True)
    printed = [new_output("stream", text=json.dumps(results))] if results else []
    cells = [
        new_markdown_cell("# Share"),
        new_code_cell(given, metadata={"tags": ["injected-parameters"]}),
        new_code_cell("print()", metadata={"tags": ["results"]}, outputs=printed),
    ]
    nbformat.write(new_notebook(cells=cells), folder / f"{name}-a1.ipynb")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").touch()
    return tmp_path


SECOND_CACHED = {COUNT: "Completed", TRAIN: "Cached"}
PREDICTIONS = {
    "right": ("right", "all that the second notebook learns", SECOND_CACHED, "most_miles"),
    "both cached": (
        "wrong",
        "The first notebook ended in another",
        SECOND_CACHED | {COUNT: "cached"},
        "x",
    ),
    "both run": (
        "wrong",
        "the second one ended in another",
        SECOND_CACHED | {TRAIN: "Completed"},
        "x",
    ),
    "the new value": ("wrong", "`zero_miles` does not decide", SECOND_CACHED, "zero_miles"),
    "a result": ("wrong", "`trips` does not decide", SECOND_CACHED, "trips"),
    "a value": ("wrong", "`train_file` does not decide", SECOND_CACHED, "train_file"),
    "one state": ("wrong", "a state for each notebook", {COUNT: "Completed"}, "most_miles"),
    "untouched": ("not attempted", "check.hint(1)", SECOND_CACHED | {TRAIN: ...}, "most_miles"),
}


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("case", PREDICTIONS)
def test_predicted_states_are_compared_with_the_run(case: str, project: Path):
    status, sentence, predicted, decides = PREDICTIONS[case]
    run, earlier = ran("Completed", "Cached"), ran("Completed", "Completed")
    add_copy(project, run, COUNT, "zero_miles = False", {"trips": 8, "most_miles": 9.5})
    add_copy(project, earlier, TRAIN, 'train_file = "a"\nmost_miles = 9.5', {"rmse": 5.0})
    box = said("13", 1, predicted, decides, run, project)
    assert box.status == status and sentence in box.text


CHANGES = {
    "the lesson's run": ('trips_file = "a"', "was not given `zero_miles`"),
    "a text": ('zero_miles = "False"', "was `'False'`, and not `False`"),
    "true": ("zero_miles = True", "was `True`, and not `False`"),
    "nothing was executed": (None, "got the same values as before"),
}


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("case", CHANGES)
def test_only_a_run_without_zero_miles_counts(case: str, project: Path):
    given, sentence = CHANGES[case]
    if given:
        add_copy(project, ran("Completed", "Cached"), COUNT, given, {"trips": 8})
    box = said("13", 1, SECOND_CACHED, "most_miles", ran("Completed", "Cached"), project)
    assert box.status == "wrong" and sentence in box.text


def test_a_project_that_is_gone_is_asked_for(tmp_path: Path):
    box = said("13", 1, SECOND_CACHED, "most_miles", UUID(int=0), tmp_path / "gone")
    assert box.status == "wrong" and "set `keep = True`" in box.text


PARAMETERS = 'trips_file: str = "m.parquet"\nmiles: float = 10.0'
READ = """import json
import pandas as pd

month = pd.read_parquet(trips_file)
long = month["trip_distance"]
"""


def write_share(
    project: Path, report: str, title: str = "# How long?", parameters: str = PARAMETERS
) -> None:
    """Write the third notebook of a learner, which reports this expression."""
    cells = [
        new_markdown_cell(title),
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        new_code_cell(READ),
        new_code_cell(
            f"print(json.dumps({{'share': float({report})}}))", metadata={"tags": ["results"]}
        ),
    ]
    nbformat.write(new_notebook(cells=cells), project / f"{SHARE}.ipynb")
    os.utime(project / f"{SHARE}.ipynb", (0, 0))  # long before the runs


REPORTS = {
    "right": ("(long > miles).mean()", ""),
    "rounded": ("round((long > miles).mean(), 2)", ""),
    "percent": ("100 * (long > miles).mean()", "a percentage or a number"),
    "how many": ("(long > miles).sum()", "a percentage or a number"),
    "not shorter": ("(long >= miles).mean()", "trips of exactly `miles`"),
    "the others": ("(long <= miles).mean()", "share of the other trips"),
    "a limit of its own": ("(long > 2.0).mean()", "another share than it should"),
    "a constant": ("0.02", "another share than it should"),
    "up to an hour": (
        "(long[(month.lpep_dropoff_datetime - month.lpep_pickup_datetime).dt.seconds <= 3600]"
        " > miles).mean()",
        "leaves trips out",
    ),
    "a mistake": ("(long > mile).mean()", "NameError: name 'mile' is not defined"),
    "it leaves": ("exit(1)", "fails on a month that the check made"),
}


@pytest.mark.parametrize("case", REPORTS)
def test_a_third_notebook_is_tried_on_a_month_that_the_check_makes(case: str, project: Path):
    report, sentence = REPORTS[case]
    write_share(project, report)
    found = lesson_13._try_on_a_month(nbformat.read(project / f"{SHARE}.ipynb", as_version=4))
    assert sentence in (found.hint if found else "") and bool(found) == bool(sentence)


CACHED = ("Cached", "Cached", "Cached")
SHARES = '{"trips": 8, "share": 0.25}'
AGAIN = {
    "right": ("right", "a step like the others", "# Which share?", CACHED, SHARES),
    "no other sentence": ("wrong", "no sentence has changed", "# Share", CACHED, SHARES),
    "executed again": (
        "wrong",
        "it executed 03_share",
        "# Which share?",
        ("Cached", "Cached", "Completed"),
        SHARES,
    ),
    "two steps": ("wrong", "it executed nothing", "# Which share?", ("Cached", "Cached"), SHARES),
    "not returned": ("wrong", "has not got what", "# Which share?", CACHED, '{"trips": 8}'),
}


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("case", AGAIN)
def test_another_sentence_leaves_every_step_cached(case: str, project: Path):
    status, sentence, title, states, result = AGAIN[case]
    first = ran("Cached", "Cached", "Completed", result)
    add_copy(project, first, SHARE, "miles = 5.0", {"share": 0.25})
    write_share(project, "(long > miles).mean()", title)
    box = said("13", 2, first, ran(*states), project)
    assert box.status == status and sentence in box.text


FIRST_RUNS = {
    "it was cached": (lambda: ran(*CACHED), "give the run that executed it"),
    "without a third": (lambda: ran("Cached", "Cached"), "has 0 notebooks beside the two"),
    "failed": (
        lambda: ran("Cached", "Cached", "", "null"),
        "is Failed: `Flow run encountered an exception: TypeError: 03_share.ipynb has no parameter",
    ),
    "its id": (
        lambda: ran("Cached", "Cached", "Completed").state_details.flow_run_id,
        "Give the state",
    ),
}


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("case", FIRST_RUNS)
def test_the_first_run_has_to_execute_the_third_notebook(case: str, project: Path):
    make, sentence = FIRST_RUNS[case]
    box = said("13", 2, make(), ran(*CACHED), project)
    assert box.status == "wrong" and sentence in box.text


@pytest.mark.usefixtures("prefect_api")
def test_a_third_notebook_needs_its_parameters(project: Path):
    first = ran("Cached", "Cached", "Completed", SHARES)
    add_copy(project, first, SHARE, "miles = 5.0", {"share": 0.25})
    write_share(project, "0.25", parameters='trips_file = "m.parquet"')
    box = said("13", 2, first, ran(*CACHED), project)
    assert "The parameters cell of `03_share` has no miles" in box.text


def prepared(folder: Path, tagged: int = 0, **values: object) -> Path:
    """Return a copy that papermill has prepared; `tagged` is the cell that has the tag."""
    path = ROOT / "notebooks" / "steps" / "plain" / f"{COUNT}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for place in (0, 1):
        notebook.cells[place].metadata["tags"] = ["parameters"] if place == tagged else []
    nbformat.write(notebook, folder / "misplaced.ipynb")
    copy = folder / "prepared.ipynb"
    papermill.execute_notebook(folder / "misplaced.ipynb", copy, values, prepare_only=True)
    return copy


BOTH = ["trips_file", "at_least"]
MISPLACED = {
    "right": ("right", "injects after the tagged cell", "default", BOTH, {}),
    "as a set": ("right", "injects after the tagged cell", " Default", set(BOTH), {}),
    "the given one": ("wrong", "from top to bottom", "given", BOTH, {}),
    "nothing is refused": ("wrong", "something else about these names", "default", [], {}),
    "one is refused": ("wrong", "something else", "default", ["trips_file"], {}),
    "the sound notebook": ("wrong", "the title has not got the tag", "given", [], {"tagged": 1}),
    "untouched": ("not attempted", "check.hint(3)", "default", ..., {}),
}


@pytest.mark.parametrize("case", MISPLACED)
def test_what_is_said_about_a_tag_is_compared_with_the_prepared_copy(case: str, tmp_path: Path):
    status, sentence, wins, unknown, changes = MISPLACED[case]
    copy = prepared(tmp_path, trips_file="a.parquet", **changes)
    box = said("13", 3, wins, unknown, copy)
    assert box.status == status and sentence in box.text


def test_a_copy_that_papermill_has_not_prepared_is_refused(tmp_path: Path):
    assert "not given a `trips_file`" in said("13", 3, "default", BOTH, prepared(tmp_path)).text
    assert "give the whole path" in said("13", 3, "default", BOTH, tmp_path / "nothing.ipynb").text
    assert "has written" in said("13", 3, "default", BOTH, 13).text
    unprepared = said("13", 3, "default", BOTH, str(tmp_path / "misplaced.ipynb"))
    assert "not given a `trips_file`" in unprepared.text
