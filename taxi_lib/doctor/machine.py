"""The machine: programs, ports, and room on the disk."""

import shutil
import sys
from contextlib import suppress
from pathlib import Path

from taxi_lib import settings
from taxi_lib.doctor.findings import Findings, ok, problem, warning
from taxi_lib.doctor.folders import nearest, working_folder

_NEEDED, _BETTER = 0.3, 2.0  # GB: all lessons together leave less than 0.1


def check_programs() -> Findings:
    """Look for the programs that a lesson or the Makefile calls."""
    if not working_folder():
        yield problem("The working directory was removed", "cd to another one")
    if sys.platform == "win32":
        yield problem("Windows has no fork, which the lessons need", "work in WSL")
    if not shutil.which("git"):
        yield problem("git is not on the PATH, and lesson 9 pushes to a repository", "install git")
    if settings.checkout() and not shutil.which("make"):
        instead = f"install it, or use {sys.executable} -m taxi_lib"
        yield warning("make is not on the PATH", instead)
    if found := [name for name in ("git", "make") if shutil.which(name)]:
        yield ok(", ".join(found))


def check_ports() -> Findings:
    """Look whether the ports of the pages are free, or serve a page of this workbook."""
    from taxi_lib.services import pages
    from taxi_lib.services.ports import is_free

    locks = {
        4200: ("prefect", settings.prefect_home() / "server.lock"),
        pages.PORT: ("pages", settings.runs_dir() / pages.LOCK),
        5000: ("mlflow", settings.runs_dir() / ".locks" / "mlflow-page.lock"),
    }
    taken = [port for port in locks if not is_free(port)]
    ours = [port for port in taken if _is_used(locks[port][1], port)]
    for port in sorted(set(taken) - set(ours)):
        other = f'make ui ARGS="--{locks[port][0]}-port {port + 100}", or stop that program'
        yield warning(f"Port {port} is taken by another program", other)
    if taken == ours:
        free = "" if is_free(8888) else "; JupyterLab will take another than 8888"
        yield ok(f"4200, {pages.PORT} and 5000 are free, or show this workbook's pages{free}")


def _is_used(lock: Path, port: int) -> bool:
    """Return whether a program of ours runs under a lock file, at that port."""
    from taxi_lib.services.shared_process import lock_alone

    with suppress(OSError, ValueError), lock.open(encoding="utf-8") as file:
        return f":{port}" in file.read() and not lock_alone(file)
    return False


def check_disk() -> Findings:
    """Look whether there is room for runs."""
    place = nearest(settings.runs_dir())
    free = shutil.disk_usage(place).free / 1e9
    fault, remedy = f"Only {free:.1f} GB are free at {place}", "make room, or set TAXI_RUNS_DIR"
    if free < _NEEDED:
        yield problem(fault, remedy)
    elif free < _BETTER:
        yield warning(fault, remedy)
    else:
        yield ok(f"{free:.0f} GB free at {place}")
