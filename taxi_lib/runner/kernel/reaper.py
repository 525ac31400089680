"""Run a kernel, and see to it that all it has started ends with it.

On Linux every process that loses its parent becomes a child of this one, whatever session,
environment or name it has. So nothing that a notebook starts can get away, except the programs that
others use as well: those of :mod:`taxi_lib.services.shared_process` stop by themselves.
The notebook ends when its kernel does, and when our standard input is closed. The run closes it to
stop the notebook; if the run is killed, the operating system does.

    python -I -S reaper.py RUN_TAG program argument …

It starts with every kernel, so it imports little: no packages, nothing of the library.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

_RUN_TAG = "TAXI_RUN"  # as processes.RUN_TAG
_SET_CHILD_SUBREAPER, _SET_DEATH_SIGNAL = 36, 1  # of Linux: see prctl(2)
_CHILDREN = "/proc/self/task/{}/children"
_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
_PATIENCE = 20  # seconds for killed processes to be gone


def main(tag: str, *command: str) -> int:
    """Run a command until it ends or our standard input does; return its exit status.

    Parameters
    ----------
    tag : str
        What the command and all that it starts carry in their environment.
    *command : str
        The program and its arguments.
    """
    adopts = _prctl(_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    asked: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only to be woken
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: asked.append(number))
    kernel = _start(tag, command)
    signal.signal(signal.SIGINT, lambda number, _: _send(kernel, number))
    status, left = None, False
    while status is None and not left and not asked:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
        left = 0 in ready and not os.read(0, 4096)
        status = _bury(kernel)
    if status is None:
        _send(kernel, signal.SIGKILL)
    _end_all(kernel, tag, adopts)
    if left:  # nobody else may be there to remove its files
        _remove(os.environ.get("JUPYTER_RUNTIME_DIR"))
    return os.waitstatus_to_exitcode(status) % 256 if status is not None else 1


def _prctl(option: int, value: int) -> bool:
    """Ask Linux for something; False on another system."""
    if not sys.platform.startswith("linux"):
        return False
    return ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0


def _start(tag: str, command: tuple[str, ...]) -> int:
    us = os.getpid()
    if kernel := os.fork():
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        return kernel
    try:
        os.setsid()  # no terminal, and a group that can be killed without us
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.set_wakeup_fd(-1)
        for number in (
            signal.SIGINT,
            signal.SIGCHLD,
            signal.SIGTERM,
            signal.SIGHUP,
            signal.SIGPIPE,
        ):
            signal.signal(number, signal.SIG_DFL)
        _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        ours = {_RUN_TAG: tag, "JPY_PARENT_PID": str(us)}  # ipykernel ends when that one is gone
        os.execve(command[0], command, os.environ | ours)
    finally:
        os._exit(127)


def _bury(kernel: int) -> int | None:
    """Forget the children that have ended; return the kernel's status if it is among them."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found = ended[1] if ended[0] == kernel else found
    return found


def _end_all(kernel: int, tag: str, adopts: bool) -> None:
    """Kill all that the kernel has started, again and again: one may just be starting another."""
    if not adopts:  # what has left its parent is found by its run tag, if it kept that
        where = "taxi_lib.services.processes"
        stop = f"import sys; from {where} import stop_tagged; stop_tagged(sys.argv[1])"
        os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", stop, tag])
        return
    deadline, tries = time.monotonic() + _PATIENCE, 0
    while time.monotonic() < deadline:
        _bury(kernel)
        if not (left := list(_descendants())):
            return
        for pid in left:
            _send(pid, signal.SIGKILL)
            _hunt(kernel)
        tries += 1
        time.sleep(min(tries, 20) / 1000)


def _send(pid: int, number: int) -> None:
    """Send a signal to a process and to its group, if it has one that is not ours.

    A group is reached in one go: who forks without end cannot run away from that.
    """
    with suppress(OSError):
        if (group := os.getpgid(pid)) != os.getpgid(0):
            os.killpg(group, number)
    with suppress(OSError):
        os.kill(pid, number)


def _hunt(kernel: int) -> None:
    """Kill our own children at once, as long as there are new ones: some change their group."""
    seen: set[int] = set()
    with suppress(OSError):
        while new := {*map(int, _read(_CHILDREN.format(os.getpid())).split())} - seen:
            for pid in new:
                if not _is_shared(pid):
                    _send(pid, signal.SIGKILL)
            _bury(kernel)
            seen |= new


def _descendants() -> Iterator[int]:
    """Yield the processes below us, without those that others use as well.

    Zombies, too: one with several threads is called so while some of them are still at work.
    """
    below: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with suppress(OSError):
                stat = _read(f"{entry.path}/stat")
                parent = stat.rpartition(b")")[2].split()[1]  # a name may hold spaces
                below.setdefault(int(parent), []).append(int(entry.name))
    waiting = below.get(os.getpid(), [])
    while waiting:
        pid = waiting.pop()
        if not _is_shared(pid):
            yield pid
            waiting += below.get(pid, [])


def _is_shared(pid: int) -> bool:
    """Tell whether a process belongs to a program that others use as well."""
    try:
        env = _read(f"/proc/{pid}/environ")
    except OSError:
        return False  # ended just now, or another user's
    return f"\0{_RUN_TAG}=shared-".encode() in b"\0" + env


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 (pathlib is not loaded here)
        return file.read()


def _remove(folder: str | None) -> None:
    if folder:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
