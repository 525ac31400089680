"""Processes: which still run, and as whom they run."""

import os
import shutil
from pathlib import Path

import psutil
import pytest

from taxi_lib.services.processes import RUN_TAG


def is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it may end at any moment, also while we look
        return False


def with_variable(name: str, value: str) -> list[str]:
    """Return the command lines of running processes that have this environment variable."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(name) == value:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue  # it has just ended, or we may not look
    return found


def of_runs_in(runs_dir: Path) -> list[str]:
    """Return what still runs of the runs whose files lie in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            env = process.environ()
            if env.get(RUN_TAG) and env.get("TAXI_RUNS_DIR") == str(runs_dir):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue  # it has just ended, or we may not look
    return found


def as_anybody() -> list[str]:
    """Return what to put before a command so that file modes count for it, for root too."""
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root may write everywhere, and there is no setpriv to give that up")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
