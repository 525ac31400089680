"""What makes a notebook stale: a change in what it depends on, and nothing else."""

import shutil

import pytest

from support import ROOT
from support.notebooks import write_cells
from taxi_lib.runner import fingerprints
from taxi_lib.runner.contracts import read_contract
from taxi_lib.runner.fingerprints import differences, inputs_of


@pytest.fixture
def library(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Yield the folder of a copy of the library, whose files the fingerprints are made of."""
    copy = tmp_path / "library" / "taxi_lib"
    shutil.copytree(ROOT / "taxi_lib", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprints, "__file__", str(copy / "runner" / "fingerprints.py"))
    return copy


def steps(tmp_path):
    """Return a new folder for notebooks."""
    (tmp_path / "steps").mkdir()
    return tmp_path / "steps"


def change_in(path, code: str, tmp_path) -> str:
    """Return what a comment added to a file changes for a notebook with this code."""
    contract = read_contract(write_cells(steps(tmp_path), code))
    before = inputs_of(contract, {}, {})
    path.write_text(path.read_text() + "# a comment\n")
    return differences(before, inputs_of(contract, {}, {}))


@pytest.mark.parametrize(
    "file",
    ["trips/data.py", "trips/synthetic_zones.csv", "models.py", "services/s3.py", "settings.py"],
)
def test_a_change_in_what_lessons_import_makes_a_notebook_stale(library, tmp_path, file):
    assert change_in(library / file, "1 + 1", tmp_path) == "taxi_lib"


@pytest.mark.parametrize(
    "file", ["runner/console.py", "runner/html/page.py", "walkthrough.py", "plan.py", "__main__.py"]
)
def test_a_change_in_what_runs_notebooks_makes_no_notebook_stale(library, tmp_path, file):
    assert change_in(library / file, "from taxi_lib import models, plots", tmp_path) == ""


@pytest.mark.parametrize(
    "code",
    [
        "from taxi_lib.runner.contracts import read_contract",
        "from taxi_lib import models, walkthrough",
        "from taxi_lib import (\n    models,\n    plan,\n)",
        "import taxi_lib.runner.cache",
        "!{sys.executable} -m taxi_lib status",
        'run([python, "-m", "taxi_lib", "run"])',
    ],
)
def test_a_notebook_that_runs_notebooks_itself_depends_on_what_runs_them(library, tmp_path, code):
    assert change_in(library / "runner" / "console.py", code, tmp_path) == "taxi_lib"


def test_what_python_leaves_beside_the_source_does_not_count(library, tmp_path):
    contract = read_contract(write_cells(steps(tmp_path), "1 + 1"))
    before = inputs_of(contract, {}, {})
    (library / "trips" / "__pycache__").mkdir()
    (library / "trips" / "__pycache__" / "data.cpython-311.pyc").write_bytes(b"compiled")
    assert inputs_of(contract, {}, {}) == before
