"""Keep a program running for as long as somebody uses it, and not a moment longer.

Each user holds a shared lock on one file; the operating system lets go of it however the user
ends, a killed kernel included. Beside the program runs this module, as a process of its own:
once it gets the lock for itself, nobody is left, and it stops the program and all its children.

    python -m taxi_lib.services.shared_process LOCK_FILE program argument …
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TextIO

import psutil

from taxi_lib.atomic_files import sha256_of
from taxi_lib.errors import TaxiError
from taxi_lib.services.processes import MARK, Command, marked, stop, stop_marked

Answers = Callable[[str], bool]
PATIENCE = 180  # seconds for a program to answer: a busy laptop needs 60


@contextmanager
def kept(
    lock_file: Path,
    command: Callable[[str | None], Command],
    answers: Answers,
    first: Callable[[str], None] = lambda address: None,
) -> Iterator[str]:
    """Join the program that others keep under this lock file, or start it; yield its address.

    Parameters
    ----------
    lock_file : pathlib.Path
        Held by every user; tells the address and the keeper's process id.
    command : callable
        Given the address of the last start, if any; returns what to start.
    answers : callable
        Tells whether the program is up at an address.
    first : callable
        Is given the address when we have started it and nobody else was using the last one.

    Raises
    ------
    TaxiError
        When the program ended, or did not answer within three minutes; with its last words.
    """
    lock_file = lock_file.resolve()
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a+", encoding="utf-8") as file:
        # Starting is done by one at a time, who holds the first lock and then only the second.
        with lock_file.with_suffix(".start").open("w") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            fcntl.flock(file, fcntl.LOCK_SH)  # waits while a keeper is stopping its program
            address, keeper = _read(file)
            if not (address and _answers_yet(keeper, lock_file, address, answers)):
                _end(keeper, lock_file)  # two at once would spoil each other's database
                alone = _nobody_holds(file)  # asked before the new keeper asks the same
                fcntl.flock(file, fcntl.LOCK_SH)
                address = _start(file, lock_file, command(address), answers)
                if alone:
                    first(address)
        try:
            yield address
        finally:
            _leave(file, lock_file)
            fcntl.flock(file, fcntl.LOCK_UN)  # a forked child may still have the file open


def _read(file: TextIO) -> tuple[str | None, int]:
    file.seek(0)
    with suppress(ValueError, KeyError):
        record = json.loads(file.read())
        return record["address"], record["keeper"]
    return None, 0


def _write(file: TextIO, address: str | None, keeper: int) -> None:
    file.truncate(0)
    file.write(json.dumps({"address": address, "keeper": keeper}))
    file.flush()


def _answers_yet(keeper: int, lock_file: Path, address: str, answers: Answers) -> bool:
    """Tell whether a program answers; one that is starting, or busy, is given time."""
    deadline = time.monotonic() + PATIENCE
    while _alive(keeper, lock_file) and time.monotonic() < deadline:
        if answers(address):
            return True
        time.sleep(0.2)
    return False


def _alive(keeper: int, lock_file: Path) -> bool:
    with suppress(psutil.Error):
        process = psutil.Process(keeper)
        # Another program may have got the number.
        ours = {__spec__.name, str(lock_file)} <= set(process.cmdline())
        return ours and process.status() != psutil.STATUS_ZOMBIE
    return False


def _start(file: TextIO, lock_file: Path, command: Command, answers: Answers) -> str:
    with (log := lock_file.with_suffix(".log")).open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-P", "-m", __spec__.name, str(lock_file), *command.arguments],
            # Not the mark of the run that starts it, which it may outlive: others use it, too.
            env=command.env | {MARK: _mark(lock_file)},
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal is for its user, not for the program
        )
    _write(file, command.address, keeper.pid)  # at once: who waits joins it if we are killed now
    Thread(target=keeper.wait, daemon=True).start()  # else its last trace stays until we end
    deadline = time.monotonic() + PATIENCE
    try:
        while not answers(command.address) or keeper.poll() is not None:
            if keeper.poll() is not None or time.monotonic() > deadline:
                words = " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
                name = Path(command.arguments[3 if "-m" in command.arguments[:3] else 0]).name
                raise TaxiError(f"{name} did not start ({words}): see {log}.")
            time.sleep(0.2)
    except BaseException:
        _end(keeper.pid, lock_file)
        raise
    return command.address


def _leave(file: TextIO, lock_file: Path) -> None:
    """Let go; the last one to leave sees to it that the program is gone."""
    if not _nobody_holds(file):
        return  # others use it, or its keeper is stopping it already
    address, keeper = _read(file)
    _write(file, address, 0)  # nobody shall join what is about to stop
    _end(keeper, lock_file)


def _end(keeper: int, lock_file: Path) -> None:
    """Stop a keeper and its program, or a program whose keeper was killed."""
    deadline = time.monotonic() + 30
    with suppress(psutil.Error):
        if _alive(keeper, lock_file):
            psutil.Process(keeper).terminate()
    while _alive(keeper, lock_file) and time.monotonic() < deadline:
        time.sleep(0.05)
    _stop_all(lock_file)


def main(lock_file: str, *arguments: str) -> int:
    """Run a program until nobody holds the lock file, or it ends by itself."""
    asked = []
    for number in (signal.SIGTERM, signal.SIGINT):  # else what a shell started with & ignores it
        signal.signal(number, lambda number, _: asked.append(number))
    with Path(lock_file).open("r+") as file, TemporaryDirectory(prefix="kept-") as scratch:
        # A worker leaves an empty folder behind, and for each run another.
        child = subprocess.Popen(arguments, env=os.environ | {"TMPDIR": scratch})
        try:
            while child.poll() is None and not asked and not _nobody_holds(file):
                time.sleep(0.25)
        finally:
            _stop_all(Path(lock_file))
    return child.returncode or 0


def _nobody_holds(file: TextIO) -> bool:
    with suppress(BlockingIOError):
        return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB) is None
    return False


def _mark(lock_file: Path) -> str:
    """Return what the program and all that it starts carry in their environment."""
    return f"kept-{sha256_of(str(lock_file.resolve()))[:16]}"


def _stop_all(lock_file: Path) -> None:
    """Stop the program, the eldest, and what it started, also if it has left that behind."""
    mark = _mark(lock_file)
    with suppress(psutil.Error):  # the eldest ended just now
        if family := marked(mark):
            stop(min(family, key=psutil.Process.create_time), family)
    stop_marked(mark)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
