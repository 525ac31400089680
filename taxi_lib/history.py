"""The runs that lie in ``runs/``: the one to go on with, and those to be thrown away."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taxi_lib import pointers, settings, summary
from taxi_lib.errors import TaxiError
from taxi_lib.ongoing import going_on
from taxi_lib.storage import newest_first, real_path


def past_runs() -> list[Path]:
    """Return the folders of the runs under ``runs/``, the newest first."""
    summaries = newest_first(settings.runs_dir().glob("*/summary.json"))
    folders = [path.parent for path in summaries if path.parent.name != "latest"]
    return [folder for folder in folders if not folder.is_symlink()]


def to_resume(folder: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """Return the folder and the summary of the run to go on with.

    Parameters
    ----------
    folder : pathlib.Path, optional
        Its folder; that of the last run of this workspace when left out.

    Raises
    ------
    TaxiError
        When there is none, or it came to a good end: an earlier one is not what was meant.
    """
    known = (run for run in past_runs() if summary.read(run))
    last = real_path(folder) if folder else summary.last_run() or next(known, None)
    report = summary.read(last) if last else None
    if not report:
        where = last or settings.runs_dir()
        raise TaxiError(f"There is no run to go on with in {where}: run without --resume.")
    if report["status"] == "completed":
        raise TaxiError(
            f"{last} was completed, there is nothing to go on with: run without --resume, which "
            "runs what has changed since, or name an earlier run with --run-dir."
        )
    return last, report


def prune(keep: int, tell: Callable[[str], None] = lambda sentence: None) -> list[Path]:
    """Remove all but the newest runs, and the records of what is gone with them.

    Parameters
    ----------
    keep : int
        How many stay; ``runs/latest`` and runs that are going on stay in any case, and so does a
        folder whose files something still needs.
    tell : callable
        Is given a sentence about each folder that stays because its files are needed.

    Returns
    -------
    list of pathlib.Path
        The folders that were removed.

    Raises
    ------
    TaxiError
        When MLflow's store cannot be read: nothing is removed then.
    """
    busy = {Path(run.folder) for run in going_on()}
    stay = busy | {real_path(settings.runs_dir() / "latest"), summary.last_run()}
    old = {folder for folder in past_runs()[keep:] if real_path(folder) not in stay}
    while needed := pointers.needed(old):  # what one of those needs, has to stay too
        for folder, why in needed.items():
            tell(f"{folder} stays, because {why} needs files in it.")
        old -= needed.keys()
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
    for path in (settings.runs_dir() / ".records").glob("*/*.json"):
        try:
            files = json.loads(path.read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            files = [str(path.parent / "damaged")]
        if not all(Path(name).exists() for name in files):
            path.unlink(missing_ok=True)
    return sorted(folder for folder in old if not folder.exists())
