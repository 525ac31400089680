"""The doctor says whether the lessons will run here, and what to do if they will not.

It changes nothing and starts nothing. Packages may be missing, files damaged, and Python too old
for the rest of the workbook: a check is imported when it is its turn, and if it fails, that is a
finding.
"""

from __future__ import annotations  # so that an older Python can say that it is too old

import os
import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST, NEWEST = (3, 11), (3, 13)  # of Python, as in pyproject.toml
# Title, module and function of each check, in the order in which they are shown.
CHECKS = (
    ("TAXI_ variables", "variables", "check_taxi"),
    ("Packages", "packages", "check_versions"),
    ("Packages' files", "packages", "check_files"),
    ("Imports", "packages", "check_imports"),
    ("Kernel", "kernel", "check_kernel"),
    ("Jupyter's files", "kernel", "check_runtime_folder"),
    ("Programs", "machine", "check_programs"),
    ("Ports", "machine", "check_ports"),
    ("Disk", "machine", "check_disk"),
    ("Runs", "stores", "check_runs"),
    ("MLflow's store", "stores", "check_mlflow"),
    ("Prefect's home", "stores", "check_prefect"),
    ("Months", "months", "check_months"),
    ("Prefect's server", "variables", "check_prefect_server"),
    ("Prefect's profile", "variables", "check_prefect_profile"),
    ("MLflow's address", "variables", "check_mlflow_address"),
    ("Proxy", "variables", "check_proxy"),
    ("Other variables", "variables", "check_effects"),
)
# Checks that import compiled packages, which end the process if their files are cut short.
COMPILED = {"check_kernel", "check_runtime_folder", "check_ports", "check_months"}
Finding = tuple  # a status (ok, warning or problem) and a sentence


def main() -> int:
    """Print a line for each finding; return 1 if something would stop a lesson, else 0."""
    sys.dont_write_bytecode = True
    count = {"ok": 0, "warning": 0, "problem": 0}
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # its encoding may lack some characters
    try:
        for title, (status, sentence) in examine():
            count[status] += 1
            print(f"{status:<8} {title:<17} {_harmless(sentence)}", flush=True)  # noqa: T201
        print(_summary(count["problem"], count["warning"]), flush=True)  # noqa: T201
    except OSError:  # nobody reads on, as in `doctor | head -1`, or the disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 1 if count["problem"] else 0


def examine() -> Iterator[tuple[str, Finding]]:
    """Yield the title of each check with each of its findings."""
    status, sentence = _python()
    yield "Python", (status, sentence)
    if sys.version_info[:2] < OLDEST:
        return  # the other checks are not written for it
    are_damaged = False
    for title, module, name in CHECKS:
        if are_damaged and name in COMPILED:
            sentence = (
                "This is not checked while packages are damaged: repair them, then ask again."
            )
            yield title, ("problem", sentence)
            continue
        for finding in look(module, name):
            are_damaged |= name == "check_files" and finding[0] == "problem"
            yield title, finding


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    here = f"{version}, {sys.executable}"
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return "ok", here
    bounds = " to ".join(f"{major}.{minor}" for major, minor in (OLDEST, NEWEST))
    return "problem", f"{here}, but the lessons need {bounds}: make setup PYTHON=python3.12."


def look(module: str, name: str) -> list[Finding]:
    """Return what a check finds; if it fails, that is the last finding."""
    found = []
    try:
        from taxi_lib.doctor.quiet import quiet

        with quiet():  # packages that warn or print when they are imported
            found.extend(getattr(import_module(f"taxi_lib.doctor.{module}"), name)())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also what compiled packages raise, and sys.exit
        found.append(("problem", _failed(error)))
    return found


def _failed(error: BaseException) -> str:
    told = " ".join(str(error).split())
    if type(error).__module__ == "taxi_lib.errors":
        return told  # a whole sentence, with what to do
    name = getattr(error, "name", None)
    if isinstance(error, ModuleNotFoundError) and name:
        return f"This is not checked, because the package {name} is missing: see Packages above."
    if isinstance(error, (ImportError, SyntaxError)):
        damaged = f"This is not checked, because a package is damaged ({told})"
        return f"{damaged}: rm -r .venv, then make setup."
    return f"This check failed itself ({type(error).__name__}: {told}): look at what it names."


def _harmless(text: str) -> str:
    """Return a text without passwords in addresses, and without what would act on a terminal."""
    import re

    hidden = re.sub(r"(?<=://)[^/@\s]+@", "***@", text)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in hidden)


def _summary(problems: int, warnings: int) -> str:
    if problems:
        return f"Problems that would stop a lesson: {problems}."
    return f"Nothing here would stop a lesson. Warnings: {warnings}."
