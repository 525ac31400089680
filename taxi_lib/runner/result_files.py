"""The files among a notebook's results: each is kept in the folder of its own step of its run.

So that no run and no month overwrites another's. What depends on such a file depends on its
content, not on where it lies.
"""

from dataclasses import replace
from pathlib import Path

from taxi_lib.atomic_files import copy_into, fingerprint, real_path
from taxi_lib.errors import ContractError
from taxi_lib.results import Value
from taxi_lib.runner.contracts import Contract
from taxi_lib.runner.notebook_run import NotebookRun

Results = dict[str, Value]
Made = dict[str, str]


def keep_files(
    contract: Contract, results: Results, worked_in: Path, folder: Path
) -> tuple[Results, Made]:
    """Return the results with the files in full, and the fingerprint of each file by its path.

    Parameters
    ----------
    contract, results
        The notebook, and what it reported, already checked.
    worked_in : pathlib.Path
        The kernel's working directory, where a relative path begins.
    folder : pathlib.Path
        The run's folder; a file that does not lie in the step's own folder is copied into it.

    Raises
    ------
    ContractError
        When a file is not there, or not a file in the run's folder.
    """
    made, own = {}, real_path(folder / contract.name)
    for field in contract.results:
        text = results.get(field.name)
        if not field.is_path or not isinstance(text, str):
            continue
        path = real_path(worked_in / Path(text).expanduser())
        _check(field.name, text, path, {real_path(worked_in), real_path(folder)})
        mark = fingerprint(path)
        if own not in path.parents:
            path = copy_into(path, own, mark)
        results, made = results | {field.name: str(path)}, made | {str(path): mark}
    return results, made


def _check(name: str, text: str, path: Path, allowed: set[Path]) -> None:
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise ContractError(f"{name} is {text!r}, which {kind}: write one file, and report it.")
    if not allowed & set(path.parents):
        raise ContractError(
            f"{name} is {text!r}, which lies outside the run's folder: write it to a relative "
            "path, so that no other run overwrites it."
        )


def copy_files(run: NotebookRun, before: Path, now: Path) -> NotebookRun:
    """Return an earlier run with copies of the files that are results.

    Parameters
    ----------
    run : NotebookRun
        The earlier run.
    before, now : pathlib.Path
        The step's own folder in that run, and in the one that uses its results again.
    """
    copies = {
        path: str(copy_into(Path(path), now / Path(path).relative_to(before).parent, mark))
        for path, mark in run.made.items()
    }
    results = {
        name: copies.get(value, value) if isinstance(value, str) else value
        for name, value in run.results.items()
    }
    return replace(run, results=results, made={copies[p]: mark for p, mark in run.made.items()})
