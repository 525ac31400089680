"""The commands of the Makefile, in folders with names that a shell or make may stumble over."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

NAMES = [
    "with spaces",
    "ümläut – 工作簿",
    "a#b",
    "it's",
    'say "x"',
    "$HOME$(x)`y`",
    "(1) & ;2",
    "-n",
    "5%",
]
# Says how it was called; what it is asked to run is another test's business.
PYTHON = """#!/bin/sh
printf '%s|' "${0#"$PWD/"}" "$@"
"""
LINT = "-m|ruff|check|.|.venv/bin/python|-m|ruff|format|--check|.|"
WANTED = {
    "run": "-m|taxi_lib|run|01|-p|a=b c|",
    "test": "-m|pytest|01|-p|a=b c|",
    "lab": "-m|taxi_lib|lab|01|-p|a=b c|",
    "ui": "-m|taxi_lib|ui|01|-p|a=b c|",
    "data": "-m|taxi_lib|data|01|-p|a=b c|",
    "bench": "-m|benchmarks|01|-p|a=b c|",
    "lint": LINT,
    "check": f"{LINT}.venv/bin/python|-m|pytest|-m|not slow|01|-p|a=b c|",
    "setup": "-m|uv|pip|sync|-q|--compile-bytecode|--python|.venv/bin/python|--require-hashes|"
    "requirements.lock|.venv/bin/python|-m|uv|pip|install|-q|--python|.venv/bin/python|--no-deps|"
    "-e|.|",
}


@pytest.fixture(params=NAMES)
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a copy of the Makefile with an environment that only says what it is asked."""
    folder = tmp_path / request.param
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / "benchmarks").mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    for program in ("python", "uv"):
        (folder / ".venv" / "bin" / program).write_text(PYTHON)
        (folder / ".venv" / "bin" / program).chmod(0o755)
    (folder / ".venv" / ".installed").touch()
    return folder


def make(folder: Path, *arguments: str) -> str:
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", *arguments]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("target", WANTED)
def test_a_target_works_in_a_folder_of_any_name(copy: Path, target: str):
    changed = ["--what-if=requirements.lock"] if target == "setup" else []
    shown = make(copy, target, "ARGS=01 -p 'a=b c'", *changed)
    assert shown.splitlines()[-1] == f".venv/bin/python|{WANTED[target]}"


@pytest.mark.parametrize("target", ["audit", "lock"])  # they would ask the network
def test_a_target_that_needs_the_network_can_be_read(copy: Path, target: str):
    assert make(copy, "--dry-run", target)


def test_clean_removes_the_environment_and_the_runs_only(copy: Path):
    (copy / "runs").mkdir()
    make(copy, "clean")
    left = {path.name for path in copy.iterdir()}
    assert {"Makefile", "benchmarks"} <= left and not {".venv", "runs"} & left


@pytest.mark.slow
def test_jupyterlab_opens_the_lessons_and_its_kernels_are_given_folders_in_full(tmp_path: Path):
    show = (
        "import os, sys; from taxi_lib.__main__ import main\n"
        "os.execv = lambda _, command: print(command[1:], os.environ['TAXI_RUNS_DIR'])\n"
        "sys.argv[1:] = ['lab', '--no-browser', '--port=1']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", show],
        cwd=tmp_path,
        env=os.environ | {"TAXI_RUNS_DIR": "mine"},
        capture_output=True,
        text=True,
        check=True,
    )
    root = f"--ServerApp.root_dir={ROOT / 'notebooks'}"
    command = ["-P", "-m", "jupyterlab", root, "--no-browser", "--port=1"]
    assert done.stdout == f"{command} {tmp_path / 'mine'}\n"
