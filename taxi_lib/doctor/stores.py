"""What lessons write to: the runs folder, MLflow's store, Prefect's home and database."""

import re
import shlex
import sqlite3
import sys
import time
import tomllib
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from taxi_lib import settings
from taxi_lib.doctor.findings import Findings, ok, problem, warning
from taxi_lib.doctor.folders import fault_of

_SECONDS = 0.5  # for the whole of a database; of a large one, only the beginning is checked
_MAGIC = b"SQLite format 3\0"
_AWAY = "move it away, and a new one is made"


def check_runs() -> Findings:
    """Look whether runs can be kept."""
    folder = settings.runs_dir()
    if fault := fault_of(folder):
        yield problem(f"Runs cannot be kept in {folder} ({fault})", "set TAXI_RUNS_DIR to another")
    else:
        yield ok(str(folder))


def check_mlflow() -> Findings:
    """Look whether MLflow's store can be opened, and is of the installed MLflow."""
    store = settings.store_file()
    if store is None:
        yield ok("kept elsewhere, see MLflow's address below")
        return
    if fault := fault_of(store.parent):
        yield problem(f"MLflow cannot keep its store {store} ({fault})", "set TAXI_RUNS_DIR")
        return
    known, newest = _revisions("mlflow", "store/db_migrations/versions")
    upgrade = shlex.join([sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{store}"])
    for finding in _database(store, "MLflow", known):
        yield finding
        return
    if (now := _revision(store)) and newest and now != newest:
        fault = f"{store} is of an older MLflow"
        yield problem(fault, f"make a copy of it, then run {upgrade}")
    else:
        yield ok(str(store) if store.exists() else f"{store}, not made yet")


def check_prefect() -> Findings:
    """Look whether Prefect can use its home, its profiles and its database."""
    home = settings.prefect_home()
    if fault := fault_of(home):
        yield problem(f"Prefect cannot use its home {home} ({fault})", "set PREFECT_HOME")
        return
    faults = 0
    if fault := fault_of_toml(home / "profiles.toml"):
        faults += 1
        yield problem(fault, "correct it, or delete it")
    # An older database is upgraded when the server starts.
    known, _ = _revisions("prefect", "server/database/_migrations/versions/sqlite")
    for finding in _database(home / "prefect.db", "Prefect", known):
        faults += 1
        yield finding
    if not faults:
        yield ok(str(home) if home.exists() else f"{home}, not made yet")


def fault_of_toml(path: Path) -> str:
    """Return why a file cannot be read as TOML; nothing if it can, or is not there."""
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        why = " ".join(str(getattr(error, "strerror", None) or error).split())
        return f"{path} cannot be read ({why})"
    return ""


def _database(path: Path, program: str, known: set[str]) -> Findings:
    """Look whether a SQLite file can be opened, if it is there, and is not of a newer program."""
    try:
        if not path.exists() or (path.is_file() and path.stat().st_size == 0):
            return
        with path.open("rb+"):  # nothing is written
            pass
        with closing(_connect(path)) as database:
            for (fault,) in database.execute("PRAGMA quick_check(1)"):
                if fault != "ok":
                    yield problem(f"{path} is damaged ({fault})", _AWAY)
                    return
        revision = _revision(path)
    except OSError as error:
        yield problem(f"{path} cannot be used ({error.strerror})", "make it a file of yours")
    except sqlite3.Error as error:
        if "locked" in str(error):
            wait = "wait until the other program has written, or stop it"
            yield warning(f"{path} is in use ({error})", wait)
        elif "interrupted" not in str(error):
            yield problem(f"{path} cannot be used ({error})", _AWAY)
    else:
        if revision and known and revision not in known:
            newer = f"{path} is of a newer {program}, this one does not know {revision}"
            yield problem(newer, f"install that {program}, or {_AWAY}")


def _revision(path: Path) -> str:
    """Return the version of a database's tables; empty when it has none."""
    if not path.exists() or not path.stat().st_size:
        return ""
    with closing(_connect(path)) as database:
        names = database.execute("SELECT name FROM sqlite_master").fetchall()
        if ("alembic_version",) not in names:
            return ""
        row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    return row[0] if row else ""


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database for reading, so that no file is made beside it."""
    with path.open("rb") as file:
        header = file.read(20)
    # A database in WAL mode needs two more files. Where they are missing, nobody uses it.
    is_wal = header.startswith(_MAGIC) and header[18:20] == b"\2\2"
    alone = is_wal and not path.with_name(f"{path.name}-shm").exists()
    query = "immutable=1" if alone else "mode=ro"
    database = sqlite3.connect(f"{path.absolute().as_uri()}?{query}", uri=True, timeout=0.2)
    end = time.monotonic() + _SECONDS
    database.set_progress_handler(lambda: time.monotonic() > end, 10_000)
    return database


def _revisions(package: str, folder: str) -> tuple[set[str], str]:
    """Return the versions of tables that a package knows, and the newest of them."""
    found = find_spec(package)
    places = list(found.submodule_search_locations or []) if found else []
    files = [path for place in places for path in Path(place, folder).glob("*.py")]
    texts = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)
    known = set(re.findall(r"""^revision\b[^=\n]*= *["'](\w+)""", texts, re.MULTILINE))
    before = set(re.findall(r"""^down_revision\b[^=\n]*= *["'](\w+)""", texts, re.MULTILINE))
    newest = known - before
    return known, newest.pop() if len(newest) == 1 else ""
