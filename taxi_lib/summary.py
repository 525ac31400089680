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
from taxi_lib.errors import BrokenOffError, ContractError, TaxiError
from taxi_lib.results import NotebookRun
from taxi_lib.storage import write_text


def run_folder(wanted: Path | None = None) -> Path:
    """Return where a run's files go: as wanted, or a new folder under ``runs/``.

    Raises
    ------
    ContractError
        When ``runs/latest`` is wanted, which is the link to the last run.
    """
    if wanted:
        if wanted.absolute() == settings.runs_dir() / "latest":
            raise ContractError(f"{wanted} is the link to the last run: choose another folder.")
        return wanted.resolve()
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    return (settings.runs_dir() / f"{now}-{secrets.token_hex(2)}").resolve()


def begin(folder: Path, request: dict[str, Any]) -> None:
    """Write the summary of a run that begins: what was asked for, and nothing done yet."""
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
    runs_dir = settings.runs_dir()
    above = folder.resolve().parents
    if runs_dir.resolve() not in above[1:]:
        _point(runs_dir / "latest", folder)  # not to what a lesson ran in a folder of its own
    return report


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
    """Return the summary that a run left in its folder, or None."""
    try:
        return json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _keep(folder: Path, report: dict[str, Any]) -> None:
    write_text(folder / "summary.json", json.dumps(report, indent=2) + "\n")


def _point(link: Path, folder: Path) -> None:
    """Point a link to a folder in one step: a reader sees the old one or the new one."""
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".latest-{secrets.token_hex(4)}")
    fresh.symlink_to(os.path.relpath(folder, link.parent))
    fresh.replace(link)
