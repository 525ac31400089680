"""The house: which room may import which, and what a listing of ``taxi_lib`` shows."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

LIBRARY = ROOT / "taxi_lib"
GROUND = {"errors", "settings", "months", "results", "atomic_files", "mlflow_store"}
MODEL = {"features", "models", "tracking", "plots"}
# What each room may import beside itself. `__main__` may import all, and nothing imports it.
TABLE = {
    "ground": set(),
    "model": {"ground"},
    "trips": {"ground"},
    "flows": {"ground", "model", "trips"},
    "services": {"ground", "tracking"},
    "runner": {"ground", "services"},
    "plan": {"ground", "trips", "runner"},
    "checks": {"ground", "model", "trips"},
    "doctor": {"ground", "trips", "services"},
    "walkthrough": {"plan", "flows", "runner", "services", "ground"},
    "monthly": {"walkthrough", "ground"},
    "__main__": {
        *("ground", "model", "trips", "services", "runner", "plan", "walkthrough", "checks"),
        "doctor",
    },
}


def room_of(module: str) -> str:
    """Return the room of a module, named from ``taxi_lib`` on: ``trips.data`` is in ``trips``."""
    first = module.split(".")[0]
    return "ground" if first in GROUND else "model" if first in MODEL else first


def imported_by(path: Path) -> set[str]:
    """Return the modules of ``taxi_lib`` that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "taxi_lib":
            found |= {f"taxi_lib.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name.removeprefix("taxi_lib.") for name in found if name.startswith("taxi_lib.")}


MODULES = {
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts): path
    for path in sorted(LIBRARY.rglob("*.py"))
    if path != LIBRARY / "__init__.py"
}


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_from_rooms_that_it_may_know(module):
    room = room_of(module)
    may = TABLE[room] | {room}
    others = {name for name in imported_by(MODULES[module]) if not {room_of(name), name} & may}
    assert not others, f"{module} imports {others}"


def test_importing_taxi_lib_brings_nothing_of_it():
    assert not imported_by(LIBRARY / "__init__.py")


def test_the_services_import_nothing_heavy_before_they_are_used():
    light = {name for name in MODULES if name.startswith("services.")} - {"services.prefect_client"}
    heavy = {"fastapi", "uvicorn", "requests", "prefect", "mlflow", "pandas", "moto", "aiosmtpd"}
    code = "".join(f"import taxi_lib.{name}\n" for name in sorted(light))
    code += f"import sys; print(*{heavy} & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == "\n"


def test_every_flat_module_is_imported_by_a_lesson_or_the_command_line_or_deployed_or_is_ground():
    cells = [
        "".join(cell["source"])
        for path in (ROOT / "notebooks").glob("*.ipynb")
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
    ]
    used = set(re.findall(r"from taxi_lib\.(\w+) import", "\n".join(cells)))
    for names in re.findall(r"from taxi_lib import ([\w, ]+)", "\n".join(cells)):
        used |= set(names.split(", "))
    command_line = (LIBRARY / "__main__.py").read_text(encoding="utf-8")
    used |= set(re.findall(r"from taxi_lib import (\w+)", command_line))
    deployed = set(re.findall(r"taxi_lib\.(\w+)\.", (ROOT / "prefect.yaml").read_text()))
    flat = {path.stem for path in LIBRARY.glob("[a-z]*.py")}
    assert flat - used - deployed <= GROUND
    assert len(flat) + 2 <= 16  # with `__init__` and `__main__`
