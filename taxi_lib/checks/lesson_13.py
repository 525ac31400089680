"""Lesson 13: what one more value changes, a third notebook, and a tag on the wrong cell."""

import ast
import io
import json
import tempfile
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from nbformat import NotebookNode
from prefect import State
from prefect.client.schemas.objects import FlowRun

from taxi_lib.checks import server
from taxi_lib.checks.answers import UnreadableError, names, one_of, shown, text
from taxi_lib.checks.verdicts import Right, Wrong

HINTS = {
    1: [
        "What is the cache key of a step made of? Which part of it have you changed?",
        "`monthly` hands one result of the first notebook to the second. Is it another one now?",
    ],
    2: [
        "A step needs two tagged cells: one for its values, one that prints JSON.",
        "`(month['trip_distance'] > miles).mean()` is a share. And what must `monthly` return?",
        "The key is made of the code cells. Is a sentence of yours in one of them?",
    ],
    3: [
        "papermill puts its cell right after the tagged cell. Which cells run after it?",
        "`run_step` asks `papermill.inspect_notebook`, which reads the tagged cell only.",
    ],
}
_COUNT, _TRAIN = "01_count_trips", "02_train"


def q1(predicted: object, decides: object, run: object, project: object) -> Right | Wrong:
    """Judge predicted states by what the server and the executed copies say."""
    said, name, folder = _predicted(predicted), text(decides).strip(), _folder(project)
    flow_run = server.flow_run(run)
    happened = _states(flow_run, count=2)
    if not {_COUNT, _TRAIN} <= happened.keys():
        return Wrong(f"The run {flow_run.name} has not run both notebooks to their end.")
    problem = _without_change(folder, flow_run)
    if problem:
        return problem
    if said[_COUNT] != happened[_COUNT].casefold():
        return Wrong(
            "The first notebook ended in another state.",
            "A value that is given is part of the key, whatever its default is.",
        )
    if said[_TRAIN] != happened[_TRAIN].casefold():
        return Wrong(
            "The first notebook is right, the second one ended in another state.",
            "Its key has the values that it gets. Is one of them another than before?",
        )
    handed_on = _handed_on(folder, flow_run)
    if name not in handed_on:
        more = "It is not given to the second notebook." if name == "zero_miles" else ""
        return Wrong(f"`{name}` does not decide. Which result becomes a value?", more)
    return Right(
        f"A step runs again when its code or its values change, not when the step before it has "
        f"run. Here `{name}` is all that the second notebook learns of the first."
    )


def _predicted(answer: object) -> dict[str, str]:
    if type(answer) is not dict or set(answer) != {_COUNT, _TRAIN}:
        raise UnreadableError(f"The answer is {shown(answer)}; a state for each notebook is asked.")
    return {name: one_of(state, "completed", "cached", "failed") for name, state in answer.items()}


def _folder(answer: object) -> Path:
    if not isinstance(answer, Path) or not (answer / "pipeline.py").is_file():
        raise UnreadableError(
            "The project's folder is gone: set `keep = True` in the first cell and run all cells."
        )
    return answer


def _states(run: FlowRun, count: int) -> dict[str, str]:
    return {one.name: one.state_name for one in server.task_runs(run, count=count)}


def _without_change(folder: Path, run: FlowRun) -> Wrong | None:
    """Say why a run is not the first one in which trips of zero miles are left out."""
    copy = _copy(folder, run, _COUNT)
    if copy is None:
        return Wrong(
            "In this run the first notebook got the same values as before.",
            "Is it the *first* run after your change? Were all six cells run again, and `runpy`?",
        )
    given = _assigned(_tagged(copy, "injected-parameters"))
    if "zero_miles" not in given:
        return Wrong("In this run the first notebook was not given `zero_miles`.")
    if given["zero_miles"] is not False:
        return Wrong(
            f"In this run `zero_miles` was `{given['zero_miles']!r}`, and not `False`.",
            "In Python any text that is not empty is true.",
        )
    return None


def _handed_on(folder: Path, run: FlowRun) -> set[str]:
    """Return which results of the first notebook are values of the second."""
    results = _results(_copy(folder, run, _COUNT))
    copies = (folder / "runs").rglob(f"{_TRAIN}-*.ipynb")
    given = [_assigned(_tagged(_read(copy), "injected-parameters")) for copy in copies]
    return {name for values in given for name in values if name in results}


def _copy(folder: Path, run: FlowRun, stem: str) -> NotebookNode | None:
    """Return the executed copy that a run has of a notebook, the last one if it has several."""
    found = (folder / "runs" / run.name).glob(f"{stem}-*.ipynb")
    paths = sorted(found, key=lambda path: path.stat().st_mtime)
    return _read(paths[-1]) if paths else None


def _read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def _tagged(notebook: NotebookNode, tag: str) -> NotebookNode | None:
    cells = (c for c in notebook.cells if tag in c.metadata.get("tags", []))
    return next(cells, None)


def _assigned(cell: NotebookNode | None) -> dict[str, object]:
    """Return the names that a code cell gives a value, with the value where it is a literal."""
    if cell is None or cell.cell_type != "code":
        return {}
    found: dict[str, object] = {}
    for line in ast.parse(cell.source).body:
        if isinstance(line, ast.Assign | ast.AnnAssign):
            target = line.targets[0] if isinstance(line, ast.Assign) else line.target
            value = line.value.value if isinstance(line.value, ast.Constant) else None
            found[ast.unparse(target)] = value
    return found


def _results(notebook: NotebookNode) -> dict:
    cell = _tagged(notebook, "results")
    outputs = cell.outputs if cell else []
    printed = "".join(out.text for out in outputs if out.get("name") == "stdout")
    return json.loads(printed) if printed else {}


def q2(first: object, again: object, project: object) -> Right | Wrong:
    """Judge a third notebook by two runs, and by a month that the check makes."""
    folder, runs = _folder(project), (server.flow_run(first), server.flow_run(again))
    if type(first) is not State:
        raise UnreadableError("Give the state of the first run, as `return_state=True` gives it.")
    if not runs[0].state.is_completed():
        last = (runs[0].state.message or "").strip().splitlines()[-1:]
        return Wrong(
            f"The first run is {runs[0].state_name}: `{'' if not last else last[0]:.200}`.",
            "A notebook takes the values that its cell tagged `parameters` names.",
        )
    new = [name for name in _states(runs[0], count=3) if name not in (_COUNT, _TRAIN)]
    if len(new) != 1:
        return Wrong(
            f"The first run has {len(new)} notebooks beside the two of the lesson.",
            "After a change of `monthly`, run all six cells again, and then the one with `runpy`.",
        )
    share = _problem_of_share(folder, runs[0], first, new[0])
    return share or _judge_again(folder, runs, new[0])


def _problem_of_share(folder: Path, run: FlowRun, state: State, stem: str) -> Wrong | None:
    """Say what is wrong with a notebook that is to report a share of long trips."""
    copy = _copy(folder, run, stem)
    if copy is None:
        return Wrong(f"In the first run `{stem}` was cached: give the run that executed it.")
    notebook = _read(folder / f"{stem}.ipynb")
    missing = {"trips_file", "miles"} - _assigned(_tagged(notebook, "parameters")).keys()
    if missing:
        return Wrong(f"The parameters cell of `{stem}` has no {' and no '.join(sorted(missing))}.")
    reported = _results(copy)
    if not reported:
        return Wrong(f"`{stem}` reports nothing.", "Which tag does `results_of` look for?")
    returned = state.result(raise_on_failure=False, _sync=True)
    if not isinstance(returned, dict) or not reported.items() <= returned.items():
        return Wrong(
            "The flow's result has not got what your notebook reports.",
            "`counted | …` joins two dictionaries; three can be joined, too.",
        )
    return _try_on_a_month(notebook)


def _judge_again(folder: Path, runs: tuple[FlowRun, FlowRun], stem: str) -> Right | Wrong:
    """Judge whether a notebook with another sentence was taken from the cache."""
    first, again = runs
    states = _states(again, count=3)
    executed = [name for name, state in states.items() if state != "Cached"]
    if stem not in states or executed:
        listed = ", ".join(executed) or "nothing"
        return Wrong(
            f"In the second run the cache did not help: it executed {listed}.",
            "Has anything changed but a sentence in a Markdown cell: a value, a comment in code?",
        )
    now, copy = _read(folder / f"{stem}.ipynb"), _copy(folder, first, stem)
    changed = (folder / f"{stem}.ipynb").stat().st_mtime
    if _prose(now) == _prose(copy):
        return Wrong(
            "Each notebook was cached in the second run, but no sentence has changed since the "
            "first: change one in your notebook, and run the flow again."
        )
    if datetime.fromtimestamp(changed, UTC) > again.start_time:
        return Wrong("Your notebook has changed after the second run: run the flow once more.")
    return Right(
        "Your notebook is a step like the others: it refuses unknown names, gives something back, "
        "and is executed only when its code, its values or its files have changed."
    )


def _prose(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def _try_on_a_month(notebook: NotebookNode) -> Wrong | None:
    """Run the code of a notebook on a small month, and look at the share that it reports."""
    rng = np.random.default_rng()
    miles, month = float(rng.integers(3, 8)), _month(rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "month.parquet"
        month.to_parquet(path)
        try:
            reported = _run(notebook, {"trips_file": str(path), "miles": miles})
        except (Exception, SystemExit) as error:
            name = f"{type(error).__name__}: {error}"
            return Wrong(f"Your notebook fails on a month that the check made: `{name:.200}`.")
    numbers = [each for each in reported.values() if isinstance(each, int | float)]
    return _judge_share(numbers, month, miles)


def _month(rng: np.random.Generator, rows: int = 1000) -> pd.DataFrame:
    """Return trips of half miles, of which the longer ones take more often too long.

    With whole miles, "longer than 2" and "at least 3" would be the same trips; each distance is
    there equally often, so that no two mistakes report the same share by chance.
    """
    begin, distance = pd.Timestamp("2021-01-01"), rng.permutation(np.arange(rows) % 20) / 2 + 1
    minutes = np.where(rng.uniform(0, 12, rows) < distance, 90.0, 15.0)
    zones = rng.integers(1, 6, (2, rows))
    return pd.DataFrame(
        {
            "lpep_pickup_datetime": begin,
            "lpep_dropoff_datetime": begin + pd.to_timedelta(minutes, "min"),
            "PULocationID": zones[0],
            "DOLocationID": zones[1],
            "trip_distance": distance,
        }
    )


def _run(notebook: NotebookNode, values: dict[str, object]) -> dict:
    """Run the code of a notebook in this process; a kernel of its own would take seconds."""
    scope: dict[str, object] = {"__name__": "__main__"}
    printed = io.StringIO()
    for cell in (one for one in notebook.cells if one.cell_type == "code"):
        tags = cell.metadata.get("tags", [])
        with redirect_stdout(printed if "results" in tags else io.StringIO()):
            exec(compile(cell.source, "<a cell of the notebook>", "exec"), scope)
        if "parameters" in tags:
            scope |= values
    return json.loads(printed.getvalue())


def _judge_share(numbers: list[float], month: pd.DataFrame, miles: float) -> Wrong | None:
    taken = month["lpep_dropoff_datetime"] - month["lpep_pickup_datetime"]
    longer = month["trip_distance"] > miles
    kept = taken <= pd.Timedelta(minutes=60)

    def reports(share: float, tolerance: float = 0.006) -> bool:  # two digits are enough
        return any(abs(number - share) < tolerance for number in numbers)

    if reports(longer.mean()):
        return None
    if reports(100 * longer.mean(), 0.6) or reports(longer.sum()):
        return Wrong("Your notebook reports a percentage or a number; a share is 0 to 1.")
    if reports((month["trip_distance"] >= miles).mean()):
        return Wrong("Your notebook counts trips of exactly `miles`, too: they are not longer.")
    if reports(longer[kept].mean()):
        return Wrong("Your notebook leaves trips out: the share is one of *all* trips in the file.")
    if reports(1 - longer.mean()):
        return Wrong("Your notebook reports the share of the other trips.")
    return Wrong(
        "On a month that the check made, with another `miles`, your notebook reports another "
        "share than it should.",
        "Does the code use both parameters, or a number and a file of its own?",
    )


def q3(wins: object, unknown: object, prepared: object) -> Right | Wrong:
    """Judge what is said about a notebook whose title has the tag, by its prepared copy."""
    winner, said = one_of(wins, "given", "default"), names(unknown)
    notebook = _prepared(prepared)
    tagged = _tagged(notebook, "parameters")
    if tagged is None or tagged.cell_type == "code":
        return Wrong("In this file the title has not got the tag: prepare `misplaced.ipynb`.")
    injected = _tagged(notebook, "injected-parameters")
    if "trips_file" not in _assigned(injected):
        return Wrong("In this file papermill was not given a `trips_file`: use `-p`.")
    last = [cell for cell in notebook.cells if "trips_file" in _assigned(cell)][-1]
    if winner != ("given" if last is injected else "default"):
        return Wrong(
            "Read the code cells of the prepared copy from top to bottom, as the kernel does.",
            "`trips_file` gets a value twice. Which one is there when the file is read?",
        )
    # The names are those of the exercise; a Markdown cell declares none.
    expected = sorted({"trips_file", "at_least"} - _assigned(tagged).keys())
    if said != expected:
        more = "A Markdown cell can have the tag, too. Which parameters does it declare?"
        return Wrong("`run_step` says something else about these names: try it.", more)
    return Right(
        "papermill injects after the tagged cell, whatever it holds, and only warns. The run would "
        "have been green, with the wrong month, if the default had been there. A check of the "
        "names before the run finds it at once."
    )


def _prepared(answer: object) -> NotebookNode:
    if (
        isinstance(answer, str | Path)
        and Path(answer).suffix == ".ipynb"
        and not Path(answer).is_file()
    ):
        raise UnreadableError(
            f"There is no {answer} in this notebook's own folder: give the whole path, such as "
            f"`project / {Path(answer).name!r}`."
        )
    if not isinstance(answer, str | Path) or not Path(answer).is_file():
        raise UnreadableError(
            f"The answer is {shown(answer)}; the path of a notebook is asked for, which "
            "`papermill --prepare-only` has written."
        )
    return _read(Path(answer))
