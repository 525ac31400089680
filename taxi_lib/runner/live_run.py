"""Runs that are going on: one to a folder; and those whose process died, cleaned up after.

Each holds a lock for as long as it lives; the operating system lets go of it however it ends.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


class Ongoing(NamedTuple):
    """A run: its folder, the run tag of its processes, and its flow run on a Prefect server."""

    folder: str
    run_tag: str
    flow_run: str
    api: str


@contextmanager
def registered(run: Ongoing) -> Iterator[None]:
    """Tell that a run is going on, until the block ends.

    Raises
    ------
    ContractError
        When another one is going on in the same folder.
    """
    _folder().mkdir(parents=True, exist_ok=True)
    path = _folder() / f"{sha256_of(run.folder)[:16]}.json"
    lock = FileLock(path.with_suffix(".lock"), timeout=3)  # somebody may be cleaning up
    try:
        lock.acquire()
    except Timeout:
        raise ContractError(
            f"Another run is going on in {run.folder}: wait for it, or choose another --run-dir."
        ) from None
    with lock:
        write_text(path, json.dumps(run._asdict()))
        yield
        path.unlink(missing_ok=True)  # not after an interruption: the next run looks after it


@contextmanager
def died() -> Iterator[list[Ongoing]]:
    """Yield the runs whose process is gone without having said so; forget them afterwards."""
    found: list[tuple[Ongoing, Path, FileLock]] = []
    for path in _folder().glob("*.json"):
        lock = FileLock(path.with_suffix(".lock"), timeout=0)
        with suppress(Timeout):
            lock.acquire()
            try:
                found.append((Ongoing(**json.loads(path.read_text())), path, lock))
            except (OSError, ValueError, TypeError):
                path.unlink(missing_ok=True)  # it ended meanwhile, or is no record at all
                lock.release()
    try:
        yield [run for run, _, _ in found]
        for _, path, _ in found:
            path.unlink(missing_ok=True)
    finally:
        for _, _, lock in found:
            lock.release()


def going_on() -> list[Ongoing]:
    """Return the runs that are going on, or died and have not been cleaned up after."""
    found = []
    for path in _folder().glob("*.json"):
        with suppress(OSError, ValueError, TypeError):
            found.append(Ongoing(**json.loads(path.read_text())))
    return found


def _folder() -> Path:
    return settings.runs_dir() / ".running"


def recover(address: str) -> list[Ongoing]:
    """Clean up after walkthroughs that were killed; return them.

    Their kernels are stopped, and they are no longer shown as running by Prefect, by MLflow, nor
    in their ``summary.json``.
    """
    with died() as runs:
        for run in runs:
            stop_tagged(run.run_tag)
            # Where it was recorded, unless that server has another address by now.
            crash(run.api if is_healthy(run.api) else address, id={"any_": [run.flow_run]})
            close_tracked(run.run_tag)
            run_folder.interrupted(Path(run.folder))
        return runs


def close_tracked(run_tag: str) -> None:
    """End the MLflow runs that a run, or one notebook of it, has begun and not ended."""
    uri = settings.tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return
    from mlflow import MlflowClient  # a walkthrough does without it unless something died

    ours = f"tags.{RUN_TAG} LIKE '{run_tag}/%' AND attributes.status = 'RUNNING'"
    try:
        client = MlflowClient(uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        for run in client.search_runs(experiments, ours) if experiments else ():
            client.set_terminated(run.info.run_id, "KILLED")
    except Exception as error:
        # A store that is busy or damaged may be why the run failed: that has to be told.
        logging.getLogger(__name__).warning("MLflow's runs were not closed: %s", error)
