"""The table at the end of a walkthrough, and where to look next."""

import sys
from shlex import quote
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from taxi_lib import settings
from taxi_lib.terminal import printable


def rows(report: dict[str, Any]) -> list[dict[str, str]]:
    """Return one row a notebook: name, status, seconds, and its results in a line."""
    return [
        {
            "notebook": run["name"],
            "status": run["status"],
            "seconds": f"{run['seconds']:.1f}",
            "results": run["error"] or _in_a_line(run["results"]) + _since(run["changed"]),
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
            *(escape(printable(value)) for value in row.values()),
            style="red" if row["status"] == "failed" else None,
        )
    console.print()
    console.print(table)
    console.print(printable(_next_steps(report)), soft_wrap=True, highlight=False, markup=False)


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
            f"Data            : {report['data_source'] or 'no months'}",
            f"Executed lessons: {report['folder']}  (.ipynb, .html, .log, .json, and summary.json)",
            f"Prefect, MLflow : {moved}{quote(sys.executable)} -m taxi_lib ui",
        ]
    )


def _since(changed: str) -> str:
    return f" ({changed} changed since it began: run again)" if changed else ""


def _in_a_line(results: dict[str, Any]) -> str:
    def short(value: object) -> str:
        if isinstance(value, float):
            return f"{value:.3f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    figures = {name: value for name, value in results.items() if name != "data_source"}
    return ", ".join(f"{name} {short(value)}" for name, value in figures.items())
