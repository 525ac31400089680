"""The monthly pipeline: its gate, each notebook alone, and the deployment that runs them all."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextvars import copy_context
from pathlib import Path
from threading import Thread

import mlflow
import nbformat
import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion
from prefect import get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from support import ROOT
from support.flow_runs import artifacts_of, statuses, summary_of
from support.months import five_trips, link_real_months
from support.sandbox import Sandbox
from taxi_lib import features, models, tracking
from taxi_lib.runner.contracts import read_contract
from taxi_lib.services import process_worker
from taxi_lib.services.commands import shell
from taxi_lib.services.waiting import wait_for

STEPS = sorted((ROOT / "notebooks" / "pipeline").glob("*.ipynb"))
EVERY_STEP = pytest.mark.parametrize("path", STEPS, ids=lambda path: path.stem)
NAME = "green-taxi-duration"


@pytest.fixture
def log(project: Path, empty_store: Path) -> Callable[[], dict[str, object]]:
    """Return a function that logs a small model to a store of this test's own."""
    runs = Path(os.environ["TAXI_RUNS_DIR"])
    runs.mkdir()
    (runs / "mlflow.db").write_bytes(empty_store.read_bytes())
    tracking.use_store("monthly-pipeline")
    trips = five_trips().rename(columns={"lpep_pickup_datetime": "pickup_datetime"})

    def log() -> dict[str, object]:
        model = models.naive_model().fit(trips[features.ZONE_COLUMNS], range(5))
        with mlflow.start_run(tags={"data": '{"2021-01": "abc"}'}) as run:
            logged = tracking.log_pipeline(model, trips[features.ZONE_COLUMNS])
        return {"model_uri": logged.model_uri, "run_id": run.info.run_id}

    return log


def pass_the_gate(**values: object) -> dict[str, object]:
    """Run the code of ``04_promote`` in this process; its variables."""
    scope: dict[str, object] = {}
    for cell in nbformat.read(STEPS[3], as_version=4).cells:
        if cell.cell_type == "code":
            exec(cell.source, scope)
            scope |= values if "parameters" in cell.metadata.get("tags", []) else {}
    return scope


def versions() -> list[ModelVersion]:
    found = mlflow.MlflowClient().search_model_versions(f"name = '{NAME}'")
    return sorted(found, key=lambda version: int(version.version))


def champion() -> int:
    return int(mlflow.MlflowClient().get_model_version_by_alias(NAME, "champion").version)


BETTER = {"gain": 1.0, "gain_low": 0.5, "challenger_rmse": 5.0, "mean_rmse": 12.0}


@pytest.mark.slow
def test_the_first_challenger_that_beats_the_mean_is_the_champion(log: Callable):
    after = pass_the_gate(**log(), **BETTER)
    assert after["promoted"] and champion() == 1
    (version,) = versions()
    card = ("train_month", "judged_on", "data")
    assert [version.tags[name] for name in card] == ["2021-01", "2021-02", '{"2021-01": "abc"}']
    loaded = tracking.load_pipeline(f"models:/{NAME}@champion")
    assert loaded.predict(five_trips()).tolist() == [2.0] * 5


@pytest.mark.slow
def test_a_challenger_that_is_better_takes_the_place_of_the_champion(log: Callable):
    pass_the_gate(**log(), **BETTER)
    known = {"champion_version": 1, "champion_month": "2021-01", "train_month": "2021-02"}
    assert pass_the_gate(**log(), **BETTER, **known)["champion"] == 2
    assert champion() == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"gain_low": -0.1}, "it is better by more than luck"),
        ({"gain_low": 0.0}, "it is better by more than luck"),
        ({"gain": 0.01, "gain_low": 0.005}, "better by 0.02 minutes or more"),
        ({"mean_rmse": 4.9}, "it is better than the mean"),
        ({"champion_month": "2021-02"}, "it learned from a later month than the champion"),
        ({"champion_month": "2023-01"}, "it learned from a later month than the champion"),
        ({"champion_version": 0}, "the champion is the one it was compared with"),
    ],
)
def test_otherwise_nothing_in_the_registry_changes(
    log: Callable, changes: dict[str, object], missing: str
):
    pass_the_gate(**log(), **BETTER)
    values = {"champion_version": 1, "champion_month": "2021-01", "train_month": "2021-02"}
    after = pass_the_gate(**log(), **BETTER | values | changes)
    assert not after["promoted"] and missing in after["reason"]
    assert champion() == 1 and len(versions()) == 1
    assert after["champion"] == 1


@pytest.mark.slow
def test_without_a_champion_the_pipeline_says_why_and_stops(log: Callable):
    with pytest.raises(RuntimeError, match=r"There is no champion .* better by more than luck"):
        pass_the_gate(**log(), gain=-1.0, gain_low=-2.0)
    assert versions() == []


@pytest.mark.slow
def test_a_promotion_that_was_stopped_in_the_middle_is_finished_and_not_doubled(log: Callable):
    made = log()
    first = pass_the_gate(**made, **BETTER)
    mlflow.MlflowClient().delete_registered_model_alias(NAME, "champion")
    again = pass_the_gate(**made, **BETTER)
    assert first["champion"] == again["champion"] == 1 and again["promoted"]
    assert champion() == 1 and len(versions()) == 1


@pytest.mark.slow
def test_opened_alone_the_gate_promotes_nothing(log: Callable):
    after = pass_the_gate()
    assert (after["promoted"], after["champion"], versions()) == (False, 0, [])


@pytest.mark.slow
def test_a_person_who_says_no_keeps_the_champion(log: Callable, prefect_api: str):
    asking = FlowFilter(name={"any_": ["ask"]})
    paused = FlowRunFilter(state={"type": {"any_": ["PAUSED"]}})

    def answer() -> None:
        with get_client(sync_client=True) as client:
            waiting = {"flow_filter": asking, "flow_run_filter": paused}
            (run,) = wait_for(lambda: client.read_flow_runs(**waiting))
            client.resume_flow_run(run.id, run_input={"promote": False, "reason": "not today"})

    # In a thread Prefect's settings are those of the context in which it runs.
    person = Thread(target=copy_context().run, args=[answer])
    person.start()
    with (
        temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}),
        pytest.raises(RuntimeError, match="a person agrees"),
    ):
        pass_the_gate(**log(), **BETTER, approval=True, approval_seconds=60)
    person.join()
    assert versions() == []


@pytest.mark.slow
def test_when_nobody_answers_the_champion_stays(log: Callable, prefect_api: str):
    pass_the_gate(**log(), **BETTER)
    later = {"champion_version": 1, "champion_month": "2021-01", "train_month": "2021-02"}
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):
        after = pass_the_gate(**log(), **BETTER, **later, approval=True, approval_seconds=3)
    assert "a person agrees" in after["reason"] and champion() == 1


@EVERY_STEP
def test_a_step_is_kept_without_outputs_and_begins_with_its_question(path: Path):
    notebook = nbformat.read(path, as_version=4)
    first, second = notebook.cells[:2]
    assert first.source.startswith(f"# {int(path.stem[:2])}. ") and "?" in first.source
    assert second.metadata.tags == ["parameters"]
    contract = read_contract(path)
    assert all(field.help for field in [*contract.parameters, *contract.results])
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        assert cell.outputs == [] and cell.execution_count is None
        assert len(cell.source.splitlines()) <= 20
        if "plt.subplots" in cell.source:
            assert all(f"{part}=" in cell.source for part in ("title", "xlabel", "ylabel", "alt"))


@pytest.mark.slow
@EVERY_STEP
def test_a_step_runs_alone_from_its_defaults(path: Path, tmp_path: Path, scratch: Path):
    sandbox = Sandbox(tmp_path, scratch)
    ((notebook, _),) = sandbox.execute(path)
    read_contract(path).check_results(sandbox.results_of(notebook))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert sandbox.files() == []


@pytest.mark.slow
def test_in_a_backfill_the_page_says_that_the_champion_has_seen_the_month(
    tmp_path: Path, scratch: Path
):
    notebook = nbformat.read(STEPS[-1], as_version=4)
    notebook.cells[1].source += "\nlearned_from = month"
    nbformat.write(notebook, tmp_path / "05_predict.ipynb")
    sandbox = Sandbox(tmp_path, scratch)
    ((done, _),) = sandbox.execute(tmp_path / "05_predict.ipynb")
    results = sandbox.results_of(done)
    assert results["seen"] and results["drift_most"] > 0
    printed = "".join(
        output.get("text", "") for cell in done.cells for output in cell.get("outputs", [])
    )
    assert "its error here is too small" in printed
    assert "had learned from these very rides" in Path(results["report"]).read_text()


@pytest.fixture
def deployed(
    prefect_api: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], FlowRun]]:
    """Deploy ``monthly``; yield a function that lets a worker run it, and that waits."""
    real = link_real_months(tmp_path / "months", "2021-01", "2021-02")
    if real:
        monkeypatch.setenv("TAXI_DATA_DIR", str(tmp_path / "months"))
    wanted = {"parameters": {"month": "2021-02"}} | ({} if real else {"source": "synthetic"})

    def run() -> FlowRun:
        with get_client(sync_client=True) as client:
            started = run_deployment("monthly/monthly", parameters=wanted, timeout=0)

            def ended() -> FlowRun | None:
                now = client.read_flow_run(started.id)
                return now if now.state.is_final() else None

            return wait_for(ended, seconds=400, pause=1)

    with process_worker("taxi"):
        shell("prefect --no-prompt deploy --name monthly", cwd=ROOT, show=False)
        yield run


def summaries() -> list[dict[str, object]]:
    runs = Path(os.environ["TAXI_RUNS_DIR"])
    return [summary_of(path.parent) for path in sorted(runs.glob("2*/summary.json"))]


@pytest.mark.slow
def test_a_worker_runs_the_month_and_a_second_run_changes_nothing(
    deployed: Callable[[], FlowRun], tmp_path: Path
):
    first = deployed()
    assert first.state.name == "Completed", first.state.message
    (version,) = versions_of_either()
    card = version.tags
    assert card["prefect_flow_run"] == str(first.id) and card["notebook"] == "02_train"
    assert version.name in artifacts_of(first)["champion"].data
    assert deployed().state.name == "Completed"
    one, two = summaries()
    assert set(statuses(one).values()) == {"completed"}
    assert set(statuses(two).values()) == {"cached"}
    assert [int(v.version) for v in versions_of_either()] == [1]
    files = [one["notebooks"][4]["results"][name] for name in ("predictions", "report")]
    assert "<h1>How long rides took in 2021-02</h1>" in Path(files[1]).read_text()
    assert len(pd.read_parquet(files[0])) == one["notebooks"][4]["results"]["trips"]
    trips = pd.read_parquet(files[0]).head(5)
    asked = features.describe_rides(trips).assign(wanted=trips["predicted"])
    asked.to_parquet(tmp_path / "asked.parquet")
    serve_without_the_library(card["model_uri"], tmp_path / "asked.parquet")
    (schedule,) = monthly_deployment().schedules
    assert (schedule.schedule.cron, schedule.active) == ("0 9 3 * *", False)


def versions_of_either() -> list[ModelVersion]:
    tracking.use_store()
    return mlflow.MlflowClient().search_model_versions()


def monthly_deployment() -> object:
    with get_client(sync_client=True) as client:
        return client.read_deployment_by_name("monthly/monthly")


SERVE = """
import sys; sys.modules["taxi_lib"] = None  # importing it fails
import mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
trips = pd.read_parquet(sys.argv[3])
wanted = trips.pop("wanted")
assert abs(model.predict(trips) - wanted).max() < 1e-4
"""


def serve_without_the_library(uri: str, asked: Path) -> None:
    """Predict in a process that has MLflow and what the model asks for, but no ``taxi_lib``."""
    store = mlflow.get_tracking_uri()
    subprocess.run([sys.executable, "-c", SERVE, store, uri, str(asked)], check=True)
