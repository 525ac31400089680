"""The runs in ``runs/``: which one to resume, which to remove, and what needs their files."""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from taxi_lib import mlflow_store, settings
from taxi_lib.atomic_files import newest_first, real_path
from taxi_lib.errors import TaxiError
from taxi_lib.runner import cache, run_folder
from taxi_lib.runner.live_run import registered_runs


def past_runs() -> list[Path]:
    """Return the folders of the runs under ``runs/``, the newest first."""
    summaries = newest_first(settings.runs_dir().glob("*/summary.json"))
    folders = [path.parent for path in summaries if path.parent.name != "latest"]
    return [folder for folder in folders if not folder.is_symlink()]


def to_resume(folder: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """Return the folder and the summary of the run to go on with: this one, or the last.

    Raises
    ------
    TaxiError
        When there is none, or it was completed.
    """
    known = (run for run in past_runs() if run_folder.read(run))
    last = real_path(folder) if folder else run_folder.last_run() or next(known, None)
    report = run_folder.read(last) if last else None
    if not report:
        where = last or settings.runs_dir()
        raise TaxiError(f"There is no run to go on with in {where}: run without --resume.")
    if report["status"] == "completed":
        raise TaxiError(
            f"{last} was completed, there is nothing to go on with: run without --resume, which "
            "runs what has changed since, or name an earlier run with --run-dir."
        )
    return last, report


def prune(keep: int, warn: Callable[[str], None] = lambda sentence: None) -> list[Path]:
    """Remove all but the newest runs, and their records; return the folders that are gone.

    Parameters
    ----------
    keep : int
        How many stay; so do ``runs/latest``, live runs, and runs whose files are needed.
    warn : callable
        Called with a sentence about each run whose files are needed.

    Raises
    ------
    TaxiError
        When MLflow's store cannot be read: nothing is removed then.
    """
    busy = {Path(run.folder) for run in registered_runs()}
    stay = busy | {real_path(settings.runs_dir() / "latest"), run_folder.last_run()}
    old = {folder for folder in past_runs()[keep:] if real_path(folder) not in stay}
    while reasons := needed(old):  # again: a run that stays may need another
        for folder, why in reasons.items():
            warn(f"{folder} stays, because {why} needs files in it.")
        old -= reasons.keys()
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
    for path in cache.record_files():
        if not _stays(path, set()):
            path.unlink(missing_ok=True)
    return sorted(folder for folder in old if not folder.exists())


def needed(folders: Iterable[Path]) -> dict[Path, str]:
    """Return which folders of runs are needed by something outside of them, and by what.

    That is MLflow's store, a variable of :mod:`taxi_lib.settings`, a file of another run, or a
    link.

    Raises
    ------
    TaxiError
        When MLflow's store cannot be read.
    """
    patterns = {folder: _pattern(folder) for folder in folders}
    found: dict[Path, str] = {}
    for what, text in _texts(set(patterns)) if patterns else ():
        for folder, pattern in patterns.items():
            if pattern.search(text):
                found.setdefault(folder, what)
    return found


def _pattern(folder: Path) -> re.Pattern[str]:
    """Return a pattern for a folder or a file in it, as a path or an address, in JSON or not."""
    path = str(folder.resolve())
    quoted = (json.dumps(path, ensure_ascii=ascii)[1:-1] for ascii in (False, True))
    spellings = {path, folder.resolve().as_uri(), *quoted}
    return re.compile(rf"({'|'.join(map(re.escape, spellings))})(?=[/\"'\\\s]|$)")


def _texts(going: set[Path]) -> Iterator[tuple[str, str]]:
    """Yield what may need a file, and the text in which the file would be named."""
    for what, place in mlflow_store.places():
        yield f"MLflow's {what}", place
    yield from settings.environment().items()
    staying = [p.parent for p in settings.runs_dir().glob("*/summary.json")]
    staying = [folder for folder in staying if folder not in going and not folder.is_symlink()]
    for path in (path for folder in staying for path in folder.glob("*.json")):
        yield str(path), _text(path)
    for path in cache.record_files():
        if _stays(path, going):
            yield str(path), _text(path)
    links = {*settings.runs_dir().glob("*"), *(p for folder in staying for p in folder.rglob("*"))}
    for link in links:
        if link.is_symlink() and link != settings.runs_dir() / "latest":
            yield f"the link {link}", str(link.resolve())


def _stays(record: Path, going: set[Path]) -> bool:
    """Return whether a record is whole, and its files stay; if not, it is removed as well."""
    try:
        files = [Path(name) for name in json.loads(_text(record))["files"]]
    except (ValueError, KeyError, TypeError):
        return False  # damaged
    return all(file.exists() and going.isdisjoint(file.parents) for file in files)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # removed meanwhile
