"""The walkthrough: the lessons, or any folder of numbered notebooks, run as one Prefect flow."""

import os
import time
from pathlib import Path
from typing import Any

from prefect import flow, get_client, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed

from taxi_lib import contracts, runner, settings, summary
from taxi_lib.contracts import Contract
from taxi_lib.flows import settle_source
from taxi_lib.results import NotebookRun
from taxi_lib.settings import Source


@task(task_run_name="{contract.name}", cache_policy=NO_CACHE)
def run_notebook(
    contract: Contract, parameters: dict[str, Any], folder: Path, env: dict[str, str]
) -> NotebookRun | State:
    """Run one lesson, telling each cell in the terminal and in the task's log."""
    logger = get_run_logger()

    def progress(line: str) -> None:
        logger.info(line)
        summary.say(line)

    run = runner.run_notebook(contract, parameters, folder, env, progress)
    return Failed(message=run.error, data=run) if run.error else run


@flow
def walkthrough(
    notebooks: list[str] | None = None,
    parameters: dict[str, Any] | None = None,
    source: Source = "auto",
    run_dir: Path | None = None,
    folder: Path | None = None,
) -> dict[str, Any] | State:
    """Run the lessons in order, each with its parameters, and sum up what came of them.

    Parameters
    ----------
    notebooks : list of str, optional
        Names or numbers, such as ``["01", "06"]``; all when left out.
    parameters : dict, optional
        Values by name; each notebook is given those that it takes.
    source : {"auto", "local", "tlc", "synthetic"}
        Where the months come from; decided once, for every notebook.
    run_dir : pathlib.Path, optional
        Where the executed notebooks go; a new folder under ``runs/`` when left out.
    folder : pathlib.Path, optional
        Where the notebooks are, their names beginning with a number; the workbook's lessons
        when left out.

    Returns
    -------
    dict
        The summary, as ``summary.json`` in the run folder holds it; the flow's state is
        failed when a notebook failed, after all have been tried.

    Raises
    ------
    ContractError, DataError
        When something asked for cannot be had, before any kernel starts.
    """
    started = time.monotonic()
    given = parameters or {}
    lessons = contracts.find_notebooks(notebooks or (), folder)
    contracts.check_request(lessons, given)
    months = [m for lesson in lessons for m in lesson.months(given, needed=True).values()]
    source = given.get("source", source)
    made_by = None
    if months:
        source, made_by = settle_source(list(dict.fromkeys(months)), source)
    target = summary.run_folder(run_dir)
    # The lessons' own flows appear on the server that this very run is recorded on.
    with get_client(sync_client=True) as client:
        server = {"PREFECT_API_URL": str(client.api_url).rstrip("/")}
    env = os.environ | settings.environment() | server
    runs = []
    for lesson in lessons:
        values = lesson.check(given | {"source": source})
        state = run_notebook(lesson, values, target, env, return_state=True)
        runs.append(_outcome(lesson, state))
    report = summary.write(runs, made_by, time.monotonic() - started, target)
    create_table_artifact(
        key="walkthrough-summary", description=report["status"], table=summary.rows(report)
    )
    failures = summary.failures(report)
    return Failed(message=failures, data=report) if failures else report


def _outcome(lesson: Contract, state: State) -> NotebookRun:
    """Return what came of a lesson, also when the task around it broke."""
    run = state.result(raise_on_failure=False)
    if isinstance(run, NotebookRun):
        return run
    return NotebookRun(lesson.name, "failed", error=f"{type(run).__name__}: {run}")
