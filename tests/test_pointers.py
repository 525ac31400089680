"""What prune must not remove, and where the files of MLflow's runs go."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput

from support.notebooks import printed, run_path, write_cells
from support.refusals import refused
from taxi_lib import mlflow_store, settings
from taxi_lib.errors import TaxiError
from taxi_lib.runner import past_runs

pytestmark = pytest.mark.slow  # MLflow's tables take seconds to make


@pytest.fixture
def runs(runs_dir: Path) -> tuple[Path, Path]:
    """Return the folders of an old run and of a new one, which look the same from outside."""
    folders = runs_dir / "2026-01-01", runs_dir / "2026-01-01-2"
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text("{}")
        (folder / "model.bin").write_text("a model")
        os.utime(folder / "summary.json", (number, number))
    return folders


@pytest.fixture
def client(runs_dir: Path, empty_store: Path) -> MlflowClient:
    runs_dir.mkdir(exist_ok=True)
    shutil.copy(empty_store, runs_dir / "mlflow.db")
    return MlflowClient(settings.tracking_uri())


def an_experiment(client: MlflowClient, old: Path) -> str:
    return client.create_experiment("mine", (old / "mlruns").as_uri())


def a_deleted_experiment(client: MlflowClient, old: Path) -> None:
    client.delete_experiment(an_experiment(client, old))


def a_run(client: MlflowClient, old: Path) -> None:
    number = an_experiment(client, old)
    client.log_text(client.create_run(number, run_name="mine").info.run_id, "text", "a.txt")
    mlflow_store.move_out()  # of the experiment, not of what it holds already


def a_model(client: MlflowClient, old: Path) -> None:
    number = an_experiment(client, old)
    client.delete_logged_model(client.create_logged_model(number, "mine").model_id)
    mlflow_store.move_out()


def a_registered_model(client: MlflowClient, old: Path) -> None:
    client.create_registered_model("mine")
    client.create_model_version("mine", str(old / "model"))


def a_dataset(client: MlflowClient, old: Path) -> None:
    source = json.dumps({"uri": str(old / "trips.parquet")})
    dataset = DatasetInput(Dataset("mine", "0", "local", source))
    client.log_inputs(client.create_run("0").info.run_id, [dataset])


@pytest.mark.parametrize(
    ("point", "what"),
    [
        (an_experiment, "MLflow's experiment mine"),
        (a_deleted_experiment, "MLflow's experiment mine"),
        (a_run, "MLflow's run mine"),
        (a_model, "MLflow's model mine"),
        (a_registered_model, "MLflow's registered model mine"),
        (a_dataset, "MLflow's dataset mine"),
    ],
)
def test_a_run_whose_files_mlflow_needs_is_not_pruned(
    runs: tuple[Path, Path], client: MlflowClient, point: Callable, what: str
):
    point(client, runs[0])
    told = []
    assert past_runs.prune(1, told.append) == []
    assert told == [f"{runs[0]} stays, because {what} needs files in it."]
    assert all((folder / "model.bin").exists() for folder in runs)


def a_result(old: Path, new: Path) -> str:
    (new / "summary.json").write_text(json.dumps({"results": {"model": f"{old}/model.bin"}}))
    return str(new / "summary.json")


def a_link(old: Path, new: Path) -> str:
    (new / "inner").mkdir()
    (new / "inner" / "best.bin").symlink_to(old / "model.bin")
    return f"the link {new / 'inner' / 'best.bin'}"


def a_record(old: Path, new: Path) -> str:
    record = settings.runs_dir() / ".records" / "01_one" / "01_one-0.json"
    record.parent.mkdir(parents=True)
    files = {str(new / "model.bin"): "0"}
    record.write_text(json.dumps({"files": files, "inputs": {"data": {str(old): "0"}}}))
    return str(record)


@pytest.mark.parametrize("point", [a_result, a_link, a_record])
def test_a_run_whose_files_another_run_needs_is_not_pruned(
    runs: tuple[Path, Path], point: Callable
):
    what = point(*runs)
    told = []
    assert past_runs.prune(1, told.append) == []
    assert told == [f"{runs[0]} stays, because {what} needs files in it."]


def test_a_run_that_is_needed_keeps_what_it_needs_itself(runs: tuple[Path, Path]):
    oldest = runs[0].with_name("2025-12-31")
    oldest.mkdir()
    (oldest / "summary.json").write_text("{}")
    a_result(oldest, runs[0])
    a_result(*runs)
    for seconds, folder in enumerate((oldest, *runs)):
        os.utime(folder / "summary.json", (seconds, seconds))
    assert past_runs.prune(1) == []
    (runs[1] / "summary.json").write_text("{}")
    assert past_runs.prune(1) == [oldest, runs[0]]


def test_a_data_folder_among_the_files_of_a_run_is_not_pruned(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TAXI_DATA_DIR", str(runs[0]))
    assert past_runs.prune(1) == []


def test_a_run_that_nothing_needs_is_pruned(runs: tuple[Path, Path], client: MlflowClient):
    an_experiment(client, runs[1])  # its name begins as the other's
    told = []
    assert past_runs.prune(1, told.append) == [runs[0]] and told == []
    assert runs[1].exists() and not runs[0].exists()


def test_nothing_is_pruned_while_the_store_cannot_be_read(runs: tuple[Path, Path]):
    store = settings.runs_dir() / "mlflow.db"
    store.write_text("no database" * 1000)
    with refused(TaxiError, str(store), "cannot be read (file is not a database)", "move it away"):
        past_runs.prune(1)
    assert runs[0].exists()


PLAIN = """import mlflow
mlflow.set_experiment({experiment!r})
with mlflow.start_run() as run:
    mlflow.log_text("a", "a.txt")
    print(mlflow.artifacts.download_artifacts(run.info.artifact_uri + "/a.txt"))"""


def test_a_step_that_uses_mlflow_as_it_is_keeps_its_files_outside_of_its_run(
    runs_dir: Path, tmp_path: Path
):
    steps = [PLAIN.format(experiment=name) for name in ("mine", "Default")]
    path = write_cells(tmp_path, *steps)
    run = run_path(path, runs_dir / "first", env=os.environ | settings.environment())
    assert run.status == "completed", run.error
    kept = list((runs_dir / "mlartifacts").rglob("a.txt"))
    assert len(kept) == 2 and all(str(file) in printed(run) for file in kept)
    assert not (runs_dir / "first" / "mlruns").exists()


def test_an_experiment_that_kept_its_files_in_a_run_keeps_new_ones_beside_the_store(
    runs: tuple[Path, Path], client: MlflowClient
):
    number = an_experiment(client, runs[0])
    gone = settings.runs_dir().with_name("moved") / "mlartifacts" / "theirs"
    client.create_experiment("theirs", gone.as_uri())
    elsewhere = settings.runs_dir().parent.as_uri()
    client.create_experiment("elsewhere", elsewhere)
    told = "\n".join(mlflow_store.move_out())
    new = settings.runs_dir() / "mlartifacts" / number
    assert (
        f"MLflow's experiment mine kept its files in {runs[0] / 'mlruns'}; "
        f"those of new runs go to {new}."
    ) in told
    assert "experiment theirs" in told and "elsewhere" not in told
    assert client.get_experiment(number).artifact_location == new.as_uri()
    assert client.get_experiment_by_name("elsewhere").artifact_location == elsewhere
    assert mlflow_store.move_out() == []
