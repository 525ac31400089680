"""Runs that are going on: one to a folder, and those whose process died are told from them.

Each holds a lock for as long as it lives; the operating system lets go of it however it ends.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from taxi_lib import settings
from taxi_lib.errors import ContractError
from taxi_lib.storage import sha256_of, write_text


class Ongoing(NamedTuple):
    """A run: its folder, the mark of its processes, and its flow run on a Prefect server."""

    folder: str
    mark: str
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
