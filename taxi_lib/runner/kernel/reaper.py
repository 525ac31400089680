"""The reaper: it runs a kernel, and ends everything that the kernel has started.

On Linux every process that loses its parent becomes a child of the reaper, whatever session,
environment or name it has. So no process of a notebook can escape. Only the programs of
:mod:`taxi_lib.services.shared_process` stay: others use them as well, and they stop by themselves.

The notebook ends when its kernel ends, or when the reaper's standard input is closed. The run
closes it to stop the notebook. When the run is killed, the operating system closes it.

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
_PATIENCE = 20  # seconds to wait for killed processes


def main(tag: str, *command: str) -> int:
    """Run a command until it or our standard input ends; return its exit status.

    The command and all that it starts carry the run tag in their environment.
    """
    adopts = _prctl(_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    stopped: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # it only has to wake us
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: stopped.append(number))
    kernel = _start(tag, command)
    signal.signal(signal.SIGINT, lambda number, _: _send(kernel, number))
    status, left = None, False
    while status is None and not left and not stopped:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
        left = 0 in ready and not os.read(0, 4096)
        status = _reap(kernel)
    if status is None:
        _send(kernel, signal.SIGKILL)
    _end_all(kernel, tag, adopts)
    if left and (folder := os.environ.get("JUPYTER_RUNTIME_DIR")):
        import shutil

        shutil.rmtree(folder, ignore_errors=True)  # the run may be gone, and cannot do it
    return os.waitstatus_to_exitcode(status) % 256 if status is not None else 1


def _prctl(option: int, value: int) -> bool:
    """Call Linux's prctl and return whether it worked."""
    if not sys.platform.startswith("linux"):
        return False
    return ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0


def _start(tag: str, command: tuple[str, ...]) -> int:
    parent = os.getpid()
    if kernel := os.fork():
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        return kernel
    try:
        os.setsid()  # no terminal, and a group that can be killed without us
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.set_wakeup_fd(-1)
        for number in (*_HANDLED, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        ours = {_RUN_TAG: tag, "JPY_PARENT_PID": str(parent)}  # ipykernel ends with it
        os.execve(command[0], command, os.environ | ours)
    finally:
        os._exit(127)


def _reap(kernel: int) -> int | None:
    """Reap the children that have ended; return the kernel's status if it is among them."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found = ended[1] if ended[0] == kernel else found
    return found


def _end_all(kernel: int, tag: str, adopts: bool) -> None:
    """Kill all that the kernel has started, repeatedly: a process may be starting another."""
    if not adopts:  # processes without their parent are found by their run tag, if they kept it
        where = "taxi_lib.services.processes"
        stop = f"import sys; from {where} import stop_tagged; stop_tagged(sys.argv[1])"
        os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", stop, tag])
        return
    deadline, tries = time.monotonic() + _PATIENCE, 0
    while time.monotonic() < deadline:
        _reap(kernel)
        if not (left := list(_descendants())):
            return
        for pid in left:
            _send(pid, signal.SIGKILL)
            _hunt(kernel)
        tries += 1
        time.sleep(min(tries, 20) / 1000)


def _send(pid: int, number: int) -> None:
    """Send a signal to a process and to its group, unless the group is ours.

    A group is reached at once: a process that forks without end cannot outrun that.
    """
    with suppress(OSError):
        if (group := os.getpgid(pid)) != os.getpgid(0):
            os.killpg(group, number)
    with suppress(OSError):
        os.kill(pid, number)


def _hunt(kernel: int) -> None:
    """Kill our children as long as there are new ones: some change their group."""
    seen: set[int] = set()
    with suppress(OSError):
        while new := {*map(int, _read(_CHILDREN.format(os.getpid())).split())} - seen:
            for pid in new:
                if not _is_shared(pid):
                    _send(pid, signal.SIGKILL)
            _reap(kernel)
            seen |= new


def _descendants() -> Iterator[int]:
    """Yield the processes below us, without those that others use as well.

    That includes zombies: a process with several threads is one while some of them still work.
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
    """Return whether a process belongs to a program that others use as well."""
    try:
        env = _read(f"/proc/{pid}/environ")
    except OSError:
        return False  # ended just now, or another user's
    return f"\0{_RUN_TAG}=shared:".encode() in b"\0" + env


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 (pathlib is not loaded here)
        return file.read()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
