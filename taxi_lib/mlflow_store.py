"""Where MLflow's SQLite store says that files are, read without MLflow."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote

from taxi_lib import settings
from taxi_lib.errors import TaxiError

# The queries for places of files, by what they belong to. Deleted things are included: MLflow can
# restore them. Older versions of MLflow do not have all of these tables.
_PLACES = {
    "experiment": "SELECT name, artifact_location FROM experiments",
    "run": "SELECT name, artifact_uri FROM runs",
    "model": "SELECT name, artifact_location FROM logged_models",
    "registered model": "SELECT name, source FROM model_versions",
    "registered model's copy": "SELECT name, storage_location FROM model_versions",
    "trace": "SELECT request_id, value FROM trace_tags WHERE key = 'mlflow.artifactLocation'",
    "dataset": "SELECT name, dataset_source FROM datasets",
}


def places() -> Iterator[tuple[str, str]]:
    """Yield what the workbook's stores contain, such as ``"run x"``, and where its files are."""
    # Also the one in the runs folder, if another one is in use.
    stores = {settings.store_file(), settings.runs_dir() / "mlflow.db"}
    for store in stores - {None}:
        if store.exists():
            yield from _places_in(store)


def _places_in(store: Path) -> Iterator[tuple[str, str]]:
    try:
        with closing(_connect(store, "ro")) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            for kind, query in _PLACES.items():
                if query.split(" FROM ")[1].split()[0] in tables:
                    for name, place in database.execute(query):
                        yield f"{kind} {name}", place or ""
    except sqlite3.Error as error:
        raise TaxiError(
            f"MLflow's store {store} cannot be read ({error}), so nobody knows which files it "
            "needs: try again, or move it away."
        ) from error


def move_out() -> list[str]:
    """Let experiments keep the files of new runs beside the store; return a sentence for each.

    A plain ``mlflow.set_experiment`` makes the working directory the place of all files of the
    experiment that it creates, and that may be the folder of one run. Existing files stay there.
    """
    store = settings.store_file()
    if store and store.exists():
        with suppress(sqlite3.Error):  # busy or damaged: its next user will report that
            return list(_move_out(store))
    return []


def _move_out(store: Path) -> Iterator[str]:
    root, runs = store.parent / "mlartifacts", settings.runs_dir()
    query = "SELECT experiment_id, name, artifact_location FROM experiments"
    with closing(_connect(store, "rw")) as database, database:
        for number, name, place in database.execute(query).fetchall():
            path = as_path(place or "")
            if path is None or path.is_relative_to(root) or not _is_temporary(path, runs):
                continue
            new = root / str(number)
            database.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                (new.as_uri(), number),
            )
            yield (
                f"MLflow's experiment {name} kept its files in {path}; "
                f"those of new runs go to {new}."
            )


def revision(store: Path) -> str:
    """Return the version of a store's tables in MLflow's count; empty when it has none."""
    with suppress(sqlite3.Error), closing(_connect(store, "ro")) as database:
        for (version,) in database.execute("SELECT version_num FROM alembic_version"):
            return version
    return ""


def _is_temporary(path: Path, runs: Path) -> bool:
    """Return whether a folder belongs to one run, or to a workbook that was moved elsewhere."""
    has_moved = path.parent.name == "mlartifacts" and not path.parent.exists()
    return path.is_relative_to(runs) or has_moved


def as_path(place: str) -> Path | None:
    """Return a place as a path; None when it is not on this machine's disk."""
    if place.startswith("file:"):
        return Path(unquote(place.removeprefix("file:").removeprefix("//"))).resolve()
    return Path(place).resolve() if place.startswith("/") else None


def _connect(store: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{store.as_uri()}?mode={mode}", uri=True, timeout=5)
