"""Live runs, one to a folder, and the cleaning up after runs that crashed.

A run holds a lock as long as it lives; the operating system releases it however the run ends.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from taxi_lib import settings
from taxi_lib.atomic_files import sha256_of, write_text
from taxi_lib.errors import ContractError
from taxi_lib.runner import run_folder
from taxi_lib.services.ports import is_healthy
from taxi_lib.services.prefect_local import crash
from taxi_lib.services.processes import RUN_TAG, stop_tagged


class LiveRun(NamedTuple):
    """A run: its folder, the tag of its processes, and its flow run on a Prefect server."""

    folder: str
    run_tag: str
    flow_run: str = ""
    api: str = ""


@contextmanager
def registered(run: LiveRun) -> Iterator[None]:
    """Register a run as live until the block ends.

    Raises
    ------
    ContractError
        When another run is live in the same folder.
    """
    _folder().mkdir(parents=True, exist_ok=True)
    path = _folder() / f"{sha256_of(run.folder)[:16]}.json"
    lock = FileLock(path.with_suffix(".lock"), timeout=3)  # another run may be cleaning up
    try:
        lock.acquire()
    except Timeout:
        raise ContractError(
            f"Another run is going on in {run.folder}: wait for it, or choose another --run-dir."
        ) from None
    with lock:
        write_text(path, json.dumps(run._asdict()))
        yield
        path.unlink(missing_ok=True)  # not after an interruption: the next run cleans up


def registered_runs() -> list[LiveRun]:
    """Return the runs that are live, or crashed and were not cleaned up after."""
    return [run for path in _folder().glob("*.json") if (run := _read(path))]


def _read(path: Path) -> LiveRun | None:
    try:
        return LiveRun(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _folder() -> Path:
    return settings.runs_dir() / ".running"


def recover(address: str, flow_run: str = "") -> list[LiveRun]:
    """Clean up after runs that crashed; return them.

    Their kernels are stopped, and Prefect, MLflow and ``summary.json`` no longer call them
    running. The flow run that asks for it runs: its first process may have been lost, and an
    automation has started it again.
    """
    crashed: dict[Path, LiveRun] = {}
    with ExitStack() as locks:
        for path in _folder().glob("*.json"):
            with suppress(Timeout):
                locks.enter_context(FileLock(path.with_suffix(".lock"), timeout=0))
                if run := _read(path):
                    crashed[path] = run
        for path, run in crashed.items():
            stop_tagged(run.run_tag)
            if run.flow_run not in ("", flow_run):
                # On its own server, unless that has another address by now.
                crash(run.api if is_healthy(run.api) else address, id={"any_": [run.flow_run]})
            close_tracked(run.run_tag)
            run_folder.mark_interrupted(Path(run.folder))
            path.unlink(missing_ok=True)
    return list(crashed.values())


def close_tracked(run_tag: str) -> None:
    """End the MLflow runs that a run, or one notebook of it, has begun and not ended."""
    uri = settings.tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return
    from mlflow import MlflowClient  # slow to import, and seldom needed

    ours = f"tags.{RUN_TAG} LIKE '{run_tag}/%' AND attributes.status = 'RUNNING'"
    try:
        client = MlflowClient(uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        for run in client.search_runs(experiments, ours) if experiments else ():
            client.set_terminated(run.info.run_id, "KILLED")
    except Exception as error:
        # A busy or damaged store may be why the run failed; that failure must reach the user.
        logging.getLogger(__name__).warning("MLflow's runs were not closed: %s", error)
