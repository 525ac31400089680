"""What a reader sees in the browser, and on which server a lesson's own runs are found."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from support.browser import CHROMIUM, page_in_browser
from support.cli import run
from support.flow_runs import flow_run_in, flow_runs, summary_of
from support.notebooks import write_cells

pytestmark = pytest.mark.slow


class Walked(NamedTuple):
    """A run of the command line: what Prefect shows of it, its summary, and what it printed."""

    flow_run: FlowRun
    summary: dict[str, Any]
    printed: str


@pytest.fixture(scope="module")
def walked(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    """Run a notebook with a flow in it and one that fails, against the tests' server."""
    project, folder = (tmp_path_factory.mktemp(name) for name in ("project", "run"))
    write_cells(project, INNER_FLOW, name="01_with_a_flow")
    write_cells(project, "1 / 0", name="02_that_fails")
    arguments = ["--folder", project, "--run-dir", folder]
    status, printed = run(*arguments, PREFECT_API_URL=prefect_server)
    assert status == 1, printed
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        return Walked(flow_run_in(folder), summary_of(folder), printed)


INNER_FLOW = """from prefect import flow

@flow
def a_flow_in_a_notebook():
    return 1

a_flow_in_a_notebook()"""


@pytest.mark.usefixtures("prefect_api")
def test_the_flows_of_a_notebook_are_recorded_where_its_walkthrough_is(walked: Walked):
    begun, ended = walked.flow_run.start_time, walked.flow_run.end_time
    inner = [
        r for r in flow_runs("a-flow-in-a-notebook") if r.end_time and begun < r.end_time < ended
    ]
    assert inner and all(run.state.is_completed() for run in inner)


def test_a_notebook_that_fails_fails_the_run_and_leaves_its_evidence(walked: Walked):
    good, bad = walked.summary["notebooks"]
    assert (good["status"], bad["status"]) == ("completed", "failed")
    assert bad["error"] == "cell 4/4 · Work: ZeroDivisionError: division by zero"
    assert "Traceback" in Path(bad["output"]).read_text()
    assert Path(bad["html"]).is_file() and bad["error"] in walked.printed


@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
@pytest.mark.usefixtures("prefect_api")
def test_the_browser_shows_a_walkthrough_with_its_tasks_and_artifacts(
    walked: Walked, prefect_server: str, tmp_path: Path
):
    address = f"{prefect_server.removesuffix('/api')}/v2/runs/flow-run/{walked.flow_run.id}"
    wanted = {
        *(walked.flow_run.name, "Failed", "01_with_a_flow", "02_that_fails"),
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
