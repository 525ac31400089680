"""MLflow: one store for all working directories, and models that can be loaded safely."""

import json
import logging
import os
import re
import shlex
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import skops.io
import yaml
from filelock import FileLock
from sklearn.pipeline import Pipeline

from taxi_lib import mlflow_store, settings
from taxi_lib.atomic_files import sha256_of
from taxi_lib.errors import TaxiError, check_package

try:
    import mlflow
    from mlflow.entities import LifecycleStage, LoggedModel
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature
    from mlflow.models.model import ModelInfo
    from mlflow.types import ColSpec, Schema
except Exception:
    check_package("mlflow")
    raise
EXPERIMENT = "nyc-green-taxi"
_log = logging.getLogger(__name__)
# "Start again", because a running process keeps its connection to the old file.
_NEW = "move it away and start again, and a new one is made"
_ROOM = "make room there, and try again"
# SQLite's messages about a store that cannot be used, and what to do then.
_FAULTS = {
    "file is not a database": _NEW,
    "database disk image is malformed": _NEW,
    "database or disk is full": _ROOM,
    "disk I/O error": _ROOM,
}
# The types in our pipelines that skops, MLflow's safe format, does not trust by itself. It does
# not trust scikit-learn's trees because a forged one could crash the process.
_TRUSTED = [
    "numpy.clip",
    "numpy.expand_dims",
    "scipy.sparse._construct.block_diag",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.model_selection._split.KFold",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "taxi_lib.features.store_zeros",  # in models that an earlier version has logged
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBRegressor",
]
_SKOPS = "model.skops"  # the file with the model
_FINGERPRINTS = "taxi.files"  # a tag of each model: its files' SHA-256, by file name


def make_store(experiment: str = EXPERIMENT) -> str:
    """Make the workbook's store and an experiment in it if need be; return the store's address.

    Raises
    ------
    TaxiError
        When the store's file is no store, is damaged, or cannot be written to.
    """
    uri = settings.tracking_uri()
    mlflow.set_tracking_uri(uri)
    os.environ.update(settings.artifact_root())
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # not each table
    store = settings.store_file()
    if not store:
        _make_experiment(experiment)  # on a server, which looks after its store itself
        return uri
    store.parent.mkdir(parents=True, exist_ok=True)
    _check_writable(store)
    # One process at a time: two that create a SQLite store at once can leave it unusable.
    with FileLock(f"{store}.lock"):
        try:
            _make(store)
            for change in mlflow_store.move_out():
                _log.warning(change)
            _make_experiment(experiment, (store.parent / "mlartifacts" / experiment).as_uri())
        except Exception as error:  # SQLAlchemy's, Alembic's or MLflow's
            if refusal := _diagnosis(store, str(error)):
                raise refusal from error
            raise
    return uri


def use_store(experiment: str = EXPERIMENT) -> str:
    """Let MLflow use the store and an experiment of :func:`make_store`; return its id."""
    make_store(experiment)
    return mlflow.set_experiment(experiment).experiment_id


def _check_writable(store: Path) -> None:
    """Refuse a store that MLflow would try to open for minutes, or could not write to later."""
    if store.is_dir():
        raise _useless(store, "it is a folder", _NEW)
    for path in (store, store.parent):
        if path.exists() and not os.access(path, os.W_OK):
            remedy = "make it writable, or set TAXI_RUNS_DIR to a folder of yours"
            raise _useless(store, f"{path} is read-only", remedy)


def _useless(store: Path, fault: str, remedy: str) -> TaxiError:
    return TaxiError(f"MLflow cannot use its store {store} ({fault}): {remedy}.")


def _diagnosis(store: Path, error: str) -> TaxiError | None:
    """Return what is wrong with a store that MLflow cannot open; None when it is not the store."""
    for fault, remedy in _FAULTS.items():
        if fault in error:
            return _useless(store, fault, remedy)
    if not re.search("out-of-date database schema|Can't locate revision", error):
        return None
    revision = mlflow_store.revision(store)
    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    if any(migrations.glob(f"{revision}_*.py")):
        upgrade = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{store}"]
        remedy = f"make a copy of it, then run {shlex.join(upgrade)}"
        return _useless(store, "it is of an older MLflow", remedy)
    fault = f"it is of a newer MLflow than {mlflow.__version__}, which does not know {revision}"
    return _useless(store, fault, f"use that newer MLflow, or {_NEW}")


def _make(store: Path) -> None:
    """Make the store's tables if need be."""
    if not store.exists():
        # Under another name first: a store with half of its tables could not be used.
        partial = store.with_suffix(".part.db")
        partial.unlink(missing_ok=True)
        mlflow.MlflowClient(f"sqlite:///{partial}").search_experiments(max_results=1)
        partial.replace(store)
    mlflow.MlflowClient().search_experiments(max_results=1)


def _make_experiment(experiment: str, artifacts: str | None = None) -> None:
    """Create or restore an experiment if need be."""
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(experiment)
    if found is None:
        # With this tag MLflow's page opens on the training runs.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        client.create_experiment(experiment, artifacts, tags=kind)
    elif found.lifecycle_stage == LifecycleStage.DELETED:
        client.restore_experiment(found.experiment_id)
        _log.warning("MLflow's experiment %s was deleted: it is back, with its runs.", experiment)


def log_pipeline(model: Pipeline, trips: pd.DataFrame, name: str = "model") -> ModelInfo:
    """Log a fitted pipeline to the active run, so that :func:`load_pipeline` can load it.

    Parameters
    ----------
    model : sklearn.pipeline.Pipeline
        Fitted.
    trips : pandas.DataFrame
        Trips with just the columns that the model needs; their types become its signature.
    name : str
        The model's name.
    """
    logged = mlflow.sklearn.log_model(
        model,
        name=name,
        signature=_signature(trips),
        pip_requirements=_requirements(),
        skops_trusted_types=_TRUSTED,
    )
    client = mlflow.MlflowClient()
    files = _files(client.get_logged_model(logged.model_id))
    known = {name: sha256_of(content or "") for name, content in files.items()}
    # In the database: who can only write files cannot change it.
    client.set_logged_model_tags(logged.model_id, {_FINGERPRINTS: json.dumps(known)})
    return logged


def load_pipeline(uri: str) -> Pipeline:
    """Load a model of :func:`log_pipeline` if its files are still the ones that were logged.

    :func:`mlflow.sklearn.load_model` follows the file ``MLmodel``, so that anybody who can write
    there can run any code. This function ignores that file, compares all files with those that
    were logged, and reads only skops' safe format with types that are known.

    Parameters
    ----------
    uri : str
        ``models:/m-…`` as from :func:`model_uri`, ``models:/NAME/VERSION``, ``models:/NAME@ALIAS``
        or ``runs:/RUN/NAME``, in the store of :func:`use_store`.

    Raises
    ------
    TaxiError
        When there is no such model, or its files are gone, changed, or in another format.
    """
    model = _find(uri)
    files, known = _files(model), model.tags.get(_FINGERPRINTS)
    if fault := _differences(files, known) if known else _doubts(files):
        raise TaxiError(
            f"Model {uri} is not loaded, because in {model.artifact_location} {fault}: "
            "train and log it again."
        )
    try:
        return skops.io.loads(files[_SKOPS], trusted=_TRUSTED)
    except Exception as error:  # skops raises all kinds of errors over a file that is no model
        why = " ".join(str(error).split()).split(". ")[0].rstrip(".")
        raise TaxiError(f"Model {uri} cannot be read ({why}): train and log it again.") from error


def _find(uri: str) -> LoggedModel:
    """Return the model at an address, which must be in this store."""
    client = mlflow.MlflowClient()
    try:
        return client.get_logged_model(_id_of(uri, client))
    except MlflowException as error:
        why = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        raise TaxiError(
            f"MLflow has no model {uri} ({why}): look for one on MLflow's page, or train one."
        ) from error


def _id_of(uri: str, client: mlflow.MlflowClient) -> str:
    if found := re.fullmatch(r"models:/(m-\w+)", uri):
        return found[1]
    if found := re.fullmatch(r"runs:/(\w+)/([^/]+)", uri):
        outputs = client.get_run(found[1]).outputs.model_outputs
        named = {client.get_logged_model(o.model_id).name: o.model_id for o in outputs}
        return named.get(found[2], f"{found[2]} of run {found[1]}")
    if found := re.fullmatch(r"models:/([^/@]+)(?:/(\d+)|@([^/@]+))", uri):
        name, number, alias = found.groups()
        by_alias = client.get_model_version_by_alias
        version = by_alias(name, alias) if alias else client.get_model_version(name, number)
        # Only the model's id counts: anybody could register files that lie elsewhere.
        registered = re.search(r"\bm-[0-9a-f]{32}\b", version.source)
        return registered[0] if registered else version.source
    raise TaxiError(
        f"{uri} is no address of a model in MLflow's store: give models:/m-…, "
        "models:/NAME/VERSION, models:/NAME@ALIAS or runs:/RUN/NAME."
    )


def _files(model: LoggedModel) -> dict[str, bytes | None]:
    """Return the contents of a model's files by their names; None for what is no plain file."""
    with TemporaryDirectory(prefix="model-") as scratch:
        folder = mlflow_store.as_path(model.artifact_location)
        if folder is None:  # on a server
            folder = Path(mlflow.artifacts.download_artifacts(model.model_uri, dst_path=scratch))
        found = [p for p in sorted(folder.rglob("*")) if p.is_symlink() or not p.is_dir()]
        files = {p.relative_to(folder).as_posix(): _content(p) for p in found}
    files.pop("registered_model_meta", None)  # MLflow adds it when it loads a registered model
    return files


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() and not path.is_symlink() else None
    except OSError:
        return None


def _differences(files: dict[str, bytes | None], fingerprints: str) -> str:
    """Return how a model's files differ from those that were logged; empty when they do not."""
    known: dict[str, str] = json.loads(fingerprints)
    now = {name: content is not None and sha256_of(content) for name, content in files.items()}
    faults = [f"{name} is gone" for name in known.keys() - now.keys()]
    faults += [f"{name} was added" for name in now.keys() - known.keys()]
    faults += [f"{n} was changed" for n in known.keys() & now.keys() if known[n] != now[n]]
    return ", ".join(sorted(faults))


def _doubts(files: dict[str, bytes | None]) -> str:
    """Return what is odd about a model that was logged before fingerprints were kept."""
    usual = {"MLmodel", _SKOPS, "conda.yaml", "python_env.yaml", "requirements.txt"}
    if strange := sorted(files.keys() - usual):
        return f"{strange[0]} was added"
    for name in ("MLmodel", _SKOPS):
        if files.get(name) is None:
            return f"{name} is {'no plain file' if name in files else 'gone'}"
    try:
        flavors = yaml.safe_load(files["MLmodel"])["flavors"]
        ways = flavors["sklearn"]["serialization_format"], flavors["sklearn"]["pickled_model"]
        code = flavors["sklearn"].get("code") or flavors["python_function"].get("code")
        loader = flavors["python_function"]["loader_module"]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return "MLmodel cannot be read"
    if ways != ("skops", _SKOPS) or code or loader != "mlflow.sklearn":
        return f"MLmodel names another way to load it ({', '.join(map(str, ways))}, {loader})"
    return ""


def model_uri(run_id: str) -> str:
    """Return the address of a run's model; refuse a run that logged no model, or several.

    Prefer it to ``runs:/…/model``: each time that MLflow loads that, it leaves a copy behind.
    """
    try:
        logged = mlflow.get_run(run_id).outputs.model_outputs
    except MlflowException as error:
        raise TaxiError(f"MLflow has no run {run_id}: choose another run.") from error
    if len(logged) != 1:
        raise TaxiError(f"Run {run_id} logged {len(logged)} models, not one: choose another run.")
    return f"models:/{logged[0].model_id}"


def _signature(trips: pd.DataFrame) -> ModelSignature:
    """Return the types of columns and prediction; MLflow's guess would warn of whole numbers."""
    kinds = {"i": "long", "f": "double"}
    columns = [ColSpec(kinds.get(kind.kind, "string"), name) for name, kind in trips.dtypes.items()]
    return ModelSignature(Schema(columns), Schema([ColSpec("double", "duration")]))


def _requirements() -> list[str]:
    """Return the packages that a model needs; MLflow would take seconds to find them."""
    found = []
    for name in ("numpy", "pandas", "scikit-learn", "scipy", "skops", "xgboost", "xgboost-cpu"):
        with suppress(PackageNotFoundError):  # only one of XGBoost's two packages is installed
            found.append(f"{name}=={version(name)}")
    return found
