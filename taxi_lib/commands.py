"""Commands, shown as one would type them in a terminal."""

import os
import subprocess
import sys
from pathlib import Path
from shlex import split

from taxi_lib.errors import TaxiError


def shell(
    command: str, cwd: Path | None = None, expect: int = 0, seconds: float = 300, show: bool = True
) -> str:
    """Run a command, show it with what it prints, and return what it printed.

    Parameters
    ----------
    command : str
        As in a terminal, such as ``"prefect version"``; programs of this environment come
        first, no shell reads it.
    cwd : pathlib.Path, optional
        Where it runs; the current folder when left out.
    expect : int
        The exit status it must end with.
    seconds : float
        How long it may take.
    show : bool
        Print the command and its output.

    Raises
    ------
    TaxiError
        When it ends with another status, with its last words, or is not done in time.
    """
    bin_folder = str(Path(sys.executable).parent)
    plain = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}
    env = os.environ | plain | {"PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    say = print if show else (lambda *_, **__: None)
    say(f"$ {command}", flush=True)
    try:
        done = subprocess.run(
            split(command),
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        say((late.stdout or b"").decode(errors="replace"))
        raise TaxiError(f"{command!r} took longer than {seconds:g} seconds: stopped.") from late
    output = done.stdout.strip()
    say(f"{output}\n" if output else "")
    if done.returncode != expect:
        raise TaxiError(
            f"{command!r} ended with status {done.returncode}, expected {expect}: {output[-500:]}"
        )
    return output
