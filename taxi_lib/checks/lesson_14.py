"""Lesson 14: a limit met exactly, modules that count as inputs, a reference to another result."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
from IPython.utils.capture import capture_output
from prefect.client.schemas.filters import FlowFilter, FlowFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from pydantic import BaseModel

from taxi_lib.checks import server
from taxi_lib.checks.answers import (
    UnreadableError,
    function,
    one_of,
    shown,
    truth,
)
from taxi_lib.checks.verdicts import Right, Wrong

HINTS = {
    1: [
        "Read the assert of the first notebook. Is exactly enough too few?",
        "What does the second notebook take from the first, and is it any different this time?",
        "What can the second notebook be given when the first one has failed? And in "
        "`run_notebook`, what has to go well before the line that writes the record?",
    ],
    2: [
        "Begin with `inputs = runner.inputs_of(notebook, values)`, and add to it.",
        "`notebook.parent` is the folder, and `runner.digest(file.read_bytes())` stands for the "
        "content of a file. Python finds a module by its name.",
        "A record is a line of JSON: what `json.loads` reads from it must equal your inputs.",
    ],
    3: [
        "Which notebook knows from how many trips the model learned, and what does it call them? "
        "Read its cell tagged `results`.",
        "The type of both results is `int`. What else could the runner compare?",
        "What a notebook waits for, and with whom it is skipped, is decided by its references "
        "alone.",
    ],
}
_PREPARE, _TRAIN = "01_prepare", "02_train"


def q1(exactly: object, one_more: object, records: object, runs: object) -> Right | Wrong:
    """Judge predicted states and records against the learner's two runs of the folder."""
    said = [_states(exactly), _states(one_more)]
    said_recorded = [truth(one) for one in _several(records, 2, "True or False for each run")]
    states = _several(runs, 2, "the states of two flow runs")
    found = [_first_of_its_kind(server.flow_run(state)) for state in states]
    if problem := _other_request(*found):
        return problem
    for kind, predicted, run in zip(("exactly", "one_more"), said, found, strict=True):
        if problem := _compare(kind, predicted, run):
            return problem
    recorded = [_has_record(run) for run in found]
    if said_recorded[0] != recorded[0]:
        return Wrong("The record of the first run is another matter: what did that run lack?")
    if said_recorded[1] != recorded[1]:
        return Wrong(
            "What would a record of the second run say? The next run would believe it.",
            "Which line of `run_notebook` writes the record, and does the run get there?",
        )
    return Right(
        "Both times the first notebook had a new value. Once it kept the same trips as ever, so "
        "the second one had nothing new to do; once it failed, and the second one had nothing to "
        "take. A failed run leaves no record, so there is nothing to clean up: whatever you "
        "repair, the notebook is tried again."
    )


def _several(answer: object, count: int, what: str) -> list[Any]:
    if type(answer) not in (list, tuple) or len(answer) != count:
        raise UnreadableError(f"The answer is {shown(answer)}; a list of {count} is asked: {what}.")
    return list(answer)


def _states(answer: object) -> list[str]:
    listed = _several(answer, 3, "the states of the flow and of the two tasks")
    return [one_of(one, "completed", "failed", "cached", "notready") for one in listed]


def _first_of_its_kind(run: FlowRun) -> FlowRun:
    """Return the first run with the same request: the second one would find its records."""
    with server.server() as client:
        same_flow = FlowFilter(id=FlowFilterId(any_=[run.flow_id]))
        runs = client.read_flow_runs(flow_filter=same_flow, sort=FlowRunSort.START_TIME_DESC)
    asked = _asked(run)
    ended = [one for one in runs if one.state and one.state.is_final()]
    return [run, *(one for one in ended if asked and _asked(one) == asked)][-1]


def _asked(run: FlowRun) -> tuple[list, dict] | None:
    """Return the notebooks and the request of a run of `run_folder`; None for any other run."""
    notebooks, request = (run.parameters.get(name) for name in ("notebooks", "request"))
    if not isinstance(notebooks, list) or not isinstance(request, dict):
        return None
    return notebooks, request


def _other_request(first: FlowRun, second: FlowRun) -> Wrong | None:
    """Return why two runs are not those of the exercise."""
    asked = _asked(first), _asked(second)
    if not all(asked):
        return Wrong("One of the two is not a run of `run_folder`.")
    for notebooks, _ in asked:
        if [Path(notebook).stem for notebook in notebooks] != [_PREPARE, _TRAIN]:
            return Wrong("Run the two notebooks, both of them: that is `notebooks`.")
    trips = _trips(asked[0][1])
    for place, (_, request), extra in (("first", asked[0], 0), ("second", asked[1], 1)):
        if request.get("at_least") != trips + extra:
            more = " and one more" if extra else ""
            return Wrong(
                f"The {place} run had `at_least={request.get('at_least')}`, and not the month's "
                f"number of trips{more}.",
                'Take the number from `first["01_prepare"]["outcome"]`.',
            )
    return None


def _trips(request: dict) -> int:
    """Return how many trips of a month the first notebook counts."""
    path = Path(str(request.get("trips_file")))
    if not path.is_file():
        raise UnreadableError(f"The month `{path.name}` is gone: {_GONE}")
    begin, end = "lpep_pickup_datetime", "lpep_dropoff_datetime"
    month = pd.read_parquet(path, columns=[begin, end, "trip_distance"])
    counts = ((month[end] - month[begin]).dt.total_seconds() / 60).between(1, 60)
    if request.get("zero_miles", True) in (False, "no", "false"):
        counts &= month["trip_distance"] > 0
    return int(counts.sum())


_GONE = (
    "the folder `project` is removed by the last code cell. Set `keep = True` at the top, run all "
    "cells again, and then this one."
)


def _compare(kind: str, predicted: list[str], run: FlowRun) -> Wrong | None:
    """Return what is wrong with the states that were predicted for one run."""
    ended = {  # what was never started has the task's name and a number
        one.name.partition("-")[0]: (one.state_name or "").casefold()
        for one in server.task_runs(run, count=2)
    }
    if not {_PREPARE, _TRAIN} <= ended.keys():
        raise UnreadableError(f"The server has not got both tasks of the run {run.name}.")
    flow, count, train = predicted
    if count != ended[_PREPARE]:
        more = {
            "cached": "Is there a record of a run with this `at_least`?",
            "failed": "Which comparison does its assert make: more, or at least as many?",
            "completed": "How many trips are there, and how many are wanted?",
            "notready": "Which notebook does it take from, that could have failed before it?",
        }
        return Wrong(f"`{kind}`: `{_PREPARE}` ended in another state.", more[count])
    if train != ended[_TRAIN]:
        return Wrong(
            f"`{kind}`: `{_TRAIN}` ended in another state. What does it take?",
            "It takes the trips that `01_prepare` keeps, and one number. Are they others now? "
            "Are they there at all?",
        )
    if flow != (run.state_name or "").casefold():
        return Wrong(
            f"`{kind}`: the flow ended in another state than you predicted.",
            "The last lines of `run_folder` say when it returns `Failed`, and when the results.",
        )
    return None


def _has_record(run: FlowRun) -> bool:
    """Return whether the first notebook has a record of the values of a run."""
    notebooks, request = _asked(run) or ([], {})
    file = Path(notebooks[0]).parent / "records" / f"{_PREPARE}.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return any(json.loads(line)["inputs"].get("at_least") == request["at_least"] for line in lines)


class _Values(BaseModel):
    """What a made-up notebook takes."""

    trips_file: Path
    at_least: int


def q2(inputs_with_modules: object, run_again: object) -> Right | Wrong:
    """Judge a function that returns a notebook's inputs, on a folder that the check makes."""
    answer, said = function(inputs_with_modules), truth(run_again)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        notebook = _made_up(project)
        values = _Values(trips_file=project / "month.parquet", at_least=5)

        def inputs(at: Path = notebook, given: BaseModel = values) -> dict:
            return _inputs(answer(at, given))

        bare = inputs()
        problem = _module_goes_unnoticed(project, inputs)
        with_runner = inputs()
        problem = problem or _too_much_or_too_little(notebook, values, inputs)
    if problem:
        return problem
    if said != (with_runner != bare):
        return Wrong(
            "The function is right, and the prediction is not: ask `runner.find`, as described.",
            "Which files lie in `project`, and what do the records know of them?",
        )
    return Right(
        "A cache is right only if it looks at all that a result depends on. A table in a database "
        "or the time of day would still go unnoticed, so a runner needs a way to force a run. And "
        "each new part has its price: no record knows it yet, so every notebook runs once more."
    )


def _made_up(project: Path) -> Path:
    """Write a folder with a notebook and its file; return the notebook."""
    project.mkdir()
    (project / "month.parquet").write_bytes(b"trips")
    notebook = project / "01_made_up.ipynb"
    cells = [
        {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# Made up"},
        _code("parameters", "trips_file: Path\nat_least: int = 1", "parameters"),
        _code("use", "import zones"),
    ]
    whole = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    notebook.write_text(json.dumps(whole), encoding="utf-8")
    return notebook


def _code(name: str, source: str, *tags: str) -> dict:
    kept = {"execution_count": None, "outputs": [], "metadata": {"tags": list(tags)}}
    return {"cell_type": "code", "id": name, "source": source} | kept


def _inputs(found: object) -> dict:
    """Return inputs as a record keeps them."""
    if type(found) is not dict:
        raise UnreadableError(
            f"The function returns {shown(found)}; a dict is asked for, as of `runner.inputs_of`."
        )
    try:
        kept = json.loads(json.dumps(found))
    except TypeError as error:
        raise UnreadableError(f"A record is JSON, which cannot hold this: {error}.") from None
    if kept != found:
        raise UnreadableError(
            "A record is a line of JSON, and what is read from it does not equal what was written: "
            "a tuple comes back as a list. So no record would ever be found."
        )
    return kept


def _module_goes_unnoticed(project: Path, inputs: Callable[[], dict]) -> Wrong | None:
    """Change the modules of a folder; return what the inputs have not noticed. One stays."""
    bare, stays, zones = inputs(), project / "runner.py", project / "zones.py"
    _write(stays, "limit = 1\n")
    only_one = inputs()
    if only_one == bare:
        return Wrong(
            "A new module beside the notebook goes unnoticed.",
            "Beside the notebook is `notebook.parent`, wherever the kernel works.",
        )
    _write(zones, "airports = [1, 132]\n")
    first = inputs()
    for module, changed in ((stays, "limit = 2\n"), (zones, "airports = [1, 138]\n")):
        content = module.read_text()
        _write(module, changed)
        if inputs() == first:
            return Wrong(
                "The content of a module has changed, and the inputs have not.",
                "Name, size and time are not the content; and there may be more than one module.",
            )
        _write(module, content)
    _write(zones, "airports = [1, 132]\n", time=1_100_000_000)
    if inputs() != first:
        return Wrong("A module was saved again, unchanged, and the inputs are others.")
    renamed = zones.rename(project / "areas.py")
    if inputs() == first:
        return Wrong("A module has another name, and the inputs are the same. What is imported?")
    renamed.unlink()
    if inputs() != only_one:
        return Wrong("A module is gone again, and the inputs are not what they were before it.")
    return None


def _write(path: Path, content: str, time: int = 1_000_000_000) -> None:
    path.write_text(content)
    os.utime(path, (time, time))


def _too_much_or_too_little(
    notebook: Path, values: BaseModel, inputs: Callable[..., dict]
) -> Wrong | None:
    """Change what is no module; return what the inputs have noticed, or not, by mistake."""
    before, whole = inputs(), notebook.read_text(encoding="utf-8")
    (notebook.parent / "notes.txt").write_text("zones")
    (notebook.parent / "02_other.ipynb").write_text(whole, encoding="utf-8")
    if inputs() != before:
        return Wrong("A file that no notebook can import changes the inputs. Which can it import?")
    shutil.copytree(notebook.parent, elsewhere := notebook.parent.with_name("elsewhere"))
    if inputs(elsewhere / notebook.name) != before:
        return Wrong("The same folder in another place has other inputs: a name is enough.")
    notebook.write_text(whole.replace("# Made up", "# Changed"), encoding="utf-8")
    if inputs() != before:
        return Wrong("Only a sentence of the notebook has changed, and it would run again.")
    notebook.write_text(whole.replace("import zones", "import areas"), encoding="utf-8")
    code = inputs()
    notebook.write_text(whole, encoding="utf-8")
    value = inputs(given=values.model_copy(update={"at_least": 6}))
    (notebook.parent / "month.parquet").write_bytes(b"other")
    for what, found in {"line of code": code, "value": value, "file of data": inputs()}.items():
        if found == before:
            return Wrong(f"Another {what} goes unnoticed. What does `runner.inputs_of` return?")
    return None


def q3(if_train_fails: object, repaired: object) -> Right | Wrong:
    """Judge predicted states, and a notebook whose references are repaired."""
    both = _several(if_train_fails, 2, "the states of `04_share` before and after your repair")
    before, after = (one_of(one, "completed", "failed", "cached", "notready") for one in both)
    cells = _cells(repaired)
    tags = [tag for cell in cells for tag in cell["metadata"].get("tags", [])]
    if "injected-parameters" in tags:
        return Wrong(
            "This is an executed copy: it holds the cell that papermill has added.",
            "Repair the notebook that it was made of, `04_share.ipynb` in `project`.",
        )
    if problem := _wrong_share(cells):
        return problem
    if before not in ("completed", "cached"):
        return Wrong(
            "The notebook is right, and the first prediction is not.",
            "From which notebooks did the colleague's version take anything?",
        )
    if after != "notready":
        return Wrong(
            "The notebook is right, and the second prediction is not.",
            "Now it takes a result of `02_train`. What is there to take if that has failed?",
        )
    return Right(
        "A reference is checked by name and type, and both results are whole numbers: what they "
        "mean, only a reader can tell. A narrower promise would have helped: with `[0 to 0.9]` "
        "the first run would have failed. And a wrong reference is a wrong arrow: the colleague's "
        "notebook reports on a model even if there is none."
    )


_REFERENCE = re.compile(r"^(\w+) *:.*\[from ([^.\]]+)\.?([^\]]*)\] *$", re.MULTILINE)
_REPORTED = {
    _PREPARE: {"trips": 40, "most_miles": 8.5},
    _TRAIN: {"train_trips": 30, "rmse": 6.5},
}


def _wrong_share(cells: list[dict]) -> Wrong | None:
    """Return what is wrong with a notebook that is given what its references name."""
    declared = "\n".join(cell["source"] for cell in cells if _is_tagged(cell))
    taken = {}
    for name, notebook, result in _REFERENCE.findall(declared):
        reported = _REPORTED.get(notebook, {})
        if (result or name) not in reported:
            return Wrong(
                f"`{name}` is taken from `{notebook}.{result or name}`, which no notebook reports.",
                f"`{_PREPARE}` and `{_TRAIN}` say in their cells tagged `results` what they give.",
            )
        taken[name] = (notebook, reported[result or name])
    if _TRAIN not in {notebook for notebook, _ in taken.values()}:
        return Wrong(
            f"The notebook still takes nothing from `{_TRAIN}`.",
            "Who knows from how many trips the model learned?",
        )
    found = _reported(cells, {name: value for name, (_, value) in taken.items()})
    if isinstance(found, Exception):
        return Wrong(f"The notebook ends with `{type(found).__name__}: {found!s:.100}`.")
    if found.get("share") != 30 / 40:
        return Wrong(
            f"With 40 trips, 30 of which the model learned from, it reports {shown(found)}.",
            "The share is 0.75. Which of the two is divided by which?",
        )
    return None


def _cells(repaired: object) -> list[dict]:
    if not isinstance(repaired, str | Path):
        raise UnreadableError(f"The answer is {shown(repaired)}; the path of a notebook is asked.")
    path = Path(repaired)
    if not path.is_file():
        raise UnreadableError(f"There is no notebook `{path.name}` at this path. Or {_GONE}")
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError):
        raise UnreadableError(f"`{path.name}` is not a notebook.") from None
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return [cell | {"source": "".join(cell["source"])} for cell in code]


def _is_tagged(cell: dict) -> bool:
    return "parameters" in cell["metadata"].get("tags", [])


def _reported(cells: list[dict], given: dict[str, object]) -> dict[str, object] | Exception:
    """Run cells in the order in which papermill does, without a kernel; return the results."""
    tagged = [place for place, cell in enumerate(cells) if _is_tagged(cell)]
    place = tagged[0] + 1 if tagged else 0
    added = "\n".join(f"{name} = {value!r}" for name, value in given.items())
    sources = [cell["source"] for cell in cells]
    scope: dict[str, object] = {"__name__": "__main__"}
    found: dict[str, object] = {}
    with capture_output(), patch("taxi_lib.results.report_results", found.update):
        try:
            for source in [*sources[:place], added, *sources[place:]]:
                exec(compile(source, "<notebook>", "exec"), scope)
        except Exception as error:  # whatever the notebook raises
            return error
    return found
