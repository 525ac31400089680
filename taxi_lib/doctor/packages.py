"""Packages: the versions that were tested, imported from where they are installed."""

import os
import re
import sys
import time
import tomllib
from contextlib import suppress
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from taxi_lib import settings
from taxi_lib.doctor.findings import Findings, listed, ok, problem, warning
from taxi_lib.doctor.folders import working_folder
from taxi_lib.errors import TaxiError, check_package

_LOCKED = re.compile(r"^([\w.-]+)==([^\s;\\]+)(?: *; *([^\\\n]+))?", re.MULTILINE)
# Lines of a package's list of files that say how long a file is: path, checksum, size.
_RECORDED = re.compile(r"^([^,\n]+),[^,\n]*,(\d+)$", re.MULTILINE)
_FIRST = re.compile(r"^((?:[^,/\n]+/)?[^,/\n]+\.py),[^,\n]*,(\d+)$", re.MULTILINE)
_SECONDS = 1.0  # for all files together
# Packages that a folder or file of the same name often hides.
_OFTEN_HIDDEN = ("prefect", "mlflow", "papermill", "pandas", "numpy", "optuna", "httpx")


def check_versions() -> Findings:
    """Compare what is installed with requirements.lock, and with the bounds of the project."""
    here, lock = _installed(), _lock()
    remedy = _remedy()
    missing = sorted(set(lock or _needed()) - here.keys())
    if missing:
        yield problem(f"{sys.executable} has no {listed(missing)}", remedy)
        if len(missing) > 20:
            return  # it is another Python, whose versions do not matter
    unfit = dict(_unfit(here))
    if unfit:
        yield problem(f"The lessons cannot use {listed(list(unfit.values()))}", remedy)
    others = [
        f"{name} {here[name]} (locked: {wanted})"
        for name, wanted in lock.items()
        if name in here and here[name] != wanted and name not in unfit
    ]
    if others:
        yield warning(f"Not the versions that were tested: {listed(others)}", remedy)
    if settings.checkout() and not lock:
        yield warning("requirements.lock is missing or empty", "take it from git again")
    elif not (missing or unfit or others):
        as_locked = f"the {len(lock)} of requirements.lock" if lock else "within their bounds"
        yield ok(f"{len(here)}, {as_locked}")


def _installed() -> dict[str, str]:
    """Return the version of each installed package; the first one found counts."""
    found: dict[str, str] = {}
    for package in metadata.distributions():
        with suppress(Exception):  # its record is damaged or half removed: it counts as missing
            if (name := _name(package)) and (version := package.version):
                found.setdefault(name, version)
    return found


def _lock() -> dict[str, str]:
    """Return the locked version of each package that belongs on this machine."""
    folder = settings.checkout()
    with suppress(OSError):
        text = (folder / "requirements.lock").read_text("utf-8", "replace") if folder else ""
        return {n: v for n, v, marker in _LOCKED.findall(text) if not marker or _applies(marker)}
    return {}


def _applies(marker: str) -> bool:
    with suppress(Exception):  # `packaging` is missing, which is told on its own
        from packaging.markers import Marker

        return Marker(marker).evaluate()
    return False


def _unfit(here: dict[str, str]) -> list[tuple[str, str]]:
    """Return packages outside the project's bounds, each with its version and its bounds."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return []
    found = []
    for wanted in map(Requirement, _requirements()):
        name = _plain(wanted.name)
        if name not in here or (wanted.marker and not wanted.marker.evaluate()):
            continue
        if here[name] not in wanted.specifier:
            found.append((name, f"{name} {here[name]} (needed: {wanted.specifier})"))
    return found


def _needed() -> set[str]:
    """Return the packages that the project names, whatever their version."""
    named = (re.match(r"([\w.-]+)[^;]*(?:; *(.+))?", line) for line in _requirements())
    return {_plain(n[1]) for n in named if n and (not n[2] or _applies(n[2]))}


def _requirements() -> list[str]:
    if folder := settings.checkout():
        with suppress(OSError, ValueError, KeyError):
            text = (folder / "pyproject.toml").read_text(encoding="utf-8")
            return tomllib.loads(text)["project"]["dependencies"]
    with suppress(metadata.PackageNotFoundError):
        return metadata.requires("taxi-workbook") or []
    return []


def _remedy() -> str:
    folder = settings.checkout()
    if not folder:
        return "install the workbook again"
    own = folder / ".venv"
    if own.is_dir() and Path(sys.prefix).resolve() != own.resolve():
        return f"use the workbook's own Python, {own / 'bin' / 'python'}"
    if Path(sys.prefix, "conda-meta").is_dir():
        return "conda env update -f environment.yml"
    return "rm -f .venv/.installed, then make setup"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def check_files() -> Findings:
    """Look whether the files of packages are there and whole, those of the project's own first."""
    end = time.monotonic() + _SECONDS
    needed = _needed()
    packages = sorted(metadata.distributions(), key=lambda package: _name(package) not in needed)
    damaged = {}
    for only_first in (
        True,
        False,
    ):  # the files that an import reads first are looked at in any case
        for package in packages:
            if not only_first and time.monotonic() > end:
                break
            if path := _damaged_file(package, only_first):
                damaged[_name(package)] = path
    if damaged:
        files = listed([f"{name} ({path})" for name, path in damaged.items()])
        yield problem(f"Damaged: {files}", "rm -r .venv, then make setup")
    else:
        yield ok(f"whole, of {len(packages)} packages")


def _damaged_file(package: metadata.Distribution, only_first: bool) -> str:
    """Return a file that is gone or not as long as it was when it was installed, or nothing."""
    root = str(package.locate_file(""))
    with suppress(OSError, ValueError):
        text = package.read_text("RECORD") or ""
        for path, size in (_FIRST if only_first else _RECORDED).findall(text):
            # Programs outside of the folder are changed when they are installed.
            if not path.startswith("..") and _size(f"{root}/{path}") != int(size):
                return path
    return ""


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 (there are many)
    except OSError:
        return -1


def _name(package: metadata.Distribution) -> str:
    with suppress(Exception):  # its record is damaged
        return _plain(package.metadata["Name"])
    return ""


def check_imports() -> Findings:
    """Look for files and folders that Python would import in place of a package."""
    faults = 0
    for name in _OFTEN_HIDDEN:
        with suppress(metadata.PackageNotFoundError):
            metadata.distribution(name)
            try:
                check_package(name)
            except TaxiError as error:
                faults += 1
                yield problem(*str(error).rstrip(".").split(": ", 1))
    lessons = settings.notebooks_dir() if settings.checkout() else None
    # A notebook's kernel imports from the folder of the notebook first.
    for folder in {lessons, *working_folder()} - {None}:
        for path in _hiding(folder):
            faults += 1
            fault = f"{path} hides the module of that name from what runs in {folder}"
            yield (problem if folder == lessons else warning)(fault, "rename it")
    if not faults:
        yield ok("no file hides a package")


def _hiding(folder: Path) -> list[Path]:
    """Return the modules in a folder that are called like an installed package."""
    try:
        there = sorted(folder.iterdir())
    except OSError:
        return []
    elsewhere = [path for path in sys.path if path and Path(path).resolve() != folder.resolve()]
    return [path for path in there if _is_module(path) and _is_taken(path.stem, elsewhere, folder)]


def _is_module(path: Path) -> bool:
    return path.suffix == ".py" or (path / "__init__.py").is_file()


def _is_taken(name: str, elsewhere: list[str], folder: Path) -> bool:
    if name in sys.stdlib_module_names:
        return True
    found = PathFinder.find_spec(name, elsewhere)
    return bool(found and found.origin and not Path(found.origin).is_relative_to(folder))
