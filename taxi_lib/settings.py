"""Where things are: the workspace, the data, the runs, the tracking store and Prefect's home.

They can be set by environment variables, which are read at each call, not at import:

======================  ==========================================  ===========================
variable                what it holds                               default
======================  ==========================================  ===========================
``TAXI_DATA_DIR``       the months, as parquet files                ``data/`` in the workspace
``TAXI_RUNS_DIR``       executed notebooks, MLflow, Prefect         ``runs/`` in the workspace
``TAXI_TLC_URL``        where the months are downloaded from        the TLC's public address
``MLFLOW_TRACKING_URI`` the MLflow store                            ``mlflow.db`` in the runs
``PREFECT_HOME``        Prefect's database and results              ``prefect/`` in the runs
``TAXI_WORKSPACE``      the workspace, if the library was           the current folder
                        installed without the lessons
======================  ==========================================  ===========================

Relative paths start at the current folder; other processes get them as absolute paths.
"""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from taxi_lib.errors import TaxiError

# Removed from the environment: lessons must not use your own profile, database, experiment or run.
# MLflow sets its three by itself, for a store that may be another one.
_NOT_FOR_LESSONS = (
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_ID",
    "PREFECT_PROFILE",
    "PREFECT_PROFILES_PATH",
    "PREFECT_API_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
)
TLC_URL = "https://d37ci6vzurychx.cloudfront.net/trip-data"


def checkout() -> Path | None:
    """Return the folder of ``notebooks/`` and ``taxi_lib/``; None if the lessons are missing."""
    folder = Path(__file__).resolve().parents[1]
    return folder if (folder / "notebooks").is_dir() else None


def workspace() -> Path:
    """Return the folder of ``data/`` and ``runs/``: the checkout, else the current folder."""
    return checkout() or _in_full(os.environ.get("TAXI_WORKSPACE", ""))


def notebooks_dir() -> Path:
    """Return the folder of the lessons; refuse if the library was installed without them."""
    if not (folder := checkout()):
        raise TaxiError(
            "The lessons were not installed with the library: name a folder of notebooks with "
            "--folder, or work in a copy of the whole workbook."
        )
    return folder / "notebooks"


def data_dir() -> Path:
    """Return the folder of the months: ``TAXI_DATA_DIR``, or ``data/`` in the workspace.

    Raises
    ------
    TaxiError
        When ``TAXI_DATA_DIR`` names no folder; a typing error must not lead to made-up trips.
    """
    folder = _folder("TAXI_DATA_DIR", "data")
    if os.environ.get("TAXI_DATA_DIR") and not folder.is_dir():
        raise TaxiError(f"TAXI_DATA_DIR is {folder}, which is no folder: make it, or correct it.")
    return folder


def runs_dir() -> Path:
    """Return the folder of what notebooks leave behind: ``TAXI_RUNS_DIR``, or ``runs/``."""
    return _folder("TAXI_RUNS_DIR", "runs")


def tlc_url() -> str:
    """Return the address of the folder with the TLC's files: ``TAXI_TLC_URL``, or the TLC's own.

    Raises
    ------
    TaxiError
        When ``TAXI_TLC_URL`` is no web address; a typing error must not lead to made-up trips.
    """
    address = os.environ.get("TAXI_TLC_URL", "").strip() or TLC_URL
    try:
        parts = urlsplit(address)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # its port is no number, or a bracket is missing
        fits = False
    if not fits:
        raise TaxiError(
            f"TAXI_TLC_URL is {address!r}, which is no web address: "
            "write it like https://example.org/trip-data."
        )
    return address.rstrip("/")


def tracking_uri() -> str:
    """Return the MLflow store: ``MLFLOW_TRACKING_URI``, or one SQLite file in the runs folder.

    Raises
    ------
    TaxiError
        When its path contains ``%`` or ``?``, which have a meaning in SQLite addresses: MLflow
        would silently write to another folder.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri and not uri.startswith("sqlite:///"):
        return _address_in_full(uri)
    path = _in_full(uri.removeprefix("sqlite:///") or str(runs_dir() / "mlflow.db"))
    if {"%", "?"} & set(str(path)):
        raise TaxiError(
            f"MLflow cannot keep its store at {path}: the path holds % or ?; "
            "choose a folder without them."
        )
    return f"sqlite:///{path}"


def prefect_home() -> Path:
    """Return the folder of Prefect's database: ``PREFECT_HOME``, or ``prefect/`` in the runs."""
    return _in_full(os.environ.get("PREFECT_HOME") or runs_dir() / "prefect")


def store_file() -> Path | None:
    """Return the SQLite file of the MLflow store; None when a server keeps the store."""
    uri = tracking_uri()
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def has_database() -> bool:
    """Return whether the MLflow store is a database of ours, not a server that looks after it."""
    return tracking_uri().startswith(("sqlite:", "postgresql", "mysql", "mssql"))


def artifact_root() -> dict[str, str]:
    """Return MLflow's variable for the place of experiments' files: beside a SQLite store.

    With another database they are in the runs folder.

    Without it, MLflow keeps the files of each experiment that it creates in the current working
    directory; in a notebook that is the folder of one run, which may be deleted.
    """
    if not has_database():
        return {}
    store = store_file()
    folder = (store.parent if store else runs_dir()) / "mlartifacts"
    return {"_MLFLOW_SERVER_ARTIFACT_ROOT": folder.as_uri()}


def lock_file(name: str) -> Path:
    """Return a file for processes to lock, so that only one of them at a time does something."""
    folder = runs_dir() / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def environment() -> dict[str, str]:
    """Return the environment variables that all processes of the workbook have in common.

    They name the folders above, keep Prefect inside the workspace, and keep the tools quiet and
    off the network. Variables that are set already keep their values.
    """
    quiet = {
        # Prefect waits 20 s for its private server, which is too short on a busy laptop.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # Of the console only: Prefect's page still shows every INFO line.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "DO_NOT_TRACK": "1",
        # XGBoost's threads spin while they wait for each other. Beside one busy process on two
        # cores, a training of 8 s takes 60 s so, and 15 s when they stop spinning early.
        "GOMP_SPINCOUNT": "1000",
        # Sums in linear algebra depend on the number of threads, and a solver that stops early
        # carries that into the third digit: one thread gives the same figures everywhere.
        "OPENBLAS_NUM_THREADS": "1",
    }
    # Servers on this machine are reached without a proxy. Programs that find the variable in small
    # letters do not look at the other one.
    no_proxy = [name for name in ("no_proxy", "NO_PROXY") if name in os.environ] or ["NO_PROXY"]
    direct = os.environ.get(no_proxy[0], "").split(",")
    folders = {
        "TAXI_RUNS_DIR": str(runs_dir()),
        "MLFLOW_TRACKING_URI": tracking_uri(),
        **artifact_root(),
        "PREFECT_HOME": str(prefect_home()),
        **dict.fromkeys(no_proxy, ",".join(sorted({"127.0.0.1", "localhost", *direct} - {""}))),
    }
    if not checkout():
        folders["TAXI_WORKSPACE"] = str(workspace())
    if os.environ.get("TAXI_DATA_DIR"):
        folders["TAXI_DATA_DIR"] = str(data_dir())
    return quiet | {name: os.environ[name] for name in quiet if name in os.environ} | folders


def use_workspace() -> None:
    """Set :func:`environment` for this process, and make the runs folder.

    Call it before you import NumPy, Prefect, MLflow or XGBoost: they read theirs at import.

    Raises
    ------
    TaxiError
        When the runs folder cannot be made or written to.
    """
    for name in _NOT_FOR_LESSONS:
        os.environ.pop(name, None)
    os.environ.update(environment())
    try:
        runs_dir().mkdir(parents=True, exist_ok=True)
        fault = "" if os.access(runs_dir(), os.W_OK) else "it is read-only"
    except OSError as error:
        fault = error.strerror or str(error)
    if fault:
        raise TaxiError(
            f"Runs cannot be kept in {runs_dir()} ({fault}): set TAXI_RUNS_DIR to another folder."
        )


def _folder(variable: str, default: str) -> Path:
    """Return the folder that a variable names, or one in the workspace."""
    return _in_full(os.environ.get(variable) or workspace() / default)


def _in_full(path: Path | str) -> Path:
    """Return an absolute path without links."""
    # Unlike pathlib, these accept an unknown home and links that lead in a circle.
    return Path(os.path.realpath(os.path.expanduser(path)))  # noqa: PTH111


def _address_in_full(uri: str) -> str:
    """Return the address of an MLflow store, with an absolute path if it is a folder."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and not parts.netloc and not parts.path.startswith("/"):
        return _in_full(unquote(parts.path)).as_uri()
    return uri if parts.scheme or uri == "databricks" else str(_in_full(uri))
