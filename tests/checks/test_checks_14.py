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
from taxi_lib.checks import server

NOTEBOOKS = ROOT / "notebooks"
PREPARE = NOTEBOOKS / "steps" / "with_contracts" / "01_prepare.ipynb"


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


def notebook_with(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write the notebook of the exercise, changed."""
    path = folder / "05_twice.ipynb"
    notebook = nbformat.read(PREPARE, as_version=4)
    for one in notebook.cells:
        for old, new in (("[1 or more]\nzero", f"[1 or more]\n{LINE}zero"), *USED, *changes):
            one.source = one.source.replace(old, new)
    nbformat.write(notebook, path)
    return path


LINE = "enough = 2 * at_least\n"
USED = ((">= at_least, f", ">= enough, f"),)
BELOW = ((LINE, ""), ("month = pd", f"{LINE}month = pd"))
REPAIRS = {
    "a cell below": ("right", "Papermill adds its cell after", 2, BELOW),
    "in the assert": (
        "right",
        "Papermill adds its cell after",
        2,
        ((LINE, ""), (">= enough", ">= 2 * at_least")),
    ),
    "not repaired": ("wrong", "still passes, although twice as many", 2, ()),
    "not doubled": (
        "wrong",
        "still passes, although twice as many",
        2,
        ((LINE, ""), (">= enough", ">= at_least")),
    ),
    "another default": ("wrong", "still passes", 2, (("at_least: int = 1", "at_least: int = 20"),)),
    "one for all months": (
        "wrong",
        "fails, although exactly twice as many are there",
        2,
        ((LINE, "enough = 73_908\n"),),
    ),
    "more than twice": (
        "wrong",
        "fails, although exactly twice as many are there",
        2,
        (*BELOW, (">= enough", "> enough")),
    ),
    "no parameter": (
        "wrong",
        "does not take `at_least` any more",
        2,
        (*BELOW, ("at_least: int = 1", "at_least = 1")),
    ),
    "a misspelled name": (
        "wrong",
        "NameError: name 'enugh'",
        2,
        (*BELOW, (">= enough", ">= enugh")),
    ),
    "the value that was given": ("wrong", "for the colleague's it is not", 20_000, BELOW),
    "the default": ("wrong", "the prediction is not", 1, BELOW),
    "a word": ("wrong", "a number is asked for", "two", BELOW),
    "untouched": ("not attempted", "check.hint(3)", ..., BELOW),
}


@pytest.mark.parametrize("case", REPAIRS)
def test_a_repaired_notebook_asks_for_twice_as_many(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    status, sentence, enough, changes = REPAIRS[case]
    box = said("14", 3, enough, notebook_with(tmp_path, *changes))
    assert box.status == status and sentence in box.text, box.text
    assert capsys.readouterr().out == ""  # what the notebook shows is not shown again


def test_an_executed_copy_is_not_the_repaired_notebook(tmp_path: Path):
    path = notebook_with(tmp_path, *BELOW)
    notebook = nbformat.read(path, as_version=4)
    added = nbformat.v4.new_code_cell("at_least = 9", metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(2, added)
    nbformat.write(notebook, path)
    assert "This is an executed copy" in said("14", 3, 2, path).text


def test_a_path_must_lead_to_a_notebook(tmp_path: Path):
    text = shutil.copy(ROOT / "README.md", tmp_path / "05_twice.ipynb")
    assert "is not a notebook" in said("14", 3, 2, text).text
    assert "keep = True" in said("14", 3, 2, tmp_path / "gone.ipynb").text
    assert "the path of a notebook is asked" in said("14", 3, 2, 5).text
