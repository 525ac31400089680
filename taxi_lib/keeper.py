"""Keep a program running for as long as somebody uses it, and not a moment longer.

Each user holds a shared lock on one file; the operating system lets go of it however the user
ends, a killed kernel included. Beside the program runs this module, as a process of its own:
once it gets the lock for itself, nobody is left, and it stops the program and all its children.

    python -m taxi_lib.keeper LOCK_FILE program argument …
"""

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from taxi_lib.errors import TaxiError

PATIENCE = 180  # seconds for a program to answer: a busy laptop needs 60


class Command(NamedTuple):
    """What to start, with which environment, and where it will answer."""

    arguments: list[str]
    env: dict[str, str]
    address: str


@contextmanager
def kept(
    lock_file: Path,
    command: Callable[[str | None], Command],
    answers: Callable[[str], bool],
) -> Iterator[str]:
    """Join the program that others keep under this lock file, or start it; yield its address.

    Parameters
    ----------
    lock_file : pathlib.Path
        Held by every user; its text is the address and the keeper's process id.
    command : callable
        Given the address of the last start, if any; returns what to start.
    answers : callable
        Tells whether the program is up at an address.

    Raises
    ------
    TaxiError
        When the program ended, or did not answer within three minutes; with its last words.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a+", encoding="utf-8") as file:
        # Starting is done by one at a time, who holds the first lock and then only the second.
        with lock_file.with_suffix(".start").open("w") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            fcntl.flock(file, fcntl.LOCK_SH)  # waits while a keeper is stopping its program
            address, keeper = _record(file)
            if not (keeper and address and _answers_yet(keeper, address, answers)):
                address, keeper = _start(lock_file, command(address), answers)
                file.truncate(0)
                file.write(json.dumps({"address": address, "keeper": keeper}))
                file.flush()
        try:
            yield address
        finally:
            _leave(file, keeper)


def _record(file) -> tuple[str | None, int | None]:  # noqa: ANN001 (an open text file)
    file.seek(0)
    with suppress(ValueError):
        record = json.loads(file.read())
        return record["address"], record["keeper"]
    return None, None


def _answers_yet(keeper: int, address: str, answers: Callable[[str], bool]) -> bool:
    """Tell whether a program answers; a busy one is given time, for there must not be two."""
    deadline = time.monotonic() + PATIENCE
    while _alive(keeper) and time.monotonic() < deadline:
        if answers(address):
            return True
        time.sleep(0.2)
    return False


def _alive(pid: int) -> bool:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        named = __spec__.name in process.cmdline()  # another program may have got the number
        return named and process.status() != psutil.STATUS_ZOMBIE
    return False


def _start(lock_file: Path, command: Command, answers: Callable[[str], bool]) -> tuple[str, int]:
    arguments, env, address = command
    with (log := lock_file.with_suffix(".log")).open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(lock_file), *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal is for its user, not for the program
        )
    deadline = time.monotonic() + PATIENCE
    while not answers(address):
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.terminate()
            keeper.wait()
            words = " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
            raise TaxiError(f"{Path(arguments[0]).name} did not start ({words}): see {log}.")
        time.sleep(0.2)
    keeper.returncode = 0  # it may outlive us, for others: Python need not warn of that
    return address, keeper.pid


def _leave(file, keeper: int) -> None:  # noqa: ANN001 (an open text file)
    """Let go; the last one to leave sees to it that the program is gone."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # others use it, or its keeper is stopping it already
    with suppress(psutil.Error):
        process = psutil.Process(keeper)
        process.terminate()
        process.wait(30)


def main(lock_file: str, *arguments: str) -> int:
    """Run a program until nobody holds the lock file, or it ends by itself."""
    asked: list[int] = []
    # SIGINT too: what a shell started with & ignores it, and so would the program.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    with Path(lock_file).open() as file:
        child = psutil.Popen(arguments)
        while child.poll() is None and not asked and not _nobody_holds(file):
            time.sleep(0.25)
        stop(child)
    return child.returncode or 0


def _nobody_holds(file) -> bool:  # noqa: ANN001 (an open text file)
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def stop(process: psutil.Process, patience: float = 10) -> None:
    """Stop a process and all that it started: kindly, then firmly.

    Parameters
    ----------
    process : psutil.Process
        The eldest; it is interrupted, and may see to the others itself.
    patience : float
        Seconds that it is given for that.
    """
    family = []
    with suppress(psutil.Error):
        family = process.children(recursive=True)
        process.send_signal(signal.SIGINT)
    psutil.wait_procs([process], timeout=patience)
    for way, seconds in ((psutil.Process.terminate, 3), (psutil.Process.kill, 5)):
        _, left = psutil.wait_procs([process, *family], timeout=0)
        for member in left:
            with suppress(psutil.Error):
                way(member)
        psutil.wait_procs(left, timeout=seconds)


def program(name: str) -> str:
    """Return a program of this very environment, activated or not."""
    return str(Path(sys.executable).with_name(name))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
