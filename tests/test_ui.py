"""What a reader sees in the browser, and on which server a lesson's own runs are found."""

import time
from pathlib import Path

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from support.browser import CHROMIUM, page_in_browser
from support.flow_runs import flow_run_in, flow_runs
from support.notebooks import write_cells
from taxi_lib.services.commands import shell

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def walkthrough_run(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> FlowRun:
    """Run a notebook with a flow in it by the walkthrough, against the tests' server."""
    project, folder = (tmp_path_factory.mktemp(name) for name in ("project", "run"))
    write_cells(project, INNER_FLOW, name="01_with_a_flow")
    write_cells(project, "1 / 0", name="02_that_fails")
    env = f"env PREFECT_API_URL={prefect_server}"
    shell(
        f"{env} python -m taxi_lib run --folder {project} --run-dir {folder}", expect=1, show=False
    )
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        return flow_run_in(folder)


INNER_FLOW = """from prefect import flow

@flow
def a_flow_in_a_notebook():
    return 1

a_flow_in_a_notebook()"""


@pytest.mark.usefixtures("prefect_api")
def test_the_flows_of_a_notebook_are_recorded_where_its_walkthrough_is(walkthrough_run: FlowRun):
    begun, ended = walkthrough_run.start_time, walkthrough_run.end_time
    inner = [
        r for r in flow_runs("a-flow-in-a-notebook") if r.end_time and begun < r.end_time < ended
    ]
    assert inner and all(run.state.is_completed() for run in inner)


@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
@pytest.mark.usefixtures("prefect_api")
def test_the_browser_shows_a_walkthrough_with_its_tasks_and_artifacts(
    walkthrough_run: FlowRun, prefect_server: str, tmp_path: Path
):
    address = f"{prefect_server.removesuffix('/api')}/v2/runs/flow-run/{walkthrough_run.id}"
    wanted = {
        *(walkthrough_run.name, "Failed", "01_with_a_flow", "02_that_fails"),
        *("walkthrough-summary", "failed-02-that-fails"),
    }
    missing = wanted
    for attempt in range(3):  # a busy machine may not have drawn all of it in time
        shown = page_in_browser(f"{address}?tab=Artifacts", tmp_path / str(attempt))
        shown += page_in_browser(f"{address}?tab=TaskRuns", tmp_path / str(attempt))
        missing = {text for text in wanted if text not in shown}
        if not missing:
            break
        time.sleep(5)
    assert not missing
