"""The deployments in docs/scaling.md fit the job templates of Prefect's Docker and Kubernetes."""

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml
from prefect.utilities.schema_tools.validation import validate
from prefect.utilities.templating import apply_values

from support import ROOT

PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
TEMPLATES = Path(prefect.__file__).parent / (
    "server/api/collections_data/views/aggregate-worker-metadata.json"
)


def block(language: str, name: str) -> str:
    """Return the block of the page that begins with the name of its file."""
    return re.search(rf"```{language}\n# {name}\n(.*?)```", PAGE, flags=re.DOTALL)[1]


def default_template(kind: str) -> dict[str, Any]:
    """Return the job template that Prefect's server gives a new pool of this type."""
    shipped = json.loads(TEMPLATES.read_text(encoding="utf-8"))
    return shipped[f"prefect-{kind}"][kind]["default_base_job_configuration"]


DEPLOYMENTS = yaml.safe_load(block("yaml", "prefect.yaml"))["deployments"]
POOLS = {each["work_pool"]["name"]: each["work_pool"]["job_variables"] for each in DEPLOYMENTS}


def test_the_page_has_a_deployment_for_docker_and_one_for_kubernetes():
    assert set(POOLS) == {"docker", "kubernetes"}


@pytest.mark.parametrize("kind", POOLS)
def test_what_a_container_gets_is_of_the_template_and_of_its_types(kind: str):
    schema = default_template(kind)["variables"]
    assert not POOLS[kind].keys() - schema["properties"].keys()
    validate(POOLS[kind], schema, raise_on_error=True)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["name"])
def test_what_a_container_runs_is_a_flow_that_takes_the_parameters(deployment: dict[str, Any]):
    module, _, name = deployment["entrypoint"].rpartition(".")
    flow = getattr(import_module(module), name)
    assert flow.validate_parameters(deployment["parameters"])


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the Kubernetes job of the page's deployment and pool."""
    monkeypatch.chdir(tmp_path)
    Path("default.json").write_text(json.dumps(default_template("kubernetes")))
    exec(block("python", r"shared_runs\.py"), {})
    template = json.loads(Path("pool.json").read_text())
    return apply_values(template["job_configuration"]["job_manifest"], POOLS["kubernetes"])


def test_the_kubernetes_job_runs_our_image_with_the_shared_folder(job: dict[str, Any]):
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (job["kind"], job["metadata"]["namespace"]) == ("Job", "taxi")
    assert container["image"] == POOLS["kubernetes"]["image"]
    assert container["resources"]["limits"]["memory"] == "4Gi"
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount["name"] == volume["name"]
    assert volume["persistentVolumeClaim"]["claimName"] == "taxi-runs"


def test_every_container_sees_the_shared_folder_at_the_same_place(job: dict[str, Any]):
    (mount,) = job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    (volume,) = POOLS["docker"]["volumes"]
    assert volume.partition(":")[2] == mount["mountPath"] == "/workbook/runs"
