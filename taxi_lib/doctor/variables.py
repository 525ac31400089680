"""Environment variables and settings that send a lesson somewhere else."""

import difflib
import json
import os
import threading
import tomllib
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from taxi_lib import settings
from taxi_lib.doctor.findings import Findings, listed, ok, problem, warning
from taxi_lib.doctor.folders import fault_of, working_folder
from taxi_lib.doctor.stores import fault_of_toml
from taxi_lib.errors import TaxiError

_OURS = ("TAXI_DATA_DIR", "TAXI_RUNS_DIR", "TAXI_TLC_URL", "TAXI_WORKSPACE")
_INTERNAL = ("TAXI_MLFLOW_START", "TAXI_NOTEBOOK_DIR", "TAXI_PIPE_", "TAXI_RUN")
# Variables with the values that do no harm, and what other values do.
_EFFECTS = {
    "OPENBLAS_NUM_THREADS": (("", "1"), "some figures differ in the third digit"),
    "PYTHONOPTIMIZE": (("", "0"), "Python skips the asserts of the lessons"),
    "MLFLOW_REGISTRY_URI": (("",), "registered models go there"),
}
_HERE = ("127.0.0.1", "localhost")
_SECONDS = 1.0  # for a server to answer


def check_taxi() -> Findings:
    """Look whether the workbook's own variables name what is there, and are spelled right."""
    faults = 0
    for read in (settings.data_dir, settings.tlc_url, settings.tracking_uri):
        try:
            read()
        except TaxiError as error:
            faults += 1
            yield problem(*str(error).rstrip(".").split(": ", 1))
    place = os.environ.get("TAXI_WORKSPACE")
    if place and not settings.checkout() and (fault := fault_of(settings.workspace())):
        faults += 1
        yield problem(f"TAXI_WORKSPACE is {place!r} ({fault})", "correct it, or unset it")
    for name in sorted(os.environ):
        if name.startswith("TAXI") and name not in _OURS and not name.startswith(_INTERNAL):
            faults += 1
            alike = difflib.get_close_matches(name, _OURS, 1)
            remedy = f"did you mean {alike[0]}" if alike else "unset it"
            yield warning(f"Nothing reads {name}", remedy)
    if not faults:
        yield ok(", ".join(name for name in _OURS if os.environ.get(name)) or "none is set")


def check_prefect_server() -> Findings:
    """Ask the server that PREFECT_API_URL names, if it is set, for its health and version."""
    address = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if not address:
        yield ok("PREFECT_API_URL is not set: each lesson starts a server, or joins it")
        return
    if _ask(f"{address}/health") is not True:
        fault = f"No server answers at PREFECT_API_URL={address}"
        api = urlsplit(address).path.endswith("/api")
        yield problem(fault, "start it, or unset it" if api else "let it end in /api, or unset it")
        return
    theirs, mine = _ask(f"{address}/admin/version"), _version("prefect")
    if theirs == mine or not (theirs and mine):  # it did not say in time, or none is installed
        yield ok(f"{address} answers{', Prefect ' if theirs else ''}{theirs or ''}")
    else:
        versions = f"{address} is Prefect {theirs}, installed is {mine}"
        yield warning(versions, "run both in one version, or unset PREFECT_API_URL")


def check_prefect_profile() -> Findings:
    """Look for profiles, databases and files that Prefect would take its settings from."""
    faults = 0
    kept_out = (
        "PREFECT_PROFILE",
        "PREFECT_PROFILES_PATH",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    )
    for name in filter(os.environ.get, kept_out):
        faults += 1
        fault = f"Commands in your terminal follow {name}={os.environ[name]}, lessons do not"
        yield warning(fault, f"unset {name} before you type a lesson's commands")
    lessons = [settings.notebooks_dir()] if settings.checkout() else []
    for folder in {*lessons, settings.workspace(), *working_folder()}:
        for name in ("prefect.toml", ".env"):
            if _sets_prefect(folder / name):
                faults += 1
                yield warning(f"Prefect takes settings from {folder / name}", "move it away")
    profiles = Path.home() / ".prefect" / "profiles.toml"
    if fault := fault_of_toml(profiles):
        yield warning(f"{fault}, which commands in your terminal do", "correct it, or delete it")
    elif not faults:
        yield ok(f"lessons have their own{_where_yours_leads(profiles)}")


def _where_yours_leads(profiles: Path) -> str:
    with suppress(OSError, ValueError, AttributeError, KeyError):
        read = tomllib.loads(profiles.read_text(encoding="utf-8"))
        name = read["active"]
        return f"; yours, {name}, leads to {read['profiles'][name]['PREFECT_API_URL']}"
    return ""


def _sets_prefect(path: Path) -> bool:
    with suppress(OSError):
        return "PREFECT_" in path.read_text("utf-8", "replace") or path.name == "prefect.toml"
    return False


def check_mlflow_address() -> Findings:
    """Look whether MLFLOW_TRACKING_URI, if it is set, leads to a store that can be used."""
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    uri = settings.tracking_uri()
    if not given:
        yield ok("MLFLOW_TRACKING_URI is not set: the store is in the runs folder")
    elif uri.startswith("sqlite:///"):
        yield ok(f"{uri}, as MLFLOW_TRACKING_URI says")
    elif uri.startswith(("http://", "https://")):
        if _ask(f"{uri.rstrip('/')}/health", is_json=False) is None:
            yield problem(
                f"No server answers at MLFLOW_TRACKING_URI={uri}", "start it, or unset it"
            )
        else:
            yield ok(f"{uri} answers")
    elif uri.startswith(("/", "file:")):
        fault = f"MLFLOW_TRACKING_URI is {given!r}, and MLflow does not write to folders any more"
        yield problem(fault, "unset it, or set it to sqlite:////path/to/mlflow.db")
    elif uri.startswith(("postgresql", "mysql")):
        if fault := _fault_of_database(uri):
            yield problem(
                f"The database of MLFLOW_TRACKING_URI={uri} cannot be used: {fault}",
                "start it or correct the address, or unset the variable",
            )
        else:
            yield ok(f"the database of {uri} answers")
    else:
        text = f"MLFLOW_TRACKING_URI is {given!r}: runs are kept there, and no lesson was tried so"
        yield warning(text, "unset it, unless you mean it")


def _fault_of_database(uri: str) -> str:
    """Return why one cannot connect to a database, in a line; empty if one can."""
    from sqlalchemy import create_engine  # slow to import
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with create_engine(uri, connect_args={"connect_timeout": 3}).connect():
            return ""
    except (SQLAlchemyError, ImportError) as error:  # also when its driver is not installed
        return str(error).splitlines()[0]


def check_proxy() -> Findings:
    """Look whether programs in a terminal would reach this machine's servers through a proxy."""
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    given = [name for name in os.environ if name.lower() in proxies and os.environ[name]]
    # Programs that find the variable in small letters do not look at the other one.
    name = "no_proxy" if "no_proxy" in os.environ else "NO_PROXY"
    direct = {entry.strip() for entry in os.environ.get(name, "").split(",")}
    if not given:
        yield ok("none is set")
    elif "*" in direct or set(_HERE) <= direct:
        yield ok(f"{listed(given)}, not for this machine")
    else:
        fault = (
            f"In a terminal, {listed(given)} is also used for this machine; in lessons it is not"
        )
        yield warning(fault, f"export {name}={','.join(sorted({*_HERE, *direct} - {''}))}")


def check_effects() -> Findings:
    """Look for variables that change what a lesson computes or claims."""
    faults = 0
    for name, (usual, effect) in _EFFECTS.items():
        if (value := os.environ.get(name, "")) not in usual:
            faults += 1
            yield warning(f"{name} is {value}, and {effect}", f"unset {name}")
    if not faults:
        yield ok(f"{listed(list(_EFFECTS))} change nothing")


def _version(package: str) -> str:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return ""


def _ask(address: str, is_json: bool = True) -> Any:  # noqa: ANN401
    """Return what a server answers; None when it does not, or not in time."""
    from urllib.request import ProxyHandler, build_opener

    answers = []

    def ask() -> None:
        with suppress(Exception):
            # Lessons reach this machine's servers without the proxy.
            direct = [ProxyHandler({})] if urlsplit(address).hostname in _HERE else []
            with build_opener(*direct).open(address, timeout=_SECONDS) as answer:
                body = answer.read(10_000)
            answers.append(json.loads(body) if is_json else body)

    # In a thread, because the search for a host's address knows no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return answers[0] if answers else None
