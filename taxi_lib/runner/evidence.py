"""What a past run left of each notebook, read again: status, inputs, results and figures."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taxi_lib import settings
from taxi_lib.atomic_files import real_path
from taxi_lib.errors import TaxiError
from taxi_lib.results import Value
from taxi_lib.runner import past_runs, run_folder
from taxi_lib.runner.fingerprints import Inputs
from taxi_lib.runner.notebook_file import headings


@dataclass(frozen=True)
class Evidence:
    """What a run left of one notebook.

    Attributes
    ----------
    name : str
        The notebook; with its value before it, ``2021-01/01_prepare``, in a run over several.
    status, seconds, results, error
        As ``summary.json`` has them.
    inputs : dict
        What it depended on, from its record; empty without one.
    versions : dict of str to str
        Of the main packages, from its record.
    ended : str
        When it ended, in ISO format; empty without a record.
    output : pathlib.Path or None
        The executed notebook, if it is still there.
    made : dict of str to str
        The fingerprint of each file that is a result, by its path.
    """

    name: str
    status: str
    seconds: float
    results: dict[str, Value]
    error: str | None
    inputs: Inputs = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    ended: str = ""
    output: Path | None = None
    made: dict[str, str] = field(default_factory=dict)

    def cells(self) -> list[dict[str, Any]]:
        """Return the executed cells; none when the notebook is gone or damaged."""
        return _json(self.output).get("cells", []) if self.output else []

    def figures(self) -> dict[str, str]:
        """Return the figures, as PNG in base64, by the number and the heading of their cell."""
        found, heading = {}, ""
        for number, cell in enumerate(self.cells(), start=1):
            source = "".join(cell.get("source", ""))
            if cell.get("cell_type") == "markdown":
                heading = next((text for _, text in headings(source)), heading)
            for output in cell.get("outputs", []):
                if picture := output.get("data", {}).get("image/png"):
                    place = f"cell {number} · {heading}".removesuffix(" · ")
                    found[_free(place, found)] = "".join(picture).replace("\n", "")
        return found


def _free(place: str, taken: dict[str, str]) -> str:
    names = (place if n == 1 else f"{place} ({n})" for n in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def read_run(folder: Path) -> dict[str, Evidence]:
    """Return what a run left, by notebook, in the order of its summary.

    Raises
    ------
    TaxiError
        When the folder holds no run.
    """
    report = run_folder.read(folder)
    if not report:
        raise TaxiError(f"There is no run in {folder}: name a folder with a summary.json.")
    return {run["name"]: _evidence(run, folder) for run in report["notebooks"]}


def _evidence(run: dict[str, Any], folder: Path) -> Evidence:
    output = Path(run["output"]) if run.get("output") else None
    if output and not output.exists():  # the folder was moved or copied
        output = folder / output.relative_to(output.parents[run["name"].count("/")])
    record = _json(output.with_suffix(".json")) if output else {}
    return Evidence(
        run["name"],
        run["status"],
        run["seconds"],
        run["results"],
        run["error"],
        record.get("inputs", {}),
        record.get("versions", {}),
        record.get("ended", ""),
        output if output and output.exists() else None,
        run.get("made", {}),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def find_run(name: str | Path) -> Path:
    """Return the folder of a run, named by its path or by its name under ``runs/``.

    Raises
    ------
    TaxiError
        When there is none.
    """
    for folder in (Path(name), settings.runs_dir() / name):
        if run_folder.read(folder):
            return real_path(folder)
    known = ", ".join(folder.name for folder in past_runs.past_runs()[:3]) or "none"
    raise TaxiError(f"There is no run {str(name)!r}: the last ones are {known}.")
