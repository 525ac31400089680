"""The walkthrough flow in this process, and what the tests' Prefect server shows of it."""

import json
import re
from pathlib import Path
from typing import Any

from prefect import get_client
from prefect.client.schemas import filters, sorting
from prefect.client.schemas.objects import Artifact, FlowRun

from taxi_lib.services.prefect_client import tasks_of


def run_flow(folder: Path, **arguments: object) -> dict[str, Any]:
    """Run a folder of notebooks as a flow in this process; the summary."""
    from taxi_lib.walkthrough import walkthrough

    state = walkthrough(folder=folder, return_state=True, **arguments)
    outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def statuses(summary: dict[str, Any]) -> dict[str, str]:
    """Return the status of each notebook."""
    return {run["name"]: run["status"] for run in summary["notebooks"]}


def summary_of(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "summary.json").read_text())


def flow_runs(flow_name: str = "walkthrough") -> list[FlowRun]:
    """Return the runs of a flow, the newest first."""
    named = filters.FlowFilter(name=filters.FlowFilterName(any_=[flow_name]))
    newest = sorting.FlowRunSort.START_TIME_DESC
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_filter=named, sort=newest)


def flow_run_in(run_dir: Path) -> FlowRun:
    """Return the walkthrough that wrote into a folder; the first, if there were several."""
    here = [run for run in flow_runs() if run.parameters.get("run_dir") == str(run_dir)]
    return min(here, key=lambda run: run.created)


def task_states(run_dir: Path) -> dict[str, str]:
    """Return the states that Prefect shows for the notebooks of a run."""
    return {task.name: task.state_name for task in tasks_of(flow_run_in(run_dir).id)}


def artifacts_of(run: FlowRun) -> dict[str, Artifact]:
    made_by = filters.ArtifactFilterFlowRunId(any_=[run.id])
    wanted = filters.ArtifactFilter(flow_run_id=made_by)
    with get_client(sync_client=True) as client:
        return {a.key: a for a in client.read_artifacts(artifact_filter=wanted)}


def on_the_server() -> set[str]:
    """Return all that lessons make on a Prefect server, except the history of their runs."""
    with get_client(sync_client=True) as client:
        found = {
            "automation": client.read_automations(),
            "deployment": client.read_deployments(),
            "pool": client.read_work_pools(),
            "block": client.read_block_documents(include_secrets=False),
            "variable": client.read_variables(),
            "limit": client.read_global_concurrency_limits(limit=200),
        }
    # A deployment's own limit goes with it, and is named by its id.
    owned = {f"deployment:{deployment.id}" for deployment in found["deployment"]}
    found["limit"] = [limit for limit in found["limit"] if limit.name not in owned]
    return {f"{kind} {thing.name}" for kind, things in found.items() for thing in things}


def temporary(things: set[str]) -> set[str]:
    """Return those whose name a lesson made for itself: only that lesson knows when it is done."""
    return {thing for thing in things if re.search(r"-[a-f][0-9a-f]{3}$", thing)}
