"""Where things are: the workspace, the data, the runs, the tracking store and Prefect's home.

Everything is read from environment variables when it is asked for, never at import:

======================  ==========================================  ===========================
variable                what it holds                               default
======================  ==========================================  ===========================
``TAXI_DATA_DIR``       the months, as parquet files                ``data/`` in the workspace
``TAXI_RUNS_DIR``       executed notebooks, MLflow, Prefect         ``runs/`` in the workspace
``TAXI_TLC_URL``        where the TLC's files are downloaded from   the TLC's public address
``MLFLOW_TRACKING_URI`` the MLflow store                            ``mlflow.db`` in the runs
``PREFECT_HOME``        Prefect's database and results              ``prefect/`` in the runs
======================  ==========================================  ===========================
"""

import os
from pathlib import Path

from taxi_lib.errors import TaxiError

TLC_URL = "https://d37ci6vzurychx.cloudfront.net/trip-data"


def workspace() -> Path:
    """Return the folder that holds ``notebooks/`` and ``taxi_lib/``."""
    return Path(__file__).resolve().parents[1]


def notebooks_dir() -> Path:
    """Return the folder of the lessons."""
    return workspace() / "notebooks"


def data_dir() -> Path:
    """Return the folder of the months: ``TAXI_DATA_DIR``, or ``data/`` in the workspace."""
    return _folder("TAXI_DATA_DIR", "data")


def runs_dir() -> Path:
    """Return the folder of everything that running makes: ``TAXI_RUNS_DIR``, or ``runs/``."""
    return _folder("TAXI_RUNS_DIR", "runs")


def tlc_url() -> str:
    """Return the address under which the TLC's monthly files lie: ``TAXI_TLC_URL`` (a mirror)."""
    return os.environ.get("TAXI_TLC_URL", TLC_URL).rstrip("/")


def tracking_uri() -> str:
    """Return the MLflow store: ``MLFLOW_TRACKING_URI``, or one SQLite file in the runs folder.

    Raises
    ------
    TaxiError
        When the path of the runs folder holds ``%`` or ``?``, which a SQLite address
        takes for something else: MLflow would write to another folder in silence.
    """
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    path = runs_dir() / "mlflow.db"
    if {"%", "?"} & set(str(path)):
        raise TaxiError(
            f"MLflow cannot keep its store at {path}: the path holds % or ?; "
            "set TAXI_RUNS_DIR to a folder without them."
        )
    return f"sqlite:///{path}"


def lock_file(name: str) -> Path:
    """Return the file that processes lock to do one thing one after another."""
    folder = runs_dir() / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def prefect_environment() -> dict[str, str]:
    """Return the variables that keep Prefect inside the workspace, quiet and off the network.

    Your own Prefect profile and database stay untouched. What is already set wins,
    so a ``PREFECT_API_URL`` in the environment joins that server instead of a private one.
    """
    wanted = {
        "PREFECT_HOME": str(runs_dir() / "prefect"),
        # A busy laptop needs longer than the 20 s that Prefect waits for its private server.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
        # Only the console is quiet: Prefect's API still receives every INFO line.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def use_workspace_prefect() -> None:
    """Set :func:`prefect_environment` for this process. Call it before Prefect is imported."""
    os.environ.update(prefect_environment())


def _folder(variable: str, default: str) -> Path:
    """Return the folder a variable names: a relative one is taken from here, else the workspace."""
    folder = Path(os.environ.get(variable) or default).expanduser()
    if folder.is_absolute():
        return folder
    if os.environ.get(variable) and folder.is_dir():
        return folder.resolve()
    return (workspace() / folder).resolve()
