from pathlib import Path

import mlflow
import pytest
from conftest import five_trips
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

from taxi_lib import features, models, settings, tracking
from taxi_lib.errors import TaxiError


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


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (models.course_model(n_estimators=3), features.PAIR_COLUMNS),
        (models.with_zones(RandomForestRegressor(3, random_state=0)), features.ZONE_COLUMNS),
        (models.with_zones(HistGradientBoostingRegressor(max_iter=3)), features.ZONE_COLUMNS),
    ],
)
def test_the_model_logged_is_the_model_scored(runs_dir: Path, model, columns):
    trips = features.add_pair(five_trips()).assign(duration=[10.0, 20, 30, 40, 50])
    model.fit(trips[columns], trips["duration"])
    tracking.use_store()
    with mlflow.start_run():
        logged = tracking.log_pipeline(model, trips[columns])
    loaded = mlflow.sklearn.load_model(logged.model_uri)
    assert loaded.predict(trips).tolist() == model.predict(trips).tolist()
    assert logged.signature.inputs.input_names() == columns
    served = mlflow.pyfunc.load_model(logged.model_uri).predict(trips[columns])
    assert served.tolist() == model.predict(trips).tolist()


def test_the_model_of_a_run_is_read_where_it_lies(
    runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trips = features.add_pair(five_trips()).assign(duration=[10.0, 20, 30, 40, 50])
    model = models.course_model(n_estimators=3).fit(trips, trips["duration"])
    tracking.use_store()
    with mlflow.start_run() as run:
        tracking.log_pipeline(model, trips[features.PAIR_COLUMNS])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    loaded = mlflow.sklearn.load_model(tracking.model_uri(run.info.run_id))
    assert loaded.predict(trips).tolist() == model.predict(trips).tolist()
    assert list(scratch.iterdir()) == []


def test_a_run_without_a_model_has_none_to_give(runs_dir: Path):
    tracking.use_store()
    with mlflow.start_run() as run:
        pass
    with pytest.raises(
        TaxiError, match=r"^Run \w+ logged 0 models, not one: choose another run\.$"
    ):
        tracking.model_uri(run.info.run_id)


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
