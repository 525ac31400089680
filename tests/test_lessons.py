"""What single lessons promise beyond what all have in common."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import mlflow
import nbformat
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.dummy import DummyRegressor
from sklearn.pipeline import Pipeline, make_pipeline

from support import ROOT
from support.months import link_real_months, real_month_path
from support.notebooks import write_cells
from taxi_lib import features, models, services, tracking
from taxi_lib.services.ports import post_json
from taxi_lib.trips import read_trips
from taxi_lib.trips.month_file import MonthFile

# Run the code of a notebook, and print a variable of it.
RUN = """
import json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    cells = [cell for cell in json.load(file)["cells"] if cell["cell_type"] == "code"]
scope = {}
for cell in cells:
    exec("".join(cell["source"]), scope)
    if sys.argv[2] in scope:
        break
print(json.dumps(scope[sys.argv[2]]))
"""


@pytest.mark.slow
def test_lesson_1_gives_the_same_digits_with_one_thread_and_with_two(runs_dir: Path):
    """Its solver stops early, at a point that depends on the order of sums."""
    lesson = next((ROOT / "notebooks").glob("01_*.ipynb"))
    found = []
    for threads in ("1", "2"):
        env = os.environ | {"OMP_NUM_THREADS": threads, "MPLBACKEND": "Agg"}
        env.pop("OPENBLAS_NUM_THREADS", None)
        command = [sys.executable, "-c", RUN, str(lesson), "linear_rmse"]
        run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        found.append(json.loads(run.stdout.splitlines()[-1]))
    assert found[0] == found[1]


def sources_of(lesson: str) -> dict[str, str]:
    """Return the sources of a lesson's cells by their ids."""
    path = next((ROOT / "notebooks").glob(f"{lesson}_*.ipynb"))
    return {cell.id: cell.source for cell in nbformat.read(path, as_version=4).cells}


def test_pairs_that_occur_once_can_be_left_out_as_lesson_2_says():
    random = np.random.default_rng(42)
    numbers, miles = random.geometric(0.01, 2000), random.gamma(2, 2, 2000).round(1)
    trips = pd.DataFrame({"PU_DO": numbers.astype(str), "trip_distance": miles})
    scope = {"train": trips, "usual": True, "models": models, "xgboost": xgboost}
    scope["Pipeline"] = Pipeline
    exec(sources_of("02")["often"], scope)
    assert 10 < len(scope["often"]) < trips["PU_DO"].nunique() - 10
    few = xgboost.XGBRegressor(**models.COURSE_PARAMETERS | {"n_estimators": 5})
    minutes = 3 * miles + numbers % 7
    answers = [
        make(few).fit(trips, minutes).predict(trips)
        for make in (models.with_pairs, scope["on_pairs"])
    ]
    assert np.array_equal(*answers)


JUDGE = """
best = models.with_zones(xgboost.XGBRegressor(**fixed | study.best_params))
best.fit(train[zones], train["duration"])
later = prepared(read_trips(fetch_months(train_month, "2023-01")[1])[0])
print(*(f"{models.rmse(m, t):.2f}" for t in (later, val) for m in (best, mean)))
"""


@pytest.mark.slow
def test_lesson_2_is_right_about_january_2023(runs_dir: Path, empty_store: Path, tmp_path: Path):
    runs_dir.mkdir()
    shutil.copy(empty_store, runs_dir / "mlflow.db")
    if not link_real_months(tmp_path / "real", "2021-01", "2021-02", "2023-01"):
        pytest.skip("needs the real months")
    cells = sources_of("02")
    needed = ("parameters", "workspace", "imports", "fetch", "columns", "store")
    needed += ("baseline", "objective", "search")
    script = "\n".join(["xgboost_rmse = 0.0", *(cells[name] for name in needed), JUDGE])
    env = os.environ | {"TAXI_DATA_DIR": str(tmp_path / "real"), "MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr  # a store or a search that failed says why
    later, mean_later, val, mean_val = run.stdout.splitlines()[-1].split()
    said = re.findall(r"\d+\.\d\d", cells["test-notice"])
    assert said == [later, val, mean_later, mean_val]
    shares = [f"{100 * float(a) / float(b):.0f}" for a, b in ((later, mean_later), (val, mean_val))]
    assert re.findall(r"(\d+) %", cells["test-notice"]) == shares


@pytest.mark.slow
def test_lesson_15_is_right_about_january_2023():
    paths = [real_month_path(month) for month in ("2021-01", "2021-02", "2023-01")]
    if not all(paths):
        pytest.skip("needs the real months")
    train, val, later = (read_trips(MonthFile(p.stem[-7:], p, "local"))[0] for p in paths)
    model = models.fit_workbook_model(features.describe_rides(train), train["duration"])

    def share_of_the_mean(trips: pd.DataFrame) -> tuple[float, float, float]:
        known = features.describe_rides(trips).assign(duration=trips["duration"])
        mean = ((trips["duration"] - train["duration"].mean()) ** 2).mean() ** 0.5
        return models.rmse(model, known), mean, 100 * models.rmse(model, known) / mean

    said = sources_of("15")["by-day-notice"]
    found = share_of_the_mean(later)
    assert [float(x) for x in re.findall(r"\d+\.\d\d", said)] == pytest.approx(found[:2], abs=0.02)
    shares = found[2], share_of_the_mean(val)[2]
    assert [int(x) for x in re.findall(r"(\d+) %", said)] == pytest.approx(shares, abs=0.8)


def test_lesson_12_recommends_a_trigger_that_prefect_takes():
    from prefect.events import EventTrigger
    from prefect.events.schemas.automations import Posture

    lesson = next((ROOT / "notebooks").glob("12_*.ipynb"))
    (prose,) = (c.source for c in nbformat.read(lesson, as_version=4).cells if c.id == "who-md")
    (code,) = re.findall(r"```python\n(.*?)```", prose, flags=re.DOTALL)
    code = code.replace("\nEventTrigger(", "\ntrigger = EventTrigger(")
    scope = {"EventTrigger": EventTrigger, "Posture": Posture, "timedelta": timedelta}
    exec(code, scope)
    assert scope["trigger"].expect == scope["ends"] | scope["trigger"].after
    assert scope["trigger"].within.total_seconds() == 90


@pytest.mark.slow
def test_lesson_12_is_right_about_notifications_and_mail_of_prefect_2(prefect_api: str):
    from prefect import flow
    from prefect_email import EmailServerCredentials, email_send_message

    with pytest.raises(HTTPError, match="404"):
        post_json(f"{prefect_api}/flow_run_notification_policies/filter", {})
    with services.mail_server() as inbox:
        server = {"smtp_server": inbox.host, "smtp_port": inbox.port, "smtp_type": "INSECURE"}
        credentials = EmailServerCredentials(**server)

        @flow
        def plain() -> None:
            email_send_message("a subject", "a text", credentials, email_to="you@example.org")

        with pytest.warns(RuntimeWarning, match="never awaited"):
            state = plain(return_state=True)
        assert state.is_completed() and inbox.messages == []


def pipeline_of_lesson_13(folder: Path) -> dict:
    """Write the file that the lesson writes, with a limit of two seconds; return its names."""
    lesson = next((ROOT / "notebooks").glob("13_*.ipynb"))
    cells = [cell.source for cell in nbformat.read(lesson, as_version=4).cells]
    parts = [cell.split("\n", 1) for cell in cells if re.match(r"%%writefile.*pipeline\.py", cell)]
    (folder / "pipeline.py").write_text("\n".join(part for _, part in parts).replace("3600", "2"))
    return runpy.run_path(str(folder / "pipeline.py"))


def test_the_cache_key_of_lesson_13_knows_each_file_that_is_named(tmp_path: Path):
    fingerprint = pipeline_of_lesson_13(tmp_path)["fingerprint"]
    notebook = tmp_path / "step.ipynb"
    declared = nbformat.v4.new_code_cell("default: str = 'c'\nfiles: list = []")
    declared.metadata["tags"] = ["parameters"]
    spec = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[declared], metadata=spec), notebook)
    inputs = {"notebook": notebook, "values": {"files": ["a", "b"]}}
    keys = [fingerprint(None, inputs)]
    for name in "abc":
        (tmp_path / name).write_text("trips")
        keys.append(fingerprint(None, inputs))
    assert len(set(keys)) == 4


@pytest.mark.slow
def test_the_task_of_lesson_13_says_why_a_notebook_failed(prefect_api: str, tmp_path: Path):
    from prefect import flow

    pipeline = pipeline_of_lesson_13(tmp_path)
    notebooks = {
        "slow": ("python3", "import time; time.sleep(30)"),
        "elsewhere": ("not-here", "1"),
        "dies": ("python3", "import os, time; time.sleep(1); os._exit(0)"),
    }
    for name, (kernel, source) in notebooks.items():
        spec = {"kernelspec": {"name": kernel, "display_name": kernel}}
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source)], metadata=spec
        )
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")

    @flow
    def messages() -> list[str]:
        run_step = pipeline["run_step"].with_options(retries=0)
        states = [run_step(tmp_path / f"{n}.ipynb", {}, return_state=True) for n in notebooks]
        return [state.message for state in states]

    slow, elsewhere, dies = messages()
    assert "CellTimeoutError" in slow and "after 2 seconds" in slow
    assert elsewhere.endswith("No such kernel named not-here")
    assert "KernelDied" in dies


def runner_of_lesson_14(folder: Path) -> dict[str, Any]:
    """Write the lesson's own runner into a folder, and return what it defines."""
    lesson = next((ROOT / "notebooks").glob("14_*.ipynb"))
    cells = [cell.source for cell in nbformat.read(lesson, as_version=4).cells]
    parts = [cell.split("\n", 1) for cell in cells if re.match(r"%%writefile.*runner\.py", cell)]
    (folder / "runner.py").write_text("\n".join(part for _, part in parts))
    return runpy.run_path(str(folder / "runner.py"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("x: int = 5  # [from 01_prepare.rows]", ""),
        ("rows: int = 5  # rows [1 or more] [from 01_prepare]", ""),
        ("rows: int = 5  # rows [from 01_prepare] [1 or more]", ""),
        ("given: int = 5  # [from 01_gone]", ""),
        ("x: int = 5  # [from 01_prepair.rows] [1 or more]", "there is no 01_prepair before it"),
        ("x: int = 5  # [from 01_prepair.rows], in all", "there is no 01_prepair before it"),
        ("x: int = 5  # [many or more]", "02_train: x has an unknown limit: [many or more]"),
        ("x.y: int = 5  # [1 or more]", "02_train: "),
        ("x: int = 5  # [from 01_prepair.rows]", "02_train: x: there is no 01_prepair before it"),
        ("x: int = 5  # [from 03_later.rows]", "02_train: x: there is no 03_later before it"),
        ("x: int = 5  # [from 02_train.x]", "02_train: x: there is no 02_train before it"),
        ("x: int = 5  # [from 01_prepare.row]", "02_train: x: 01_prepare gives no int row"),
        ("x: float = 5.0  # [from 01_prepare.rows]", "01_prepare gives no float rows"),
        ("x: int = 5  # [form 01_prepare]", "02_train: x has an unknown limit"),
    ],
)
def test_the_runner_of_lesson_14_refuses_only_slips_in_a_reference(
    tmp_path: Path, line: str, reason: str
):
    results = {"01_prepare": "rows: int", "02_train": "x: int", "03_later": "rows: int"}
    parameters = dict.fromkeys(results, "given: int = 1") | {"02_train": line}
    notebooks = [
        write_cells(tmp_path, name=name, parameters=parameters[name], results=promised)
        for name, promised in results.items()
    ]
    check = runner_of_lesson_14(tmp_path)["check"]
    with pytest.raises(ValueError, match=re.escape(reason)) if reason else nullcontext():
        check(notebooks, {"given": 1})


def test_the_runner_of_lesson_14_names_each_notebook_that_it_cannot_read(tmp_path: Path):
    notebooks = [
        write_cells(tmp_path, name=name, parameters="n: int = 1  # [1 - 9]")
        for name in ("01_one", "02_two")
    ]
    with pytest.raises(ValueError, match=r"01_one: n has .* \[1 - 9\]; 02_two: n has "):
        runner_of_lesson_14(tmp_path)["check"](notebooks, {})


def test_the_runner_of_lesson_14_refuses_what_it_cannot_read(tmp_path: Path):
    runner = runner_of_lesson_14(tmp_path)

    def write(source: str, tag: str, outputs: list, count: int | None = 1) -> Path:
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": [tag]}, outputs=outputs)
        cell.execution_count = count
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "one.ipynb")
        return tmp_path / "one.ipynb"

    for line in (
        "n: int = 1  # how many [1 - 9]",
        "n: list[int] = [1]  # many",
        "n: int = len('a')",
    ):
        with pytest.raises((TypeError, ValueError)):
            runner["read_contract"](write(line, "parameters", []), "parameters")
    shown = []
    runner["report"].__globals__["display"] = lambda data, raw: shown.append(data)
    runner["report"](n=3)
    stored = nbformat.v4.new_output("display_data", data=shown[0])
    assert runner["results_of"](write("report(n=3)", "results", [stored])) == {"n": 3}
    with pytest.raises(RuntimeError, match="did not run to its end"):
        runner["results_of"](write("report(n=3)", "results", [stored], count=None))


@pytest.fixture
def squares_of_lesson_14(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """Return the lesson's runner, which needs no kernel here, and a notebook that makes a file."""
    runner = runner_of_lesson_14(tmp_path)

    def execute(notebook: Path, values: Any, folder: Path) -> dict[str, str]:
        folder.mkdir(exist_ok=True)
        (folder / "square.txt").write_text(str(values.n**2))
        return {"square": str(folder / "square.txt")}

    runner["find"].__globals__["execute"] = execute
    return runner, write_cells(tmp_path, parameters="n: int = 1", results="square: Path")


def test_the_runner_of_lesson_14_does_not_hand_on_the_file_of_another_request(
    squares_of_lesson_14: tuple[dict[str, Any], Path], tmp_path: Path
):
    runner, notebook = squares_of_lesson_14
    run, same = runner["run_notebook"].fn, tmp_path / "same"
    for n in (2, 3, 2):
        assert isinstance(run(notebook, {"n": n}, {}, same), dict)
        assert (same / "square.txt").read_text() == str(n**2)
    assert run(notebook, {"n": 2}, {}, same).name == "Cached"
    inputs = runner["inputs_of"](notebook, runner["values_of"](notebook, {"n": 2}, {}))
    (same / "square.txt").unlink()
    assert runner["find"](notebook, inputs) == (None, "the files it made")


def test_the_runner_of_lesson_14_reads_past_a_record_that_a_killed_run_left(
    squares_of_lesson_14: tuple[dict[str, Any], Path], tmp_path: Path
):
    runner, notebook = squares_of_lesson_14
    run = runner["run_notebook"].fn
    run(notebook, {"n": 2}, {}, tmp_path / "one")
    records = tmp_path / "records" / f"{notebook.stem}.jsonl"
    records.write_text(records.read_text() + '{"inputs": {"the code')
    assert run(notebook, {"n": 2}, {}, tmp_path / "two").name == "Cached"


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_the_runner_of_lesson_14_writes_the_outcomes_when_everything_is_cached(
    squares_of_lesson_14: tuple[dict[str, Any], Path], tmp_path: Path
):
    runner, notebook = squares_of_lesson_14
    for name, state in (("one", "Completed"), ("two", "Cached")):
        runner["run_folder"]([notebook], {"n": 2}, tmp_path / name)
        (ended,) = json.loads((tmp_path / name / "outcomes.json").read_text()).values()
        assert ended["state"] == state


@pytest.mark.slow
def test_the_service_of_lesson_16_keeps_a_model_that_answers(
    project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
):
    """Neither an alias that is gone nor a model that cannot answer takes its place."""
    runs = Path(os.environ["TAXI_RUNS_DIR"])
    runs.mkdir()
    shutil.copy(empty_store, runs / "mlflow.db")
    tracking.use_store()
    client = mlflow.MlflowClient()
    client.create_registered_model("rides")

    def promote(columns: pd.DataFrame) -> None:
        model = make_pipeline(DummyRegressor(constant=7.0, strategy="constant"))
        with mlflow.start_run():
            logged = tracking.log_pipeline(model.fit(columns, [1.0]), columns)
        made = client.create_model_version("rides", logged.model_uri)
        client.set_registered_model_alias("rides", "champion", made.version)

    promote(pd.DataFrame({"trip_distance": [1.0]}))
    parts = [c.split("\n", 1)[1] for c in sources_of("16").values() if "/service.py" in c[:40]]
    (project / "service.py").write_text("\n".join(parts))
    monkeypatch.setenv("MOST_MILES", "100")
    service = runpy.run_path(str(project / "service.py"))
    champion = service["Champion"]("rides")
    assert champion.now[0] == 1
    promote(pd.DataFrame({"weather": [1.0]}))
    with pytest.raises(KeyError, match="weather"):
        champion.look()
    client.delete_registered_model_alias("rides", "champion")
    champion.stop.wait = lambda _: bool(champion.fault)  # once round
    champion.watch()
    assert "champion" in champion.fault and champion.now[0] == 1
    assert service["answer"]([service["EXAMPLE"]], champion.now[1]) == [7.0]


@pytest.mark.slow
def test_lesson_8_is_right_that_what_was_undone_is_not_cached(prefect_api: str, tmp_path: Path):
    from prefect import flow, task
    from prefect.cache_policies import INPUTS
    from prefect.settings import (
        PREFECT_LOCAL_STORAGE_PATH,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )
    from prefect.transactions import transaction

    @task(cache_policy=INPUTS)
    def publish(month: str) -> str:
        return month

    @flow
    def publish_checked(bad: bool) -> str:
        with transaction():
            state = publish("2021-01", return_state=True)
            if bad:
                raise ValueError("too few trips")
        return state.name

    quiet = {PREFECT_LOGGING_TO_API_ENABLED: False, PREFECT_LOCAL_STORAGE_PATH: str(tmp_path)}
    with temporary_settings(quiet):
        assert publish_checked(bad=True, return_state=True).is_failed()
        assert [publish_checked(bad=False) for _ in range(2)] == ["Completed", "Cached"]
