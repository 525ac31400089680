"""What a walkthrough leaves: ``summary.json``, the link ``runs/latest``, and a table to read."""

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
from taxi_lib.runner.notebook_run import NotebookRun

_STATUSES = ("running", "interrupted", "completed", "failed")


def run_folder(wanted: Path | None = None) -> Path:
    """Return where a run's files go: as wanted, or a new folder under ``runs/``.

    Raises
    ------
    ContractError
        When ``runs/latest`` is wanted, which is the link to the last run.
    """
    if wanted:
        if real_path(wanted.absolute().parent) / wanted.name == settings.runs_dir() / "latest":
            raise ContractError(f"{wanted} is the link to the last run: choose another folder.")
        return real_path(wanted)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    return (settings.runs_dir() / f"{now}-{secrets.token_hex(2)}").resolve()


def check_folder(folder: Path) -> None:
    """Refuse a folder with files that no run has left there, and what stands in the link's place.

    Raises
    ------
    ContractError
        Before anything is written.
    """
    latest = settings.runs_dir() / "latest"
    if _counts(folder) and latest.exists() and not latest.is_symlink():
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
    """Write the summary of a run that begins: what was asked for, and nothing done yet."""
    if _counts(folder):
        # A text, not a link: a workspace that is copied without links still knows its last run.
        write_text(settings.runs_dir() / ".last-run", os.path.relpath(folder, settings.runs_dir()))
    data_dir = os.environ.get("TAXI_DATA_DIR") and str(settings.data_dir())
    report = {"status": "running", "folder": str(folder), "request": request}
    _keep(folder, report | {"data_dir": data_dir, "notebooks": []})


def write(
    runs: list[NotebookRun],
    data_source: str | None,
    seconds: float,
    folder: Path,
    request: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write ``summary.json`` into the run's folder and point ``runs/latest`` to it.

    Parameters
    ----------
    runs : list of NotebookRun
        In the order of the lessons.
    data_source : {"local", "tlc", "synthetic"} or None
        Where the months came from; None when no notebook takes one.
    seconds : float
        Wall time of the whole walkthrough.
    folder : pathlib.Path
        The run's folder.
    request : dict, optional
        What was asked for, so that it can be asked for again.

    Returns
    -------
    dict
        The summary.
    """
    failed = any(run.status == "failed" for run in runs)
    report = {
        "status": "failed" if failed else "completed",
        "data_source": data_source,
        "seconds": round(seconds, 2),
        "folder": str(folder),
        "request": request or {},
        "data_dir": os.environ.get("TAXI_DATA_DIR") and str(settings.data_dir()),
        "notebooks": [run.to_dict() for run in runs],
    }
    _keep(folder, report)
    if _counts(folder):
        _point(settings.runs_dir() / "latest", folder)
    return report


def last_run() -> Path | None:
    """Return the folder of the run that began last, wherever it is; None when there was none."""
    try:
        told = (settings.runs_dir() / ".last-run").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return real_path(settings.runs_dir() / told)


def _counts(folder: Path) -> bool:
    """Tell a run of the workspace from one that a lesson began in a folder of its own."""
    return settings.runs_dir() not in real_path(folder).parents[1:]


@contextmanager
def told(folder: Path, request: dict[str, Any]) -> Iterator[None]:
    """Say in the summary that a run goes on; and how, when the block does not come to its end.

    Raises
    ------
    BrokenOffError
        Instead of a TaxiError in the block: something was run, it is no refusal any more.
    """
    begin(folder, request)
    try:
        yield
    except BaseException as error:
        with suppress(TaxiError):  # the disk may be full
            interrupted(folder)
        if isinstance(error, TaxiError):
            raise BrokenOffError(f"The run broke off: {error}") from error
        raise


def note(runs: list[NotebookRun], folder: Path) -> None:
    """Write into the summary what has come of the run so far."""
    if report := read(folder):
        _keep(folder, report | {"notebooks": [run.to_dict() for run in runs]})


def interrupted(folder: Path) -> None:
    """Note in a run's summary that it did not come to its end; ``--resume`` goes on with it."""
    if report := read(folder):
        _keep(folder, report | {"status": "interrupted"})


def read(folder: Path) -> dict[str, Any] | None:
    """Return the summary that a run left in its folder; None when there is none, or not ours."""
    try:
        report = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        ours = report["status"] in _STATUSES and isinstance(report["folder"], str)
        whole = isinstance(report["request"], dict) and isinstance(report["notebooks"], list)
        return report if ours and whole else None
    except (OSError, ValueError, TypeError, LookupError):
        return None


def _keep(folder: Path, report: dict[str, Any]) -> None:
    write_text(folder / "summary.json", json.dumps(report, indent=2) + "\n")


def _point(link: Path, folder: Path) -> None:
    """Point a link to a folder in one step: a reader sees the old one or the new one."""
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".latest-{secrets.token_hex(4)}")
    fresh.symlink_to(os.path.relpath(folder, link.parent))
    try:
        fresh.replace(link)
    except OSError as error:  # a folder of that name was made meanwhile
        fresh.unlink()
        raise unwritable(link, error) from error
