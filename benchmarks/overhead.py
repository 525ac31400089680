"""What a run costs beside its notebooks: against nbclient, and the flow against the runner.

A notebook more is measured as the difference between eight notebooks and one, so that the start of
the program is apart from it. Prefect's server runs meanwhile.
"""

from tempfile import TemporaryDirectory

from benchmarks.made_up import write_prints
from benchmarks.paired import Row, in_turn, main, own_workspace, program
from taxi_lib.services import prefect_server

NBCLIENT = """
import pathlib, sys, nbformat, nbclient
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.ipynb")):
    nbclient.NotebookClient(nbformat.read(path, 4), kernel_name="python3").execute()
"""
RUNNER = """
import os, pathlib, sys
from taxi_lib.runner.contracts import find_notebooks
from taxi_lib.runner.execution import run_notebook
from taxi_lib.runner.run_context import RunContext
context = RunContext(pathlib.Path(sys.argv[2]), dict(os.environ))
for contract in find_notebooks(folder=sys.argv[1]):
    run = run_notebook(contract, contract.check({}), context)
    assert run.is_good, run.error
"""
FLOW = ["-m", "taxi_lib", "run", "--jobs", "1", "--force", "--folder"]
IMPORTS = ["-c", "import pandas, sklearn.linear_model, xgboost, mlflow, prefect, seaborn"]


def compare_ways(quick: bool) -> list[Row]:
    """Run one notebook and several, by nbclient, by the runner alone, and by the flow."""
    counts = [1] if quick else [1, 8]
    with own_workspace() as base, prefect_server():
        folders = [write_prints(base / f"{count}", count) for count in counts]
        ways = [
            way
            for folder in folders
            for way in (
                lambda folder=folder: program(["-c", NBCLIENT, folder]).seconds,
                lambda folder=folder: program(["-c", RUNNER, folder, base / "alone"]).seconds,
                lambda folder=folder: program([*FLOW, folder]).seconds,
            )
        ]
        measured = in_turn(1 if quick else 5, *ways)
    ones, many, more = measured[:3], measured[-3:], max(1, counts[-1] - 1)
    a_notebook = [
        [(after - before) / more for before, after in zip(*pair, strict=True)]
        for pair in zip(ones, many, strict=True)
    ]
    return [
        *rows_of("a notebook more", a_notebook, 0.5, 0.3),
        *rows_of("the program and its first notebook", ones, None, None),
    ]


def rows_of(
    what: str, spent: list[list[float]], runner: float | None, flow: float | None
) -> list[Row]:
    """Return how much the runner adds to nbclient, and the flow to the runner."""
    return [
        Row(f"{what}, by the runner", "nbclient", spent[1], spent[0], "difference", runner),
        Row(f"{what}, by the flow", "the runner", spent[2], spent[1], "difference", flow),
    ]


def compare_starts(quick: bool) -> list[Row]:
    """Measure what a program costs before it does anything."""
    rounds = 1 if quick else 5
    plain = ["-c", "pass"]
    listing = [["-m", "taxi_lib", "list"], plain]
    listed = in_turn(rounds, *(lambda way=way: program(way).seconds for way in listing))
    with TemporaryDirectory() as empty:
        again = {"PYTHONPYCACHEPREFIX": empty, "PYTHONDONTWRITEBYTECODE": "1"}
        imports, ways = plain if quick else IMPORTS, ({}, again)
        imported = in_turn(
            rounds, *(lambda env=env: program(imports, **env).seconds for env in ways)
        )
    return [
        Row("list the lessons", "python that does nothing", *listed, "difference"),
        Row("import what the lessons use, compiled", "compiled each time", *imported, bound=1),
    ]


def measure(quick: bool) -> list[Row]:
    """Compare the ways to run notebooks, and the starts of programs."""
    return [*compare_ways(quick), *compare_starts(quick)]


if __name__ == "__main__":
    main(measure)
