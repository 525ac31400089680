"""MLflow: one store whatever the working directory, and models logged so that they load safely."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mlflow
import pandas as pd
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, Schema
from sklearn.pipeline import Pipeline
from sqlalchemy.exc import SQLAlchemyError

from taxi_lib import settings
from taxi_lib.errors import TaxiError
from taxi_lib.keeper import kept
from taxi_lib.ports import check_free, is_healthy
from taxi_lib.processes import Command, program

EXPERIMENT = "nyc-green-taxi"
# In a new process: this one keeps its connection to the old file.
_NEW = "move it away and start again, and a new one is made"
# What SQLite and MLflow say of a store that is of no use, and what to do about it.
_FAULTS = {
    "file is not a database": _NEW,
    "database disk image is malformed": _NEW,
    "out-of-date database schema": _NEW,
    "database or disk is full": "make room there, and try again",
    "disk I/O error": "make room there, and try again",
}
# What skops, MLflow's safe format, may find in our own pipelines beside what it knows to be
# harmless. scikit-learn's trees are here because a forged one could crash the process.
_TRUSTED = [
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "taxi_lib.features.store_zeros",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBRegressor",
]


def use_store(experiment: str = EXPERIMENT) -> str:
    """Point MLflow at the workbook's store and experiment; make them if they are not there.

    Parameters
    ----------
    experiment : str
        The experiment's name.

    Returns
    -------
    str
        The experiment's id.

    Raises
    ------
    TaxiError
        When the store's file is no store, is damaged, or cannot be written to.
    """
    uri = settings.tracking_uri()
    mlflow.set_tracking_uri(uri)
    os.environ.update(settings.artifact_root())
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of its tables
    if not uri.startswith("sqlite:///"):
        return mlflow.set_experiment(experiment).experiment_id  # a server minds its own store
    store = Path(uri.removeprefix("sqlite:///"))
    store.parent.mkdir(parents=True, exist_ok=True)
    _check_writable(store)
    # Two processes that create a SQLite store at once can leave it unusable: one at a time.
    with FileLock(f"{store}.lock"):
        try:
            _make(store, experiment)
        except (SQLAlchemyError, MlflowException) as error:
            for fault, remedy in _FAULTS.items():
                if fault in str(error):
                    raise _useless(store, fault, remedy) from error
            raise
    return mlflow.set_experiment(experiment).experiment_id


def _check_writable(store: Path) -> None:
    """Refuse at once what MLflow would try to open for minutes, or fail to write to later."""
    if store.is_dir():
        raise _useless(store, "it is a folder", _NEW)
    for path in (store, store.parent):
        if path.exists() and not os.access(path, os.W_OK):
            remedy = "make it writable, or set TAXI_RUNS_DIR to a folder of yours"
            raise _useless(store, f"{path} is read-only", remedy)


def _useless(store: Path, fault: str, remedy: str) -> TaxiError:
    return TaxiError(f"MLflow cannot use its store {store} ({fault}): {remedy}.")


def _make(store: Path, experiment: str) -> None:
    """Make the store's tables, and the experiment, if they are not there."""
    if not store.exists():
        # Under another name first: half of the tables would be of no use.
        partial = store.with_suffix(".part.db")
        partial.unlink(missing_ok=True)
        mlflow.MlflowClient(f"sqlite:///{partial}").search_experiments(max_results=1)
        partial.replace(store)
    if mlflow.get_experiment_by_name(experiment) is None:
        # The tag makes MLflow's page open on the training runs, not on chats with agents.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        artifacts = (store.parent / "mlartifacts" / experiment).as_uri()
        mlflow.create_experiment(experiment, artifacts, tags=kind)


@contextmanager
def page(port: int = 5000) -> Iterator[str]:
    """Serve MLflow's page on the workbook's store, on loopback; yield its address.

    Raises
    ------
    TaxiError
        When the port is taken, or the page does not come up.
    """
    uri = settings.tracking_uri()
    if not uri.startswith("sqlite:///"):
        yield uri  # a server brings its own page
        return
    use_store()
    # By itself MLflow would also answer as 10.evil.com, which it takes for a private network.
    names = f"127.0.0.1:{port},localhost:{port}"
    where = ["--host", "127.0.0.1", "--port", str(port), "--allowed-hosts", names, "--workers", "1"]
    start = [program("mlflow"), "server", "--backend-store-uri", uri, *where]
    # Its jobs would be a process more, for what the workbook does not use.
    env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    def command(_: str | None) -> Command:
        check_free(port)
        return Command(start, env, f"http://127.0.0.1:{port}")

    with kept(settings.lock_file("mlflow-page.lock"), command, is_healthy) as address:
        yield address


def log_pipeline(model: Pipeline, trips: pd.DataFrame, name: str = "model") -> ModelInfo:
    """Log a fitted pipeline to the active run: the object that was scored, not a copy.

    Parameters
    ----------
    model : sklearn.pipeline.Pipeline
        Fitted; predicts from the columns of `trips`.
    trips : pandas.DataFrame
        Trips with just the columns that the model needs; their types become its signature.
    name : str
        The model's name.

    Returns
    -------
    mlflow.models.model.ModelInfo
        With the address under which :func:`mlflow.sklearn.load_model` finds it.
    """
    return mlflow.sklearn.log_model(
        model,
        name=name,
        signature=_signature(trips),
        pip_requirements=_requirements(),
        skops_trusted_types=_TRUSTED,
    )


def model_uri(run_id: str) -> str:
    """Return the address of the model that a run logged, or refuse when it is not just one.

    From there it is read where it lies; of ``runs:/…/model`` MLflow makes a copy each time, and
    leaves it among the temporary files.
    """
    logged = mlflow.get_run(run_id).outputs.model_outputs
    if len(logged) != 1:
        raise TaxiError(f"Run {run_id} logged {len(logged)} models, not one: choose another run.")
    return f"models:/{logged[0].model_id}"


def _signature(trips: pd.DataFrame) -> ModelSignature:
    """Return what goes in and out; said by us, for MLflow's guess warns of every whole number."""
    kinds = {"i": "long", "f": "double"}
    columns = [ColSpec(kinds.get(kind.kind, "string"), name) for name, kind in trips.dtypes.items()]
    return ModelSignature(Schema(columns), Schema([ColSpec("double", "duration")]))


def _requirements() -> list[str]:
    """Return the packages a logged model needs; MLflow would spend seconds guessing them."""
    return [f"{name}=={version(name)}" for name in ("scikit-learn", "skops", _xgboost())]


def _xgboost() -> str:
    try:
        version("xgboost-cpu")
    except PackageNotFoundError:
        return "xgboost"
    return "xgboost-cpu"
