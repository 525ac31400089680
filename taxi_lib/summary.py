"""What a walkthrough leaves: ``summary.json``, the link ``runs/latest``, and a table to read."""

import json
import os
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from taxi_lib import settings
from taxi_lib.errors import ContractError
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
    return settings.runs_dir() / f"{now}-{secrets.token_hex(2)}"


def begin(folder: Path, request: dict[str, Any]) -> None:
    """Write the summary of a run that begins: what was asked for, and nothing done yet."""
    _keep(folder, {"status": "running", "request": request, "notebooks": []})


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
        "notebooks": [run.to_dict() for run in runs],
    }
    _keep(folder, report)
    runs_dir = settings.runs_dir()
    above = folder.resolve().parents
    if runs_dir.resolve() not in above[1:]:
        _point(runs_dir / "latest", folder)  # not to what a lesson ran in a folder of its own
    return report


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


def rows(report: dict[str, Any]) -> list[dict[str, str]]:
    """Return one row a notebook: name, status, seconds, and its results in a line."""
    return [
        {
            "notebook": run["name"],
            "status": run["status"],
            "seconds": f"{run['seconds']:.1f}",
            "results": run["error"] or _in_a_line(run["results"]),
        }
        for run in report["notebooks"]
    ]


def failures(report: dict[str, Any]) -> str:
    """Return in one sentence which notebooks failed, where and how; empty when none did."""
    failed = [run for run in report["notebooks"] if run["status"] == "failed"]
    if not failed:
        return ""
    told = "; ".join(f"{run['name']}: {run['error']}" for run in failed)
    return f"{len(failed)} of {len(report['notebooks'])} notebooks failed: {told}."


def show(report: dict[str, Any]) -> None:
    """Print the summary as a table, and where to look next."""
    # A log file has no width of its own; rich would take 80 columns and fold every name.
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title=f"Walkthrough {report['status']} in {report['seconds']:.0f} s")
    for name in ("notebook", "status", "seconds", "results"):
        justify = "right" if name == "seconds" else "left"
        table.add_column(name, justify=justify, no_wrap=name != "results")
    for row in rows(report):
        table.add_row(
            *map(escape, row.values()), style="red" if row["status"] == "failed" else None
        )
    console.print()
    console.print(table)
    console.print(_next_steps(report), soft_wrap=True, highlight=False, markup=False)


def _next_steps(report: dict[str, Any]) -> str:
    # Only what is not where it would be by itself has to be said.
    usual = {
        "TAXI_RUNS_DIR": settings.workspace() / "runs",
        "PREFECT_HOME": settings.runs_dir() / "prefect",
        "MLFLOW_TRACKING_URI": f"sqlite:///{settings.runs_dir() / 'mlflow.db'}",
    }
    here = settings.environment()
    moved = "".join(
        f"{name}={quote(here[name])} " for name, where in usual.items() if here[name] != str(where)
    )
    return "\n".join(
        [
            f"Data            : {report['data_source']}",
            f"Executed lessons: {report['folder']}  (.ipynb, .html, .log, .json, and summary.json)",
            f"Prefect, MLflow : {moved}{quote(sys.executable)} -m taxi_lib ui",
        ]
    )


def _in_a_line(results: dict[str, Any]) -> str:
    def short(value: object) -> str:
        if isinstance(value, float):
            return f"{value:.3f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    figures = {name: value for name, value in results.items() if name != "data_source"}
    return ", ".join(f"{name} {short(value)}" for name, value in figures.items())


def _point(link: Path, folder: Path) -> None:
    """Point a link to a folder in one step: a reader sees the old one or the new one."""
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".latest-{secrets.token_hex(4)}")
    fresh.symlink_to(os.path.relpath(folder, link.parent))
    fresh.replace(link)
