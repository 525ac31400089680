"""What still needs the files of a run, and would lose them with the run's folder."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from taxi_lib import mlflow_store, settings


def needed(folders: Iterable[Path]) -> dict[Path, str]:
    """Return which folders of runs are needed by something outside of them, and by what.

    Looked at are MLflow's store, the variables of :mod:`taxi_lib.settings`, what the other runs
    recorded and reported, and links.

    Parameters
    ----------
    folders : iterable of pathlib.Path
        Folders right under ``runs/`` that are to be removed together.

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
    """Return what finds a folder or a file in it, as a path or an address, in JSON or not."""
    path = str(folder.resolve())
    quoted = (json.dumps(path, ensure_ascii=ascii)[1:-1] for ascii in (False, True))
    spellings = {path, folder.resolve().as_uri(), *quoted}
    return re.compile(rf"({'|'.join(map(re.escape, spellings))})(?=[/\"'\\\s]|$)")


def _texts(going: set[Path]) -> Iterator[tuple[str, str]]:
    """Yield what may need a file, and the text that would name the file."""
    for what, place in mlflow_store.places():
        yield f"MLflow's {what}", place
    yield from settings.environment().items()
    staying = [p.parent for p in settings.runs_dir().glob("*/summary.json")]
    staying = [folder for folder in staying if folder not in going and not folder.is_symlink()]
    for path in (path for folder in staying for path in folder.glob("*.json")):
        yield str(path), _text(path)
    for path in (settings.runs_dir() / ".records").glob("*/*.json"):
        if _stays(path, going):
            yield str(path), _text(path)
    links = {*settings.runs_dir().glob("*"), *(p for folder in staying for p in folder.rglob("*"))}
    for link in links:
        if link.is_symlink() and link != settings.runs_dir() / "latest":
            yield f"the link {link}", str(link.resolve())


def _stays(record: Path, going: set[Path]) -> bool:
    """Tell whether a record is of a run that stays: else it is removed as well."""
    try:
        files = [Path(name) for name in json.loads(_text(record))["files"]]
    except (ValueError, KeyError, TypeError):
        return False  # damaged
    return all(file.exists() and file.parent not in going for file in files)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # removed meanwhile
