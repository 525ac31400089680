"""The library installed with pip, without the lessons; and folders that are told relatively."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support import ROOT
from support.cli import run
from support.flow_runs import summary_of
from support.notebooks import GREETING, write_cells
from support.refusals import refused
from taxi_lib import settings
from taxi_lib.errors import TaxiError
from taxi_lib.services.processes import program

UNSET = dict.fromkeys(("TAXI_RUNS_DIR", "TAXI_DATA_DIR", "MLFLOW_TRACKING_URI", "PREFECT_HOME"))
SHOW = """import taxi_lib
from taxi_lib import settings
from taxi_lib.results import report_results
places = [settings.workspace(), settings.data_dir(), settings.runs_dir(), settings.tracking_uri()]
report_results(library=taxi_lib.__file__, places=[str(place) for place in places])"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, and return a folder like site-packages that holds what it holds."""
    folder = tmp_path_factory.mktemp("site")
    build = [program("uv"), "build", "--wheel", "--offline", "--quiet", "--out-dir", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_what_is_installed_works_where_one_is_and_notices_an_upgrade(site: Path, tmp_path: Path):
    here, package = tmp_path / "mein Ordner", tmp_path / "packages" / "other-1.0.dist-info"
    (here / "steps").mkdir(parents=True)
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Name: other\nVersion: 1.0\n")
    write_cells(here / "steps", SHOW, name="01_one", parameters=GREETING)
    before = sorted(site.rglob("*"))
    env = UNSET | {"PYTHONPATH": f"{site}{os.pathsep}{package.parent}"}
    status, told = run("--folder", "steps", cwd=here, PYTHONDONTWRITEBYTECODE="1", **env)
    assert status == 0, told
    (one,) = summary_of(here / "runs" / "latest")["notebooks"]
    assert one["results"]["library"] == str(site / "taxi_lib" / "__init__.py")
    store = f"sqlite:///{here / 'runs' / 'mlflow.db'}"
    assert one["results"]["places"] == [*map(str, [here, here / "data", here / "runs"]), store]
    assert sorted(site.rglob("*")) == before

    def status_now() -> str:
        command = [sys.executable, "-m", "taxi_lib", "status", "--folder", "steps"]
        own = {name: value for name, value in (os.environ | env).items() if value is not None}
        return subprocess.run(
            command, cwd=here, env=own, capture_output=True, text=True, check=True
        ).stdout

    assert status_now() == "01_one: fresh\n"
    (package / "METADATA").write_text("Name: other\nVersion: 1.1\n")
    assert status_now() == "01_one: stale (packages)\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["list", "run", "status"])
def test_lessons_that_were_not_installed_are_told_in_a_sentence(
    site: Path, tmp_path: Path, command: str
):
    done = subprocess.run(
        [sys.executable, "-m", "taxi_lib", command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "The lessons were not installed with the library: name a folder" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "read"),
    [
        ("TAXI_RUNS_DIR", settings.runs_dir),
        ("TAXI_DATA_DIR", settings.data_dir),
        ("PREFECT_HOME", lambda: settings.environment()["PREFECT_HOME"]),
        ("MLFLOW_TRACKING_URI", settings.tracking_uri),
    ],
)
@pytest.mark.parametrize("told", ["mine", "./mine", "../here/mine"])
def test_a_relative_folder_is_taken_from_where_one_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    read: Callable[[], object],
    told: str,
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv(variable, told)
    if variable == "TAXI_DATA_DIR":
        with refused(TaxiError, str(tmp_path / "here" / "mine"), "no folder: make it"):
            read()
        Path("mine").mkdir()
    assert str(read()) == str(tmp_path / "here" / "mine")
    assert settings.environment()[variable] == str(tmp_path / "here" / "mine")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("sqlite:///mine.db", "sqlite:///{}/mine.db"),
        ("sqlite:////mine.db", "sqlite:////mine.db"),
        ("file:mine%20own", "file://{}/mine%20own"),
        ("file:///mine%20own", "file:///mine%20own"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("databricks", "databricks"),
    ],
)
def test_a_relative_store_is_taken_from_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, expected: str
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", told)
    assert settings.environment()["MLFLOW_TRACKING_URI"] == expected.format(tmp_path)


@pytest.mark.parametrize("folder", ["~nobody-of-this-name/runs", "circle/runs"])
def test_a_runs_folder_that_cannot_be_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
):
    monkeypatch.chdir(tmp_path)
    Path("circle").symlink_to("circle")
    Path("~nobody-of-this-name").touch()
    monkeypatch.setenv("TAXI_RUNS_DIR", folder)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)  # as it will be set, so that it is taken back
    with refused(TaxiError, "Runs cannot be kept in", folder, "set TAXI_RUNS_DIR"):
        settings.use_workspace()
