"""Start the programs of this environment, and stop a process with everything that it started."""

import os
import re
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from taxi_lib.errors import TaxiError
from taxi_lib.services.waiting import wait_for

# This environment variable holds a process's run tag: which run started it, which of the run's
# notebooks, and in which attempt, such as "3f2a9c1d/01_lesson/5b1e77aa". Children inherit it.
RUN_TAG = "TAXI_RUN"


class Command(NamedTuple):
    """A program to start, its whole environment, where it will answer, and where it works."""

    arguments: list[str]
    env: dict[str, str]
    address: str
    cwd: Path | None = None

    @property
    def name(self) -> str:
        """The program's name: ``uvicorn`` for ``python -P -m uvicorn …``, see :func:`module`."""
        return Path(self.arguments[3 if "-m" in self.arguments[:3] else 0]).name


def program(name: str) -> str:
    """Return the path of a program of this environment, whether or not that is activated."""
    return str(Path(sys.executable).with_name(name))


def module(name: str) -> list[str]:
    """Return the command that runs a module of this environment as a program.

    It works also after the environment was moved: the script of the same name has the old folder
    in its first line. ``-P`` keeps files of the working directory from being imported.
    """
    return [sys.executable, "-P", "-m", name]


def web_server(app: str, port: int) -> list[str]:
    """Return the command that serves a web application, ``module:factory``, on loopback."""
    where = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    return [*module("uvicorn"), "--factory", app, *where]


def run_tag(env: Mapping[str, str], *names: str) -> str:
    """Return a run tag: the one in an environment, if there is one, followed by some names."""
    own = [re.sub(r"[^A-Za-z0-9_.-]+", "-", name) for name in names]
    return "/".join([env[RUN_TAG], *own] if env.get(RUN_TAG) else own)


def tagged(tag: str) -> list[psutil.Process]:
    """Return all processes of a run, or of one notebook of it; see :func:`run_tag`."""
    if not tag:
        raise ValueError("An empty run tag would match every process.")
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it has just ended, or belongs to another user
            its_tag = process.environ().get(RUN_TAG, "")
            if f"{its_tag}/".startswith(f"{tag}/") and process.pid != os.getpid():
                found.append(process)
    return found


def stop_tagged(tag: str) -> None:
    """Kill all processes of a run, or of one notebook of it."""

    def all_gone() -> bool:
        left = tagged(tag)
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=5)
        return not left

    with suppress(TaxiError):
        wait_for(all_gone, seconds=20, pause=0)  # repeatedly: they may be starting others


def stop(
    process: psutil.Process, family: Iterable[psutil.Process] = (), patience: float = 10
) -> None:
    """Interrupt a process; then terminate and kill what is left of it, its children and family.

    The family are processes that it started but that are no longer its children. Patience is how
    many seconds it has after the interrupt.
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
