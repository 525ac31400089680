"""Share a program among processes: it runs for as long as at least one of them uses it.

- A *user* holds a shared lock on the lock file. The operating system releases that lock however
  the user ends, also when it is killed.
- The *supervisor*, :mod:`taxi_lib.services.supervisor`, is a process that starts the program and
  tries four times a second to get an exclusive lock on the same file. When it gets the lock, there
  are no users left, and it stops the program and everything that the program started.
- The lock file holds the program's address and the supervisor's process id, for those who join.

There are two more files beside the lock file. Users lock ``….start`` while they join or start the
program, so that they do so one after another; ``….log`` has what the program prints.
"""

import fcntl
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TextIO

import psutil

from taxi_lib.atomic_files import sha256_of
from taxi_lib.errors import TaxiError
from taxi_lib.services.processes import RUN_TAG, Command, stop, stop_tagged, tagged
from taxi_lib.services.waiting import wait_for

Answers = Callable[[str], bool]
SUPERVISOR = "taxi_lib.services.supervisor"
PATIENCE = 180  # seconds for a program to answer: a busy laptop needs 60


@contextmanager
def shared_program(
    lock_file: Path,
    command: Callable[[str | None], Command],
    answers: Answers,
    recover: Callable[[str], None] = lambda address: None,
    starting: Callable[[str], None] = lambda address: None,
    wait: bool = True,
) -> Iterator[str]:
    """Join the program that runs under this lock file, or start it; yield its address.

    Parameters
    ----------
    lock_file : pathlib.Path
        The same for all who share the program; made if need be, with its folder.
    command : callable
        Called with the address of the last start, or None; returns what to start.
    answers : callable
        Called with an address; returns whether the program answers there.
    recover : callable
        Called with the address after a start, if nobody was using the program before: what an
        earlier one left unfinished can be cleaned up now.
    starting : callable
        Called with the address while the program starts: time for something slow.
    wait : bool
        Whether the last user waits until the program has ended.

    Raises
    ------
    TaxiError
        When the program ends at once, or does not answer within three minutes; with the last
        lines that it printed.
    """
    lock_file = lock_file.resolve()
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a+", encoding="utf-8") as file:
        with lock_file.with_suffix(".start").open("w") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            fcntl.flock(file, fcntl.LOCK_SH)  # waits while a supervisor is stopping its program
            address, supervisor = _read(file)
            is_running = partial(_is_running, supervisor, lock_file)
            if not (address and _comes_up(address, answers, is_running)):
                _end(supervisor, lock_file)  # two servers at once would damage their database
                # Before the start: afterwards the new supervisor competes for the same lock.
                nobody_else = lock_alone(file)
                fcntl.flock(file, fcntl.LOCK_SH)
                address = _start(file, lock_file, command(address), answers, starting)
                if nobody_else:
                    recover(address)
        try:
            yield address
        finally:
            if wait:
                _leave(file, lock_file)
            # Closing the file is not enough: a forked child may have it open as well.
            fcntl.flock(file, fcntl.LOCK_UN)


def _read(file: TextIO) -> tuple[str | None, int]:
    """Return the program's last address, if any, and its supervisor's process id, or 0."""
    file.seek(0)
    with suppress(ValueError, KeyError):
        record = json.loads(file.read())
        return record["address"], record["supervisor"]
    return None, 0


def _write(file: TextIO, address: str | None, supervisor: int) -> None:
    file.truncate(0)
    file.write(json.dumps({"address": address, "supervisor": supervisor}))
    file.flush()


def _comes_up(address: str, answers: Answers, is_running: Callable[[], bool]) -> bool:
    """Wait until a program answers, which may be starting or busy; False when it never does."""

    def outcome() -> str | None:
        if not is_running():
            return "ended"
        return "answers" if answers(address) else None

    with suppress(TaxiError):
        return wait_for(outcome, PATIENCE) == "answers"
    return False


def _is_running(supervisor: int, lock_file: Path) -> bool:
    with suppress(psutil.Error):
        process = psutil.Process(supervisor)
        # The process id may belong to another program by now.
        is_ours = {SUPERVISOR, str(lock_file)} <= set(process.cmdline())
        return is_ours and process.status() != psutil.STATUS_ZOMBIE
    return False


def _start(
    file: TextIO,
    lock_file: Path,
    command: Command,
    answers: Answers,
    starting: Callable[[str], None],
) -> str:
    """Start a supervisor and its program, and wait until that answers; return its address."""
    with (log := lock_file.with_suffix(".log")).open("wb") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-P", "-m", SUPERVISOR, str(lock_file), *command.arguments],
            # Not the run tag of the run that starts it: when that run is stopped, it must stay for
            # others.
            env=command.env | {RUN_TAG: _tag(lock_file)},
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal stops the user, not the program
        )
    # Before it answers: if we are killed now, the next user waits for this program.
    _write(file, command.address, supervisor.pid)
    Thread(target=supervisor.wait, daemon=True).start()  # so that it does not become a zombie
    try:
        starting(command.address)
        # Not by its command line, which is empty for an instant after the start.
        if not _comes_up(command.address, answers, lambda: supervisor.poll() is None):
            last = " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
            raise TaxiError(f"{command.name} did not start ({last}): see {log}.")
    except BaseException:
        _end(supervisor.pid, lock_file)
        raise
    return command.address


def _leave(file: TextIO, lock_file: Path) -> None:
    """Stop the program if we were its last user."""
    if not lock_alone(file):
        return  # it has other users, or its supervisor is already stopping it
    address, supervisor = _read(file)
    _write(file, address, 0)  # so that nobody joins a program that is about to stop
    _end(supervisor, lock_file)


def _end(supervisor: int, lock_file: Path) -> None:
    """Stop a supervisor and its program, or only the program if its supervisor was killed."""
    with suppress(psutil.Error):
        if _is_running(supervisor, lock_file):
            psutil.Process(supervisor).terminate()
    with suppress(TaxiError):
        wait_for(lambda: not _is_running(supervisor, lock_file), seconds=30, pause=0.05)
    stop_all(lock_file)


def lock_alone(file: TextIO) -> bool:
    """Try to get the exclusive lock: it is given only when nobody else holds one."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _tag(lock_file: Path) -> str:
    # The reaper of kernels spares processes whose run tag begins like this, with a colon: the run
    # tags of notebooks have none, whatever the notebooks are called.
    return f"shared:{sha256_of(str(lock_file.resolve()))[:16]}"


def stop_all(lock_file: Path) -> None:
    """Stop the program and everything that it started, also what is no longer its child."""
    with suppress(psutil.Error):  # the program has just ended
        if family := tagged(_tag(lock_file)):
            stop(min(family, key=psutil.Process.create_time), family)  # the program is the oldest
    stop_tagged(_tag(lock_file))
