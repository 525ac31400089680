"""The first page of a run, ``index.html``: its notebooks, and on top the cell that failed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from taxi_lib.runner.console import results_line
from taxi_lib.runner.html import plain


def index_page(report: dict[str, Any]) -> str:
    """Return the page of a run from its summary; its links are relative to the run's folder."""
    title = f"Run {Path(report['folder']).name}: {report['status']} in {report['seconds']:.0f} s"
    return plain.page(title, _parts(report))


def _parts(report: dict[str, Any]) -> Iterator[str]:
    for run in report["notebooks"]:
        if run["status"] == "failed":
            yield f"<h2>{plain.text(run['name'])} failed</h2><p>{plain.text(run['error'])}</p>"
            if run.get("cell"):
                yield plain.code(run["cell"])
    if each := report.get("each"):
        yield from _values(each, Path(report["folder"]))
    heads = ("notebook", "status", "seconds", "results", "")
    yield plain.table(heads, (_row(run, Path(report["folder"])) for run in report["notebooks"]))
    source = report["data_source"]  # None when no notebook takes a month
    data = f"Data: {plain.text(source)}. " if source else ""
    yield f'<p class="quiet">{data}<a href="summary.json">summary.json</a></p>'


def _values(each: dict[str, Any], folder: Path) -> Iterator[str]:
    rows = (
        (_link(Path(run["folder"]) / "index.html", folder, str(run["value"])), *_about(run))
        for run in each["runs"]
    )
    yield plain.table((each["name"], "status", "seconds", "error"), rows)
    if (folder / "trend.png").exists():
        yield '<p><img alt="The results by value" src="trend.png"></p>'


def _about(run: dict[str, Any]) -> tuple[str, str, str]:
    return plain.status(run["status"]), f"{run['seconds']:.1f}", plain.text(run["error"] or "")


def _row(run: dict[str, Any], folder: Path) -> tuple[str, ...]:
    files = [Path(run[kind]) for kind in ("html", "log", "output") if run.get(kind)]
    page = next((path for path in files if path.suffix == ".html"), None)
    return (
        _link(page, folder, run["name"]) if page else plain.text(run["name"]),
        plain.status(run["status"]),
        f"{run['seconds']:.1f}",
        plain.text(run["error"] or results_line(run)),
        " ".join(_link(path, folder, path.suffix[1:]) for path in files),
    )


def _link(path: Path, folder: Path, words: str) -> str:
    if not path.is_relative_to(folder):
        return plain.text(words)
    return f'<a href="{quote(str(path.relative_to(folder)))}">{plain.text(words)}</a>'
