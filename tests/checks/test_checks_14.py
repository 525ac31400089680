"""The checks of lesson 14: each answer gets the sentence that fits it."""

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from prefect import State, flow, task
from prefect.futures import wait
from prefect.states import Completed, Failed

from support import ROOT
from support.exercises import cell, said
from support.months import five_trips
from support.notebooks import write_cells
from taxi_lib.checks import server

NOTEBOOKS = ROOT / "notebooks"


@task(task_run_name="{name}")
def run_notebook(name: str, fails: bool, is_known: bool, before: list) -> State | None:
    if fails:
        raise AssertionError("too few")
    return Completed(name="Cached") if is_known else None


@flow
def run_folder(notebooks: list[Path], request: dict, folder: Path) -> State | None:
    """Run no notebook, but leave what the lesson's flow leaves: states, and a record."""
    folder.mkdir(exist_ok=True)
    file = folder / "records" / "01_prepare.jsonl"
    line = json.dumps({"inputs": request})
    is_known = file.exists() and line in file.read_text()
    fails = request["at_least"] > 5
    runs = []
    for notebook in notebooks:
        is_first = not runs
        known = is_known or not is_first
        named = run_notebook.with_options(name=notebook.stem)
        runs.append(named.submit(notebook.stem, fails and is_first, known, [*runs]))
    wait(runs)
    if not fails:
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as records:
            print(line, file=records)
    return Failed(message="1 failed") if any(run.state.is_failed() for run in runs) else None


class Project:
    """A folder with a month of five trips, and two notebooks that are never run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.month = folder, folder / "month.parquet"
        five_trips("2021-01").to_parquet(self.month)
        self.notebooks = [folder / "01_prepare.ipynb", folder / "02_train.ipynb"]

    def run(self, at_least: int, notebooks: list[Path] | None = None) -> State:
        request = {"trips_file": str(self.month), "at_least": at_least}
        return run_folder(notebooks or self.notebooks, request, self.folder, return_state=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def runs(project: Project, prefect_api: str) -> list[State]:
    if not hasattr(project, "runs"):
        project.runs = [project.run(5), project.run(6)]
    return project.runs


EXACTLY, ONE_MORE = ["Completed", "Completed", "Cached"], ["Failed", "Failed", "NotReady"]
PREDICTIONS = {
    "right": ("right", "leaves no record", EXACTLY, ONE_MORE, [True, False]),
    "the second one runs": (
        "wrong",
        "`exactly`: `02_train` ended in another state. What does it take?",
        ["Completed", "Completed", "Completed"],
        ONE_MORE,
        [True, False],
    ),
    "as before": (
        "wrong",
        "`exactly`: `01_prepare` ended in another state",
        ["Completed", "Cached", "Cached"],
        ONE_MORE,
        [True, False],
    ),
    "a failure touches nothing": (
        "wrong",
        "`one_more`: `02_train` ended",
        EXACTLY,
        ["Failed", "Failed", "Cached"],
        [True, False],
    ),
    "what is behind a failure fails": (
        "wrong",
        "`one_more`: `02_train` ended",
        EXACTLY,
        ["Failed", "Failed", "Failed"],
        [True, False],
    ),
    "a flow that does not look": (
        "wrong",
        "`one_more`: the flow ended in another state",
        EXACTLY,
        ["Completed", "Failed", "NotReady"],
        [True, False],
    ),
    "a record of a failure": (
        "wrong",
        "The next run would believe it",
        EXACTLY,
        ONE_MORE,
        [True, True],
    ),
    "no record at all": ("wrong", "what did that run lack", EXACTLY, ONE_MORE, [False, False]),
    "another word": (
        "wrong",
        '"completed" or "failed" or "cached" or "notready" is asked for',
        ["Done", "Completed", "Cached"],
        ONE_MORE,
        [True, False],
    ),
    "one state": ("wrong", "a list of 3 is asked", "Completed", ONE_MORE, [True, False]),
    "untouched": ("not attempted", "check.hint(1)", EXACTLY, [..., ..., ...], [True, False]),
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_predicted_states_are_compared_with_both_runs(case: str, runs: list[State]):
    status, sentence, exactly, one_more, records = PREDICTIONS[case]
    box = said("14", 1, exactly, one_more, records, runs)
    assert box.status == status and sentence in box.text, box.text


def test_the_first_of_two_equal_runs_counts(project: Project, runs: list[State]):
    again = project.run(5)
    assert said("14", 1, EXACTLY, ONE_MORE, [True, False], [again, runs[1]]).status == "right"


@flow
def nothing() -> None: ...


def test_only_runs_of_the_exercise_count(project: Project, runs: list[State]):
    others = {
        "not a run of `run_folder`": [nothing(return_state=True), runs[1]],
        "both of them": [project.run(5, project.notebooks[:1]), runs[1]],
        "The first run had `at_least=6`": runs[::-1],
        "The second run had `at_least=5`": [runs[0], runs[0]],
        "a list of 2 is asked": runs[:1],
    }
    for sentence, given in others.items():
        box = said("14", 1, EXACTLY, ONE_MORE, [True, False], given)
        assert box.status == "wrong" and sentence in box.text


def test_without_a_server_a_learner_is_told_how_to_keep_it(
    runs: list[State], monkeypatch: pytest.MonkeyPatch
):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        box = said("14", 1, EXACTLY, ONE_MORE, [True, False], runs)
    assert box.status == "wrong" and box.text == server.STOPPED


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Return what the lesson's own `runner.py` defines."""
    lesson = nbformat.read(NOTEBOOKS / "14_notebooks_as_a_pipeline.ipynb", as_version=4)
    written = [c.source for c in lesson.cells if c.source.startswith("%%writefile")]
    file = tmp_path_factory.mktemp("runner") / "runner.py"
    file.write_text("\n".join(source.partition("\n")[2] for source in written))
    return SimpleNamespace(**runpy.run_path(str(file), run_name="runner"))


def inputs_with(lines: str, runner: SimpleNamespace) -> Callable[..., Any]:
    source = f"""
def inputs_with_modules(notebook, values):
    inputs = runner.inputs_of(notebook, values)
    {lines}
    return inputs
"""
    return cell(source, runner=runner, Path=Path)


GLOB = "sorted(notebook.parent.glob('*.py'))"
RIGHT = f"inputs['modules'] = [[f.name, runner.digest(f.read_bytes())] for f in {GLOB}]"
ADDED = {
    "right": ("right", "a result depends on", RIGHT),
    "also those of packages": ("right", "a result depends on", RIGHT.replace("glob", "rglob")),
    "a text": (
        "right",
        "a result depends on",
        f"inputs['modules'] = str([(f.name, f.read_text()) for f in {GLOB}])",
    ),
    "nothing": ("wrong", "A new module beside the notebook goes unnoticed", "pass"),
    "where the kernel works": (
        "wrong",
        "A new module beside the notebook goes unnoticed",
        RIGHT.replace("notebook.parent", "Path()"),
    ),
    "names": (
        "wrong",
        "content of a module has changed",
        f"inputs['modules'] = [f.name for f in {GLOB}]",
    ),
    "names, sizes and times": (
        "wrong",
        "content of a module has changed",
        f"inputs['modules'] = [[f.name, *f.stat()[6:9:2]] for f in {GLOB}]",
    ),
    "only the last module": (
        "wrong",
        "content of a module has changed",
        f"for f in {GLOB}: inputs['module'] = runner.digest(f.read_bytes())",
    ),
    "times, too": (
        "wrong",
        "was saved again, unchanged",
        f"inputs['modules'] = [[f.name, f.stat().st_mtime, f.read_text()] for f in {GLOB}]",
    ),
    "contents without names": (
        "wrong",
        "has another name",
        f"inputs['modules'] = sorted(f.read_text() for f in {GLOB})",
    ),
    "a part for each": (
        "right",
        "a result depends on",
        f"for f in {GLOB}: inputs[f.name] = runner.digest(f.read_bytes())",
    ),
    "every file": ("wrong", "A file that no notebook can import", RIGHT.replace("*.py", "*.*")),
    "paths": ("wrong", "The same folder in another place", RIGHT.replace("f.name", "str(f)")),
    "bytes": (
        "wrong",
        "A record is JSON, which cannot hold this",
        f"inputs['modules'] = [f.read_bytes() for f in {GLOB}] or b''",
    ),
    "pairs": (
        "wrong",
        "a tuple comes back as a list",
        f"inputs['modules'] = tuple(f.read_text() for f in {GLOB})",
    ),
    "no inputs": ("wrong", "a dict is asked for", "return 'modules'"),
    "a sentence, too": (
        "wrong",
        "Only a sentence of the notebook has changed",
        f"{RIGHT}; inputs['notebook'] = runner.digest(notebook.read_bytes())",
    ),
    "nothing else": ("wrong", "Another line of code goes unnoticed", f"inputs = {{}}; {RIGHT}"),
    "without the values": (
        "wrong",
        "Another value goes unnoticed",
        f"{RIGHT}; del inputs['at_least']",
    ),
    "files by their names": (
        "wrong",
        "Another file of data goes unnoticed",
        f"{RIGHT}; inputs['trips_file'] = values.trips_file.name",
    ),
    "a misspelled name": ("raised", "NameError", f"{RIGHT.replace('runner.digest', 'digest')}"),
}


@pytest.mark.parametrize("case", ADDED)
def test_modules_are_a_part_of_the_inputs(case: str, runner: SimpleNamespace):
    status, sentence, lines = ADDED[case]
    box = said("14", 2, inputs_with(lines, runner), True)
    assert box.status == status and sentence in box.text, box.text


def test_the_lessons_own_inputs_know_of_no_module(runner: SimpleNamespace):
    assert "goes unnoticed" in said("14", 2, runner.inputs_of, True).text
    assert said("14", 2, cell("def inputs_with_modules(notebook, values): ..."), True).status == (
        "not attempted"
    )


def test_a_new_part_is_a_reason_to_run_again(runner: SimpleNamespace):
    box = said("14", 2, inputs_with(RIGHT, runner), False)
    assert box.status == "wrong" and "the prediction is not" in box.text


TAKES = """learned: int = 1  # trips that the model learned from [from 01_prepare.trips]
trips: int = 1  # of the month [1 or more] [from 01_prepare]"""
GIVES = """from taxi_lib.results import report_results

share: float  # of the month's trips [0 to 1]
report_results(share=learned / trips)"""
REPAIRED = TAKES.replace("01_prepare.trips", "02_train.train_trips")


def notebook_with(folder: Path, takes: str, gives: str = GIVES) -> Path:
    """Write the notebook of the exercise, changed."""
    return write_cells(folder, name="04_share", parameters=takes, results=gives)


def test_the_lesson_writes_the_notebook_that_is_to_be_repaired():
    lesson = nbformat.read(NOTEBOOKS / "14_notebooks_as_a_pipeline.ipynb", as_version=4)
    (written,) = (c.source for c in lesson.cells if c.id == "exercise-3")
    for line in (TAKES + "\n" + GIVES).splitlines():
        assert line in written


GOOD_GUESS = ["Completed", "NotReady"]
REPAIRS = {
    "right": ("right", "checked by name and type", GOOD_GUESS, REPAIRED, GIVES),
    "a run before": ("right", "wrong arrow", ["Cached", "NotReady"], REPAIRED, GIVES),
    "the name of the result": (
        "right",
        "checked by name and type",
        GOOD_GUESS,
        REPAIRED.replace("learned: int", "train_trips: int").replace(".train_trips", ""),
        GIVES.replace("learned /", "train_trips /"),
    ),
    "not repaired": ("wrong", "still takes nothing from `02_train`", GOOD_GUESS, TAKES, GIVES),
    "no reference": (
        "wrong",
        "still takes nothing from `02_train`",
        GOOD_GUESS,
        TAKES.replace(" [from 01_prepare.trips]", ""),
        GIVES,
    ),
    "both from the second": (
        "wrong",
        "which no notebook reports",
        GOOD_GUESS,
        REPAIRED.replace("[from 01_prepare]", "[from 02_train]"),
        GIVES,
    ),
    "the wrong way round": (
        "wrong",
        "30 of which the model learned from, it reports",
        GOOD_GUESS,
        TAKES.replace("[from 01_prepare]", "[from 02_train.train_trips]"),
        GIVES,
    ),
    "a misspelled name": (
        "wrong",
        "NameError: name 'lerned'",
        GOOD_GUESS,
        REPAIRED,
        GIVES.replace("learned /", "lerned /"),
    ),
    "it fails with it": (
        "wrong",
        "the second prediction is not",
        ["Completed", "Failed"],
        REPAIRED,
        GIVES,
    ),
    "skipped before": (
        "wrong",
        "the first prediction is not",
        ["NotReady", "NotReady"],
        REPAIRED,
        GIVES,
    ),
    "one state": ("wrong", "a list of 2 is asked", "Completed", REPAIRED, GIVES),
    "untouched": ("not attempted", "check.hint(3)", [..., ...], REPAIRED, GIVES),
}


@pytest.mark.parametrize("case", REPAIRS)
def test_a_repaired_notebook_takes_what_the_model_learned_from(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    status, sentence, guess, takes, gives = REPAIRS[case]
    box = said("14", 3, guess, notebook_with(tmp_path, takes, gives))
    assert box.status == status and sentence in box.text, box.text
    assert capsys.readouterr().out == ""  # what the notebook shows is not shown again


def test_an_executed_copy_is_not_the_repaired_notebook(tmp_path: Path):
    path = notebook_with(tmp_path, REPAIRED)
    notebook = nbformat.read(path, as_version=4)
    added = nbformat.v4.new_code_cell("learned = 9", metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(2, added)
    nbformat.write(notebook, path)
    assert "This is an executed copy" in said("14", 3, GOOD_GUESS, path).text


def test_a_path_must_lead_to_a_notebook(tmp_path: Path):
    text = shutil.copy(ROOT / "README.md", tmp_path / "04_share.ipynb")
    assert "is not a notebook" in said("14", 3, GOOD_GUESS, text).text
    assert "keep = True" in said("14", 3, GOOD_GUESS, tmp_path / "gone.ipynb").text
    assert "the path of a notebook is asked" in said("14", 3, GOOD_GUESS, 5).text
