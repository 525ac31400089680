"""Run commands as you would type them in a terminal, and show what they print."""

import os
import re
import subprocess
import sys
from pathlib import Path
from shlex import split

import psutil

from taxi_lib.errors import TaxiError
from taxi_lib.services.processes import stop


def shell(
    command: str,
    cwd: Path | None = None,
    expect: int = 0,
    seconds: float = 300,
    show: bool = True,
    hide: str = "",
) -> str:
    """Run a command, show it with what it prints, and return what it printed.

    Parameters
    ----------
    command : str
        As you would type it, such as ``"prefect version"``; programs of this environment are
        found first. There is no shell: ``|``, ``>`` and ``*`` mean nothing.
    cwd : pathlib.Path, optional
        Its working directory; the current one when left out.
    expect : int
        The exit status that it must end with.
    seconds : float
        How long it may take.
    show : bool
        Whether to print the command and its output.
    hide : str, optional
        Lines in which this regular expression is found are returned, but not shown.

    Raises
    ------
    TaxiError
        When it ends with another status, with the last lines that it printed, or takes too long.
    """
    bin_folder = str(Path(sys.executable).parent)
    plain = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}
    env = os.environ | plain | {"PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    env.pop("FORCE_COLOR", None)  # a notebook's kernel sets it: tables would be 80 columns wide
    env |= {"PWD": str(cwd.absolute())} if cwd else {}  # as a shell does after cd
    say = print if show else (lambda *_, **__: None)
    say(f"$ {command}", flush=True)
    status, output = _run(split(command), env, cwd, seconds)
    shown = [line for line in output.splitlines() if not hide or not re.search(hide, line)]
    if shown:
        say("\n".join(shown) + "\n")
    if status != expect:
        raise TaxiError(
            f"{command!r} ended with status {status}, expected {expect}: {output[-500:]}"
        )
    return output


def _run(arguments: list[str], env: dict[str, str], cwd: Path | None, seconds: float) -> tuple:
    """Return the exit status and the output; leave no child running."""
    with psutil.Popen(
        arguments,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as late:
            stop(process, patience=1)
            command = " ".join(arguments)
            raise TaxiError(f"{command!r} took longer than {seconds:g} seconds: stopped.") from late
        except BaseException:
            stop(process)
            raise
    return process.returncode, output.strip()
