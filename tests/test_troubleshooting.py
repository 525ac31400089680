"""The page of troubleshooting: every text that it quotes is provoked here."""

import asyncio
import http.server
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from inspect import signature
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from support import ROOT
from taxi_lib.trips import fetch_months

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
TEXTS = [match[2] for match in re.finditer(r"^### (`+) ?(.+?) ?\1$", PAGE, flags=re.MULTILINE)]
SLOW_FIXTURES = {"prefect_api", "store"}
PROVOKED: list = []


def provokes(*texts: str, slow: bool = False) -> Callable:
    """Mark a function that returns what a program prints, or raises what it raises."""

    def note(function: Callable) -> Callable:
        is_slow = slow or SLOW_FIXTURES & signature(function).parameters.keys()
        marks = [pytest.mark.slow] if is_slow else []
        PROVOKED.append(pytest.param(texts, function, id=texts[0], marks=marks))
        return function

    return note


def python(*arguments: object, **env: str | None) -> str:
    """Return all that a program prints; a variable that is None is not set."""
    own = {name: value for name, value in (os.environ | env).items() if value is not None}
    command = [sys.executable, *map(str, arguments)]
    run = subprocess.run(command, env=own, capture_output=True, text=True, timeout=120, check=False)
    return run.stdout + run.stderr


def prefect(*arguments: object, **env: str | None) -> str:
    return python("-m", "prefect", "--no-prompt", *arguments, **env)


def bound_to(address: str) -> object:
    """Let Prefect's client talk to an address."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    return temporary_settings({PREFECT_API_URL: address})


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a flow, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    lines = ("from prefect import flow", "@flow", "def main_flow(): pass")
    (tmp_path / "flow.py").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def store(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of an empty store, which MLflow uses until the end of the test."""
    import mlflow

    for name in ("MLFLOW_TRACKING_URI", "_MLFLOW_SERVER_ARTIFACT_ROOT"):
        monkeypatch.setenv(name, "")  # MLflow changes them; afterwards they are as before
    before = mlflow.get_tracking_uri()
    uri = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'mlflow.db')}"
    mlflow.set_tracking_uri(uri)
    yield uri
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(before)


# Prefect's server


@provokes("Failed to reach API at http://127.0.0.1:4200/api/", slow=True)
def _(project: Path) -> str:
    code = "import flow; flow.main_flow()"
    # The first port is nobody's; only its number is another one.
    told = python("-c", code, PREFECT_API_URL="http://127.0.0.1:1/api", PYTHONPATH=str(project))
    return told.replace("127.0.0.1:1/", "127.0.0.1:4200/")


@provokes("Client error '404 Not Found' for url 'http://127.0.0.1:…/work_pools/filter'")
def _(prefect_api: str) -> None:
    from prefect import get_client

    async def ask() -> None:
        async with get_client() as client:
            await client.read_work_pools()

    with bound_to(prefect_api.removesuffix("/api")):
        asyncio.run(ask())


@provokes("Starting temporary server on http://127.0.0.1:…", slow=True)
def _(project: Path) -> str:
    env = {"PREFECT_HOME": str(project), "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"}
    env["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "1"
    return python("-c", "import flow; flow.main_flow()", PYTHONPATH=str(project), **env)


@provokes("Port … is already in use.", slow=True)
def _(tmp_path: Path) -> str:
    with taken_port() as port:
        return prefect("server", "start", "--port", port, PREFECT_HOME=str(tmp_path))


@provokes("Found incompatible versions: client: …, server: …. Major versions must match.")
def _() -> None:
    from prefect import get_client

    class Old(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps("2.20.0").encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Old) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        try:
            with bound_to(f"http://127.0.0.1:{server.server_port}/api"):
                get_client(sync_client=True).raise_for_api_version_mismatch()
        finally:
            server.shutdown()


@provokes("Unable to connect to proxy")
def _() -> None:
    import requests

    requests.get("http://127.0.0.1:4200", proxies={"http": "http://127.0.0.1:1"}, timeout=5)


# Deployments and schedules


@provokes(
    *(f'Unknown command "{word}"' for word in ("project", "orion", "build", "agent")), slow=True
)
def _() -> str:
    lines = (
        "import sys",
        "from prefect.cli import app",
        "for command in sys.argv[1:]:",
        "    sys.argv = ['prefect', *command.split()]",
        "    try: app()",
        "    except SystemExit as end: assert end.code == 1",
    )
    old = ["project init", "orion start", "deployment build flow.py:main_flow", "agent start"]
    return python("-c", "\n".join(lines), *old)


@provokes("An entrypoint must be provided")
def _(project: Path, prefect_api: str) -> str:
    (project / "deployment.yaml").write_text("name: taxi_local_data\nentrypoint: flow.py:main_flow")
    return prefect("deploy", "--all")


@provokes("references work pool 'zoompool' which does not exist")
def _(project: Path, prefect_api: str) -> str:
    return prefect("deploy", "flow.py:main_flow", "-n", "taxi", "-p", "zoompool")


@provokes("Deployment '…' not found!")
def _(prefect_api: str) -> str:
    return prefect("deployment", "run", "main_flow/taxi")


@provokes("Flow function with name '…' not found in '…'.")
def _(project: Path) -> None:
    from prefect.flows import load_flow_from_entrypoint

    load_flow_from_entrypoint("flow.py:train")


@provokes("No such file or directory: 'moved.py'", "No module named 'prefect.projects'")
def _(project: Path, prefect_api: str) -> str:
    from prefect.deployments import run_deployment

    pool = f"pool-{project.name}"

    def deployment(name: str, entrypoint: str, steps: str) -> dict:
        pull = [{f"{steps}.set_working_directory": {"directory": str(project)}}]
        where = {"work_pool": {"name": pool}, "entrypoint": f"{entrypoint}:main_flow"}
        return {"name": name, "pull": pull} | where

    moved = deployment("moved", "moved.py", "prefect.deployments.steps")
    old = deployment("old", "flow.py", "prefect.projects.steps")
    text = json.dumps({"deployments": [moved, old]})  # which is YAML, too
    (project / "prefect.yaml").write_text(text)
    shutil.copy(project / "flow.py", project / "moved.py")
    prefect("work-pool", "create", pool, "--type", "process")
    assert prefect("deploy", "--all").count("successfully created") == 2
    (project / "moved.py").unlink()
    for name in ("moved", "old"):
        run_deployment(f"main-flow/{name}", timeout=0)
    told = prefect("worker", "start", "--pool", pool, "--run-once")
    assert told.count("Process exited with status code: 1.") >= 2
    return told.replace(f"{project}/", "")


@provokes("Late")
def _(prefect_api: str) -> str:
    from prefect import flow, get_client
    from prefect.states import Scheduled

    from taxi_lib.services.waiting import wait_for

    @flow
    def nobody_runs_it() -> None:
        pass

    due = datetime.now(UTC) - timedelta(minutes=10)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(nobody_runs_it, state=Scheduled(scheduled_time=due))

        def name() -> str | None:
            now = client.read_flow_run(run.id).state.name
            return now if now != "Scheduled" else None

        return wait_for(name, seconds=60)


@provokes('Invalid timezone: "New York"')
def _() -> None:
    from prefect.client.schemas.schedules import CronSchedule

    CronSchedule(cron="0 9 3 * *", timezone="New York")


@provokes("2023-01-03 09:00:00+00:00")
def _() -> str:
    from prefect.server.schemas.schedules import CronSchedule

    def first(**zone: str) -> str:
        schedule = CronSchedule(cron="0 9 3 * *", **zone)
        start = datetime(2023, 1, 1, tzinfo=UTC)
        return str(asyncio.run(schedule.get_dates(1, start=start))[0])

    assert first(timezone="America/New_York") == "2023-01-03 09:00:00-05:00"
    return first()


# Flows, tasks and blocks


@provokes("No module named 'prefect.orion'")
def _() -> None:
    from prefect.orion.schemas.schedules import CronSchedule  # noqa: F401


@provokes("cannot import name 'DeploymentSpec' from 'prefect.deployments'")
def _() -> None:
    from prefect.deployments import DeploymentSpec  # noqa: F401


@provokes("cannot import name 'SequentialTaskRunner' from 'prefect.task_runners'")
def _() -> None:
    from prefect.task_runners import SequentialTaskRunner  # noqa: F401


@provokes("`prefect.filesystems:S3` has been removed.")
def _() -> None:
    from prefect.filesystems import S3  # noqa: F401


@provokes("There is no active flow or task run context.")
def _() -> None:
    from prefect import get_run_logger

    get_run_logger()


@provokes("Flow run received invalid parameters:")
def _() -> None:
    from prefect import flow

    @flow
    def train(rounds: int) -> None:
        pass

    train.validate_parameters({"rounds": "many"})


@provokes("Error encountered when computing cache key - result will not be persisted.")
def _(prefect_api: str, caplog: pytest.LogCaptureFixture) -> str:
    from prefect import flow, task
    from prefect.cache_policies import INPUTS

    @task(cache_policy=INPUTS)
    def uses(lock: object) -> int:
        return 1

    @flow
    def main_flow() -> int:
        return uses(threading.Lock())

    assert main_flow() == 1
    return caplog.text


@provokes("State data is missing. Typically, this occurs when result persistence is disabled")
def _(prefect_api: str) -> None:
    from prefect import flow, get_client

    def main_flow() -> int:
        return 1

    def result(persist: bool) -> int:
        run = flow(main_flow, persist_result=persist)(return_state=True).state_details.flow_run_id
        with get_client(sync_client=True) as client:
            return client.read_flow_run(run).state.result()

    assert result(persist=True) == 1  # the remedy of the page
    result(persist=False)


@provokes("asyncio.run() cannot be called from a running event loop")
def _() -> None:
    async def main() -> None:
        later = asyncio.sleep(0)
        try:
            asyncio.run(later)
        finally:
            later.close()

    asyncio.run(main())


@provokes("coroutine 'run_task_async' was never awaited")
def _(prefect_api: str) -> str:
    from prefect import flow, task

    @task
    async def email_send_message() -> None:
        pass

    @flow
    def main_flow() -> int:
        email_send_message()
        return 1

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert main_flow() == 1
    return " ".join(str(warning.message) for warning in told)


@provokes("No block class found for slug '…'.")
def _(tmp_path: Path, prefect_api: str) -> None:
    from prefect.blocks.core import Block

    lines = (
        "from prefect.blocks.core import Block",
        "class Mine(Block): pass",
        "Mine().save('it')",
    )
    (tmp_path / "save.py").write_text("\n".join(lines))
    python(tmp_path / "save.py")
    Block.load("mine/it")


@provokes("Unable to find block document named … for block type …")
def _(prefect_api: str) -> None:
    from prefect.blocks.core import Block

    Block.load("s3-bucket/s3-bucket-block")


# MLflow


@provokes("database is locked")
def _(tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as one,
        closing(sqlite3.connect(tmp_path / "mlflow.db", timeout=0)) as other,
    ):
        one.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE runs (name TEXT)")


@provokes("Detected out-of-date database schema (found version …, but expected …)")
def _(store: str) -> None:
    from mlflow import MlflowClient

    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0584bdc529eb'")
    MlflowClient(store).search_experiments()


@provokes("The filesystem tracking backend (e.g., './mlruns') is in maintenance mode")
def _(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    MlflowClient(str(tmp_path / "mlruns")).search_experiments()


@provokes("Cannot set a deleted experiment '…' as the active experiment.")
def _(store: str) -> None:
    import mlflow

    mlflow.delete_experiment(mlflow.create_experiment("nyc-taxi-experiment"))
    mlflow.set_experiment("nyc-taxi-experiment")


@provokes("Address already in use", slow=True)
def _(store: str) -> str:
    with taken_port() as port:
        return python("-m", "mlflow", "ui", "--backend-store-uri", store, "--port", port)


@provokes("Run with UUID … is already active.")
def _(store: str) -> None:
    import mlflow

    for _ in range(2):
        mlflow.start_run(experiment_id="0")


@provokes("Changing param values is not allowed.")
def _(store: str) -> None:
    import mlflow

    mlflow.start_run(experiment_id="0")
    for depth in (3, 5):
        mlflow.log_param("depth", depth)


@provokes("The saved sklearn model references untrusted types.", slow=True)
def _(tmp_path: Path) -> None:
    import mlflow
    from xgboost import XGBRegressor

    model = XGBRegressor(n_estimators=1).fit(np.eye(3), np.arange(3))
    mlflow.sklearn.save_model(model, tmp_path / "model", pip_requirements=[])


# Models and data


@provokes("got an unexpected keyword argument 'squared'")
def _() -> None:
    from sklearn.metrics import mean_squared_error

    mean_squared_error([1], [2], squared=False)


def one_hot(*pairs: str) -> object:
    from sklearn.feature_extraction import DictVectorizer

    return DictVectorizer().fit_transform([{"PU_DO": pair} for pair in pairs])


@provokes("Only sparse matrices with 32-bit integer indices are accepted. Got int64 indices.")
def _() -> None:
    from sklearn.linear_model import Lasso

    trips = one_hot("74_75", "41_42")
    try:
        Lasso().fit(trips, [1, 2])
    finally:
        trips.indices, trips.indptr = (a.astype("int32") for a in (trips.indices, trips.indptr))
        Lasso().fit(trips, [1, 2])  # the remedy of the page


@provokes("X has … features, but … is expecting … features as input.")
def _() -> None:
    from sklearn.linear_model import Ridge

    Ridge().fit(one_hot("74_75", "41_42"), [1, 2]).predict(one_hot("74_75"))


@provokes("Unable to allocate")
def _() -> None:
    np.ones((73_908, 13_221 * 10_000))


@provokes("No module named 'pkg_resources'")
def _() -> str:
    return python("-S", "-c", "import pkg_resources")  # like an environment without setuptools


@provokes("No such file or directory: './data/green_tripdata_2021-01.csv'")
def _(project: Path) -> None:
    pd.read_csv("./data/green_tripdata_2021-01.csv")


@provokes("There is no green_tripdata_….parquet in …: put it there")
def _(data_dir: Path) -> None:
    fetch_months("2021-01", source="local")


@provokes("One run never mixes real and made-up months")
def _(write_month: Callable[..., Path], runs_dir: Path) -> None:
    made_up = fetch_months("2021-02", source="synthetic")[0].path
    shutil.copy(made_up, write_month("2021-01").with_name(made_up.name))
    fetch_months("2021-01", "2021-02", source="local")


@provokes("has changed since it was first used (its SHA-256 is not the one in …)")
def _(write_month: Callable[..., Path]) -> None:
    path = write_month("2021-01")
    fetch_months("2021-01", source="local")
    pd.read_parquet(path).head(4).to_parquet(path)
    fetch_months("2021-01", source="local")


# Jupyter, papermill and Python


def execute(folder: Path, **options: object) -> None:
    from papermill import execute_notebook

    nbformat.write(nbformat.v4.new_notebook(), folder / "in.ipynb")
    options = {"progress_bar": False} | options
    execute_notebook(folder / "in.ipynb", folder / "out.ipynb", **options)


@provokes("No kernel name found in notebook and no override provided.")
def _(tmp_path: Path) -> None:
    execute(tmp_path)


@provokes("No such kernel named …")
def _(tmp_path: Path) -> None:
    execute(tmp_path, kernel_name="conda-env-zoomcamp")


@provokes("Passed unknown parameter: …")
def _(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> str:
    execute(
        tmp_path,
        kernel_name="python3",
        language="python",
        parameters={"mnth": 1},
        prepare_only=True,
    )
    return caplog.text


@provokes("No module named 'taxi_lib'")
def _(tmp_path: Path) -> str:
    return python("-S", "-P", "-c", "import taxi_lib")  # like the Python of another kernel


@provokes("'unicodeescape' codec can't decode bytes in position 2-3")
def _() -> None:
    compile(r'"C:\Users\me"', "cell", "eval")


@provokes("Python 3.11 to 3.13 is needed")
def _(tmp_path: Path) -> str:
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    make = ["make", "-C", str(tmp_path), "setup", "PYTHON=false"]
    return subprocess.run(make, capture_output=True, text=True, check=False).stdout


# The page


def test_every_text_of_the_page_is_provoked_once_and_nothing_else():
    assert sorted(TEXTS) == sorted(text for case in PROVOKED for text in case.values[0])


@pytest.mark.parametrize(("texts", "provoke"), PROVOKED)
def test_the_text_is_what_one_sees(
    texts: tuple[str, ...], provoke: Callable, request: pytest.FixtureRequest
):
    arguments = {name: request.getfixturevalue(name) for name in signature(provoke).parameters}
    try:
        seen = provoke(**arguments)
    except Exception as error:
        seen = f"{type(error).__name__}: {error}"
    plain = " ".join(re.sub("[─-╿]", " ", seen or "").split())  # without a box around it
    for text in texts:
        gaps = ".+?".join(map(re.escape, text.split("…")))
        assert re.search(gaps, plain), plain[-2000:]


def test_an_entry_is_read_in_a_moment():
    entries = re.split(r"^### .+\n", PAGE, flags=re.MULTILINE)[1:]
    lines = [len(re.split(r"^## ", entry, flags=re.MULTILINE)[0].split("\n")) for entry in entries]
    assert max(lines) <= 7  # with the empty ones around
