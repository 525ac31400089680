import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import requests
import skops.io
from mlflow.models.model import ModelInfo
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from xgboost import XGBRegressor

from support.months import five_trips
from support.refusals import refused
from taxi_lib import features, mlflow_store, models, settings, tracking
from taxi_lib.errors import TaxiError
from taxi_lib.services.ports import free_port
from taxi_lib.services.processes import Command, program
from taxi_lib.services.shared_process import shared_program


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of runs that several tests share: a new store takes seconds."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def store(shared: Path, runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_RUNS_DIR", str(shared))
    tracking.use_store()


@pytest.fixture
def trips() -> pd.DataFrame:
    raw = features.add_pair(five_trips()).assign(duration=[10.0, 20, 30, 40, 50])
    rides = features.describe_rides(raw.rename(columns={"lpep_pickup_datetime": "pickup_datetime"}))
    return raw.join(rides.drop(columns=features.ZONE_COLUMNS))


def log(model: Pipeline, trips: pd.DataFrame, columns: list[str]) -> ModelInfo:
    """Log a fitted model."""
    with mlflow.start_run():
        return tracking.log_pipeline(model, trips[columns])


@pytest.fixture
def logged(store: None, trips: pd.DataFrame) -> ModelInfo:
    model = models.naive_model().fit(trips, trips["duration"])
    return log(model, trips, features.ZONE_COLUMNS)


def files_of(logged: ModelInfo) -> Path:
    location = mlflow.get_logged_model(logged.model_id).artifact_location
    return mlflow_store.as_path(location)


@pytest.mark.slow
def test_the_store_is_the_same_from_any_working_directory(
    runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ids = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        ids.append(tracking.use_store())
        with mlflow.start_run():
            mlflow.log_metric("rmse", 1.0)
    assert ids[0] == ids[1] and len(mlflow.search_runs(ids[:1])) == 2
    location = mlflow.get_experiment(ids[0]).artifact_location
    assert location.startswith((runs_dir / "mlartifacts").as_uri())
    assert not (tmp_path / "here" / "mlruns").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fit", "columns"),
    [
        (models.course_model(n_estimators=3).fit, features.PAIR_COLUMNS),
        (models.fit_workbook_model, features.RIDE_COLUMNS),
        (models.with_zones(RandomForestRegressor(3, random_state=0)).fit, features.ZONE_COLUMNS),
        (models.with_zones(HistGradientBoostingRegressor(max_iter=3)).fit, features.ZONE_COLUMNS),
    ],
)
def test_the_model_logged_is_the_model_scored(
    store: None, trips: pd.DataFrame, fit: Callable[..., Pipeline], columns: list[str]
):
    model = fit(trips[columns], trips["duration"])
    logged = log(model, trips, columns)
    expected = model.predict(trips).tolist()
    assert tracking.load_pipeline(logged.model_uri).predict(trips).tolist() == expected
    assert logged.signature.inputs.input_names() == columns
    for load in (mlflow.sklearn.load_model, mlflow.pyfunc.load_model):
        assert load(logged.model_uri).predict(trips[columns]).tolist() == expected


@pytest.mark.slow
def test_the_model_of_a_run_is_read_where_it_lies(
    logged: ModelInfo, trips: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    loaded = tracking.load_pipeline(tracking.model_uri(logged.run_id))
    assert loaded.predict(trips).tolist() == [30.0] * 5
    assert list(scratch.iterdir()) == []


@pytest.mark.slow
def test_a_run_without_a_model_has_none_to_give(store: None):
    with mlflow.start_run() as run:
        pass
    with refused(TaxiError, f"Run {run.info.run_id} logged 0 models, not one"):
        tracking.model_uri(run.info.run_id)
    with refused(TaxiError, "MLflow has no run 7", "choose another run"):
        tracking.model_uri("7")


def test_a_path_that_sqlite_would_misread_is_refused(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TAXI_RUNS_DIR", "/tmp/100%25")
    with pytest.raises(TaxiError, match="the path holds % or"):
        settings.tracking_uri()


def test_a_relative_store_is_the_one_beside_you_from_whatever_folder_it_is_used_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert settings.tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_store_of_your_own_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert settings.tracking_uri() == "http://127.0.0.1:5000"


class Touch:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "MLmodel").read_text()
    assert old in text
    (folder / "MLmodel").write_text(text.replace(old, new))


def plant_a_pickle(folder: Path) -> None:
    (folder / "model.pkl").write_bytes(pickle.dumps(Touch(folder.parent / "touched")))
    edit(folder, "serialization_format: skops", "serialization_format: pickle")
    edit(folder, "model.skops", "model.pkl")


def name_another_format(folder: Path) -> None:
    (folder / "model.skops").write_bytes(pickle.dumps(Touch(folder.parent / "touched")))
    edit(folder, "serialization_format: skops", "serialization_format: pickle")


def name_another_loader(folder: Path) -> None:
    edit(folder, "loader_module: mlflow.sklearn", "loader_module: antigravity")


def add_code(folder: Path) -> None:
    (folder / "code").mkdir()
    (folder / "code" / "sklearn.py").write_text("raise RuntimeError")
    edit(folder, "code: null", "code: code")


def name_code_elsewhere(folder: Path) -> None:
    edit(folder, "code: null", "code: ../elsewhere")


def lead_elsewhere(folder: Path) -> None:
    (folder / "model.skops").rename(folder.parent / "model.skops")
    (folder / "model.skops").symlink_to(folder.parent / "model.skops")


def hold_foreign_types(folder: Path) -> None:
    model = make_pipeline(FunctionTransformer(os.system), DummyRegressor())
    (folder / "model.skops").write_bytes(skops.io.dumps(model))


def spoil(folder: Path) -> None:
    (folder / "model.skops").write_bytes(b"no model")


def lose(folder: Path) -> None:
    (folder / "model.skops").unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tamper", "told", "told_without_fingerprints"),
    [
        (plant_a_pickle, "MLmodel was changed, model.pkl was added", "model.pkl was added"),
        (name_another_format, "MLmodel was changed, model.skops was changed", "(pickle, "),
        (name_another_loader, "MLmodel was changed", "another way to load it (skops, "),
        (add_code, "MLmodel was changed, code/sklearn.py was added", "code/sklearn.py was added"),
        (name_code_elsewhere, "MLmodel was changed", "another way to load it (skops, "),
        (lead_elsewhere, "model.skops was changed", "model.skops is no plain file"),
        (hold_foreign_types, "model.skops was changed", "posix.system"),
        (spoil, "model.skops was changed", "not a zip file"),
        (lose, "model.skops is gone", "model.skops is gone"),
    ],
)
def test_a_model_whose_files_were_changed_is_not_loaded(
    logged: ModelInfo, tamper: Callable, told: str, told_without_fingerprints: str
):
    folder = files_of(logged)
    tamper(folder)
    with refused(TaxiError, logged.model_uri, told, "train and log it again"):
        tracking.load_pipeline(logged.model_uri)
    # As if it had been logged before there were fingerprints.
    mlflow.MlflowClient().delete_logged_model_tag(logged.model_id, "taxi.files")
    with refused(TaxiError, logged.model_uri, told_without_fingerprints, "train and log it again"):
        tracking.load_pipeline(logged.model_uri)
    assert not (folder.parent / "touched").exists()


@pytest.mark.slow
def test_a_model_that_was_logged_by_an_earlier_version_is_still_loaded(
    store: None, trips: pd.DataFrame
):
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["PU_DO"]),
        (FunctionTransformer(features.store_zeros), ["trip_distance"]),
        sparse_threshold=1.0,
    )
    old = make_pipeline(encoder, XGBRegressor(n_estimators=3)).fit(trips, trips["duration"])
    new = models.with_pairs(XGBRegressor(n_estimators=3)).fit(trips, trips["duration"])
    trusted = ["xgboost.core.Booster", "xgboost.sklearn.XGBRegressor"]
    trusted += ["taxi_lib.features.store_zeros"]
    with mlflow.start_run():
        how = {"pip_requirements": [], "skops_trusted_types": trusted}
        logged = mlflow.sklearn.log_model(old, name="model", **how)
    loaded = tracking.load_pipeline(logged.model_uri)
    assert loaded.predict(trips).tolist() == new.predict(trips).tolist()


@pytest.mark.slow
def test_a_model_is_found_under_each_of_its_names(logged: ModelInfo, trips: pd.DataFrame):
    client = mlflow.MlflowClient()
    client.create_registered_model("taxi")
    version = client.create_model_version("taxi", logged.model_uri).version
    client.set_registered_model_alias("taxi", "best", version)
    mlflow.sklearn.load_model("models:/taxi/1")  # which adds a file to the model's
    names = ["models:/taxi/1", "models:/taxi@best", f"runs:/{logged.run_id}/model"]
    for name in names:
        assert tracking.load_pipeline(name).predict(trips).tolist() == [30.0] * 5
    client.create_model_version("taxi", f"file:///elsewhere/{logged.model_id}")
    client.delete_logged_model(logged.model_id)
    for name in (
        logged.model_uri,
        *names,
        "models:/taxi/2",
        "models:/taxi/3",
        "models:/taxi@worst",
    ):
        with refused(TaxiError, f"MLflow has no model {name}", "look for one on MLflow's page"):
            tracking.load_pipeline(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "address", ["/tmp/model", "model", "file:///tmp/model", "http://127.0.0.1/m", "s3://b/m", ""]
)
def test_an_address_outside_of_the_store_is_refused(store: None, address: str):
    with refused(TaxiError, f"{address} is no address of a model", "models:/NAME/VERSION"):
        tracking.load_pipeline(address)


def install(requirements: Path, folder: Path) -> Path:
    """Make an environment of these requirements alone; return its folder of programs."""
    subprocess.run([program("uv"), "venv", "-q", "--python", sys.executable, folder], check=True)
    where = ["--python", folder / "bin" / "python", "-r", requirements]
    for offline in (["--offline"], []):  # what was installed before lies in uv's cache
        command = [program("uv"), "pip", "install", "-q", *offline, *where]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return folder / "bin"
    pytest.skip(f"the requirements cannot be had without a network: {done.stderr}")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="where programs lie differs")
def test_a_model_is_served_where_there_is_nothing_but_its_requirements(
    store: None, trips: pd.DataFrame, tmp_path: Path
):
    model = models.course_model(n_estimators=3)
    folder = files_of(log(model.fit(trips, trips["duration"]), trips, features.PAIR_COLUMNS))
    programs = install(folder / "requirements.txt", tmp_path / "env")
    address = f"http://127.0.0.1:{(port := free_port())}"
    serve = ["models", "serve", "--env-manager", "local", "--host", "127.0.0.1"]
    command = [str(programs / "mlflow"), *serve, "--port", str(port), "--model-uri", str(folder)]
    env = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path)}
    env["MLFLOW_DISABLE_TELEMETRY"] = "true"
    start = Command(command, env, address, cwd=tmp_path)

    def answers(_: str) -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"{address}/ping", timeout=10).ok
        return False

    columns = trips[features.PAIR_COLUMNS]
    with shared_program(tmp_path / "serve.lock", lambda _: start, answers):
        body = {"dataframe_split": columns.to_dict("split")}
        answer = requests.post(f"{address}/invocations", json=body, timeout=60)
    assert answer.json()["predictions"] == pytest.approx(model.predict(columns), abs=0)
