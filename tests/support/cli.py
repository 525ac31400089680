"""The command line, in processes of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from support import ROOT


def start(*arguments: object, cwd: Path = ROOT, **env: str | None) -> subprocess.Popen:
    """Start ``python -m taxi_lib run``; a variable that is None is not set at all."""
    return subprocess.Popen(
        _command("run", *arguments),
        cwd=cwd,
        env=_environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell that starts tests in the background makes its children deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(*arguments: object, cwd: Path = ROOT, **env: str | None) -> tuple[int, str]:
    """Run ``python -m taxi_lib run``; its exit status and what it printed."""
    process = start(*arguments, cwd=cwd, **env)
    printed, _ = process.communicate(timeout=300)
    return process.returncode, printed


def run_command(
    *arguments: object, cwd: Path = ROOT, **env: str | None
) -> subprocess.CompletedProcess[str]:
    """Run any command of ``python -m taxi_lib``, with its two streams apart."""
    return subprocess.run(
        _command(*arguments),
        cwd=cwd,
        env=_environment(env),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "taxi_lib", *map(str, arguments)]


def _environment(changes: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in (os.environ | changes).items() if value is not None}
