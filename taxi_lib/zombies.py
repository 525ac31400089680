"""Runs that Prefect or MLflow show as running, although their process is gone: closed."""

import logging
from pathlib import Path

import requests

from taxi_lib import settings, summary
from taxi_lib.ongoing import Ongoing, died
from taxi_lib.ports import is_healthy
from taxi_lib.processes import MARK, stop_marked

_UNFINISHED = ["RUNNING", "PENDING", "CANCELLING"]
_WHY = "Its process is gone: it was killed, or the machine was switched off."


def crash(address: str, **which: object) -> None:
    """Set flow runs that never ended, and their tasks, to ``Crashed``.

    Plain requests: a lesson calls this before it imports Prefect.

    Parameters
    ----------
    address : str
        Of Prefect's API.
    **which : object
        A filter of flow runs, such as ``id={"any_": […]}``.
    """
    states = {"state": {"type": {"any_": _UNFINISHED}}}
    tasks = {"state": {"type": {"any_": [*_UNFINISHED, "SCHEDULED"]}}}
    flow_runs = _filter(address, "flow_runs", flow_runs=which | states)
    ids = {"id": {"any_": [run["id"] for run in flow_runs]}}
    if flow_runs:
        for run in _filter(address, "task_runs", flow_runs=ids, task_runs=tasks):
            _set_crashed(f"{address}/task_runs/{run['id']}")
    for run in flow_runs:
        _set_crashed(f"{address}/flow_runs/{run['id']}")


def recover(address: str) -> list[Ongoing]:
    """Clean up after walkthroughs that were killed; return them.

    Their kernels are stopped, and they are no longer shown as running by Prefect, by MLflow, nor
    in their ``summary.json``.
    """
    with died() as runs:
        for run in runs:
            stop_marked(run.mark)
            # Where it was recorded, unless that server has another address by now.
            crash(run.api if is_healthy(run.api) else address, id={"any_": [run.flow_run]})
            close_tracked(run.mark)
            summary.interrupted(Path(run.folder))
        return runs


def close_tracked(mark: str) -> None:
    """End the MLflow runs that a run, or one notebook of it, has begun and not ended."""
    uri = settings.tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return
    from mlflow import MlflowClient  # a walkthrough does without it unless something died

    ours = f"tags.{MARK} LIKE '{mark}%' AND attributes.status = 'RUNNING'"
    try:
        client = MlflowClient(uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        for run in client.search_runs(experiments, ours) if experiments else ():
            client.set_terminated(run.info.run_id, "KILLED")
    except Exception as error:
        # A store that is busy or damaged may be why the run failed: that has to be told.
        logging.getLogger(__name__).warning("MLflow's runs were not closed: %s", error)


def _filter(address: str, kind: str, **body: object) -> list[dict]:
    answer = requests.post(f"{address}/{kind}/filter", json=body, timeout=60)
    answer.raise_for_status()
    return answer.json()


def _set_crashed(run: str) -> None:
    body = {"state": {"type": "CRASHED", "name": "Crashed", "message": _WHY}, "force": True}
    requests.post(f"{run}/set_state", json=body, timeout=60).raise_for_status()
