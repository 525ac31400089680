"""The folder of a run: its ``summary.json``, and the link ``runs/latest``."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taxi_lib import settings
from taxi_lib.atomic_files import real_path, unwritable, write_text
from taxi_lib.errors import BrokenOffError, ContractError, TaxiError
from taxi_lib.runner.html.index import index_page
from taxi_lib.runner.notebook_run import NotebookRun

_STATUSES = ("running", "interrupted", "completed", "failed")


def run_folder(wanted: Path | None = None) -> Path:
    """Return the folder for a run's files: the wanted one, or a new one under ``runs/``.

    Raises
    ------
    ContractError
        When that is ``runs/latest``, the link to the last run.
    """
    if wanted:
        if real_path(wanted.absolute().parent) / wanted.name == settings.runs_dir() / "latest":
            raise ContractError(f"{wanted} is the link to the last run: choose another folder.")
        return real_path(wanted)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    return (settings.runs_dir() / f"{now}-{secrets.token_hex(2)}").resolve()


def check_folder(folder: Path) -> None:
    """Refuse a folder with files of something else, and a file or folder named ``latest``.

    Raises
    ------
    ContractError
        Before anything is written.
    """
    latest = settings.runs_dir() / "latest"
    if _is_in_workspace(folder) and latest.exists() and not latest.is_symlink():
        kind = "folder" if latest.is_dir() else "file"
        raise ContractError(
            f"{latest} is a {kind}, not the link to the last run (copied without links?): "
            "give it another name, and run again."
        )
    try:
        foreign = [path.name for path in sorted(folder.iterdir()) if path.name[0] != "."]
    except FileNotFoundError:
        return
    except OSError as error:
        raise ContractError(
            f"{folder} cannot be a run's folder ({error.strerror}): choose another --run-dir."
        ) from error
    if foreign and not read(folder):
        raise ContractError(
            f"{folder} holds what no run has left there ({foreign[0]}): choose a new or empty "
            "folder as --run-dir."
        )


def begin(folder: Path, request: dict[str, Any]) -> None:
    """Write the summary of a run that begins: what was asked for, and no notebook yet."""
    if _is_in_workspace(folder):
        # A text file, because copying a workspace may lose its links.
        write_text(settings.runs_dir() / ".last-run", os.path.relpath(folder, settings.runs_dir()))
    report = {"status": "running", "folder": str(folder), "request": request}
    _write(folder, report | {"data_dir": _data_dir(), "notebooks": []})


def finish(
    runs: list[NotebookRun], data_source: str | None, seconds: float, folder: Path
) -> dict[str, Any]:
    """Write and return the summary of a run that has ended; point ``runs/latest`` to its folder.

    Parameters
    ----------
    runs : list of NotebookRun
        In the order of the lessons.
    data_source : {"local", "tlc", "synthetic"} or None
        Where the months came from; None when no notebook takes a month.
    seconds, folder
        The wall time of the whole run, and its folder.
    """
    failed = any(run.status == "failed" for run in runs)
    report = {
        "status": "failed" if failed else "completed",
        "data_source": data_source,
        "seconds": round(seconds, 2),
        "folder": str(folder),
        "request": (read(folder) or {}).get("request", {}),
        "data_dir": _data_dir(),
        "notebooks": [run.to_dict() for run in runs],
    }
    return _finished(report, folder)


def finish_each(
    name: str, runs: list[dict[str, Any]], data_source: str | None, seconds: float, folder: Path
) -> dict[str, Any]:
    """Write and return the summary of runs over several values, as :func:`finish` does for one.

    Parameters
    ----------
    name : str
        The parameter whose values they are.
    runs : list of dict
        From :func:`taxi_lib.runner.each_value.run_of`.
    data_source, seconds, folder
        As for :func:`finish`.
    """
    failed = any(run["status"] != "completed" for run in runs)
    report = (read(folder) or {}) | {
        "status": "failed" if failed else "completed",
        "data_source": data_source,
        "seconds": round(seconds, 2),
        "each": {"name": name, "runs": runs},
        "notebooks": [
            notebook | {"name": f"{run['value']}/{notebook['name']}"}
            for run in runs
            for notebook in run["notebooks"]
        ],
    }
    return _finished(report, folder)


def _finished(report: dict[str, Any], folder: Path) -> dict[str, Any]:
    _write(folder, report)
    write_text(folder / "index.html", index_page(report))
    if _is_in_workspace(folder):
        _point(settings.runs_dir() / "latest", folder)
    return report


def last_run() -> Path | None:
    """Return the folder of the run that began last, wherever it is; None when there was none."""
    try:
        name = (settings.runs_dir() / ".last-run").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return real_path(settings.runs_dir() / name)


def _data_dir() -> str | None:
    return str(settings.data_dir()) if os.environ.get("TAXI_DATA_DIR") else None


def _is_in_workspace(folder: Path) -> bool:
    """Return whether a run is the workspace's, not one that a lesson began in its own folder."""
    return settings.runs_dir() not in real_path(folder).parents[1:]


@contextmanager
def recorded(folder: Path, request: dict[str, Any]) -> Iterator[None]:
    """Call a run running in its summary, and interrupted when the block does not complete.

    Raises
    ------
    BrokenOffError
        Instead of a TaxiError in the block, which would read as if nothing had been run.
    """
    begin(folder, request)
    try:
        yield
    except BaseException as error:
        with suppress(TaxiError):  # the disk may be full
            mark_interrupted(folder)
        if isinstance(error, TaxiError):
            raise BrokenOffError(f"The run broke off: {error}") from error
        raise


def write_progress(runs: list[NotebookRun], folder: Path) -> None:
    """Write the notebooks that have ended so far into the summary."""
    if report := read(folder):
        _write(folder, report | {"notebooks": [run.to_dict() for run in runs]})


def mark_interrupted(folder: Path) -> None:
    """Call a run interrupted in its summary; ``--resume`` can go on with it."""
    if report := read(folder):
        _write(folder, report | {"status": "interrupted"})


def read(folder: Path) -> dict[str, Any] | None:
    """Return the summary in a run's folder; None when there is none, or it is another program's."""
    try:
        report = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        ours = report["status"] in _STATUSES and isinstance(report["folder"], str)
        whole = isinstance(report["request"], dict) and isinstance(report["notebooks"], list)
        return report if ours and whole else None
    except (OSError, ValueError, TypeError, LookupError):
        return None


def _write(folder: Path, report: dict[str, Any]) -> None:
    write_text(folder / "summary.json", json.dumps(report, indent=2) + "\n")


def _point(link: Path, folder: Path) -> None:
    """Point a link to a folder in one step: it never leads nowhere."""
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".latest-{secrets.token_hex(4)}")
    fresh.symlink_to(os.path.relpath(folder, link.parent))
    try:
        fresh.replace(link)
    except OSError as error:  # someone has just made a folder of that name
        fresh.unlink()
        raise unwritable(link, error) from error
