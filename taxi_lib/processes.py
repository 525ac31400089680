"""Processes: the programs of this environment, and stopping one with all that it started."""

import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil


def program(name: str) -> str:
    """Return a program of this very environment, activated or not."""
    return str(Path(sys.executable).with_name(name))


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
