"""Walkthroughs over notebooks made for a test, in this process or in one of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from conftest import ROOT

from taxi_lib.services.processes import RUN_TAG


def walk(folder: Path, **arguments: object) -> dict[str, Any]:
    """Run a folder of notebooks as a flow in this process; the summary."""
    from taxi_lib.walkthrough import walkthrough

    state = walkthrough(folder=folder, return_state=True, **arguments)
    outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {run["name"]: run["status"] for run in report["notebooks"]}


def start(*arguments: object, cwd: Path = ROOT, **env: str | None) -> subprocess.Popen:
    """Start ``python -m taxi_lib run``; a variable that is None is not set at all."""
    own = {name: value for name, value in (os.environ | env).items() if value is not None}
    return subprocess.Popen(
        [sys.executable, "-m", "taxi_lib", "run", *map(str, arguments)],
        cwd=cwd,
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell that starts tests in the background makes its children deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(*arguments: object, cwd: Path = ROOT, **env: str | None) -> tuple[int, str]:
    """Run ``python -m taxi_lib run``; its exit status and what it printed."""
    process = start(*arguments, cwd=cwd, **env)
    printed, _ = process.communicate(timeout=300)
    return process.returncode, printed


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def wait_until(look: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be forgotten does not."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def belonging_to(folder: Path) -> list[str]:
    """Return what still runs of the runs whose files lie in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            env = process.environ()
            if env.get(RUN_TAG) and env.get("TAXI_RUNS_DIR") == str(folder):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue  # ended just now, or not ours to look at
    return found
