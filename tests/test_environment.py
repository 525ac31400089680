import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from urllib.request import proxy_bypass

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from prefect.flows import Flow, load_flow_from_entrypoint
from requests.utils import should_bypass_proxies

from support import ROOT
from taxi_lib import settings

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = {
    match[1]: Version(match[2])
    for match in re.finditer(
        r"^([a-z0-9-]+)==([^ ]+)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE
    )
}
WANTED = [
    Requirement(line)
    for line in PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
]
HEAVY = {"prefect", "mlflow", "xgboost", "sklearn", "pandas"}
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("requirement", WANTED, ids=str)
def test_the_lock_holds_what_the_project_wants(requirement: Requirement):
    assert LOCK[requirement.name] in requirement.specifier


def test_the_lock_has_a_hash_for_every_package():
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)
    assert len(blocks) - 1 == len(LOCK)
    assert all("--hash=sha256:" in block for block in blocks[1:])


def test_this_environment_is_the_locked_one():
    here = [r for r in WANTED if r.marker is None or r.marker.evaluate()]
    assert {r.name: Version(version(r.name)) for r in here} == {r.name: LOCK[r.name] for r in here}


def test_conda_gets_the_same_lock_and_a_python_that_is_supported():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    python = next(entry for entry in conda if entry.startswith("python="))
    assert (
        Version(python.split("=")[1])
        in Requirement("python" + PROJECT["project"]["requires-python"]).specifier
    )
    assert pip == {"pip": ["-r requirements.lock"]}
    assert environment["name"] == PROJECT["project"]["name"]


def test_no_gpu_libraries_are_locked():
    assert not [name for name in LOCK if name.startswith(("nvidia", "cuda"))]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_a_deployments_entrypoint_is_a_flow_that_takes_its_parameters(deployment: dict):
    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    assert isinstance(flow, Flow)
    assert set(deployment.get("parameters", {})) <= set(flow.parameters.properties)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_a_deployment_takes_real_months_or_fails(deployment: dict):
    assert deployment["parameters"]["source"] == "tlc"


def test_importing_the_library_imports_nothing_heavy():
    code = "import sys, taxi_lib, taxi_lib.runner.contracts; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "taxi_lib.runner.contracts" in done.stdout.split()
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.slow
def test_importing_the_library_makes_no_folder(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAXI_RUNS_DIR", str(tmp_path / "runs"))
    files = [
        path.relative_to(ROOT).with_suffix("") for path in (ROOT / "taxi_lib").rglob("[a-z]*.py")
    ]
    code = "".join(f"import {'.'.join(file.parts)}\n" for file in sorted(files))
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [[], ["no_proxy"], ["NO_PROXY"], ["no_proxy", "NO_PROXY"]])
def test_servers_of_this_machine_are_reached_without_the_proxy_that_is_set(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    for name in names:
        monkeypatch.setenv(name, "example.org")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    for host in ("127.0.0.1", "localhost", *(["example.org"] if names else [])):
        assert proxy_bypass(host) and should_bypass_proxies(f"http://{host}:4200", None)
