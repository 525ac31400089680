"""Processes: the programs of this environment, and stopping one with all that it started."""

import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

# Every process of a run carries the run's mark in this variable of its environment.
MARK = "TAXI_RUN"


class Command(NamedTuple):
    """What to start, with which environment, where it will answer, and in which folder."""

    arguments: list[str]
    env: dict[str, str]
    address: str
    cwd: Path | None = None


def program(name: str) -> str:
    """Return a program of this very environment, activated or not."""
    return str(Path(sys.executable).with_name(name))


def module(name: str) -> list[str]:
    """Return how to run a module of this very environment as a program.

    Not as the program of that name: its first line names the folder that the environment was made
    in, which may have moved. What lies in the working directory is not imported.
    """
    return [sys.executable, "-P", "-m", name]


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that a run has started, also those that its notebooks started.

    Parameters
    ----------
    mark : str
        Of the run, or of one notebook of it: a mark begins with that of what it belongs to.
    """
    if not mark:
        raise ValueError("an empty mark is everybody's")
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # ended just now, or not ours to look at
            theirs = process.environ().get(MARK, "")
            if f"{theirs}/".startswith(f"{mark}/") and process.pid != os.getpid():
                found.append(process)
    return found


def as_mark(name: str) -> str:
    """Return a name as it may be part of a mark."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


def mark_within(env: Mapping[str, str], own: str) -> str:
    """Return the mark of something that belongs to the run of an environment, if to any."""
    return f"{env[MARK]}/{own}" if env.get(MARK) else own


def stop_marked(mark: str) -> None:
    """Kill all that a run, or one notebook of it, has started and left."""
    deadline = time.monotonic() + 20
    # Again and again: one may have started another meanwhile.
    while (left := marked(mark)) and time.monotonic() < deadline:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=5)


def stop(
    process: psutil.Process, family: Iterable[psutil.Process] = (), patience: float = 10
) -> None:
    """Stop a process and all that it started: kindly, then firmly.

    Parameters
    ----------
    process : psutil.Process
        The eldest; it is interrupted, and may see to the others itself.
    family : iterable of psutil.Process
        What it started and no longer is its child, if known.
    patience : float
        Seconds that it is given.
    """
    members = set(family)
    with suppress(psutil.Error):
        members |= set(process.children(recursive=True))
        process.send_signal(signal.SIGINT)
    psutil.wait_procs([process], timeout=patience)
    for way, seconds in ((psutil.Process.terminate, 3), (psutil.Process.kill, 5)):
        _, left = psutil.wait_procs([process, *members], timeout=0)
        for member in left:
            with suppress(psutil.Error):
                way(member)
        psutil.wait_procs(left, timeout=seconds)
