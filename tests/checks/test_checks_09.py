"""The checks of lesson 9: each answer gets the sentence that fits it."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from prefect import flow
from prefect.client.schemas.objects import FlowRun

from support.exercises import said
from support.worker_runs import Deployed, deployed
from taxi_lib.checks import server

pytestmark = pytest.mark.usefixtures("prefect_api")

FORM = {"type": "object", "properties": {"rounds": {"type": "integer", "default": 5}}}
HERE = "prefect.deployments.steps.set_working_directory"
CLONE = "prefect.deployments.steps.git_clone"
NO_FILE = "FileNotFoundError: [Errno 2] No such file or directory: '{}'"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch):
    """What these tests write to the server is there at once."""
    monkeypatch.setattr(server, "_PATIENCE_WITH_LOGS", 0.0)


def entry(
    branch: str = "",
    entrypoint: str = "orchestrate.py:main_flow",
    repository: str = "taxi.git",
    **more: object,
) -> dict[str, object]:
    """Return what the server keeps of an entry of prefect.yaml; without a branch: of a folder."""
    clone = {CLONE: {"repository": repository, "branch": branch}}
    steps = [clone if branch else {HERE: {"directory": "taxi"}}]
    return {"pull_steps": steps, "entrypoint": entrypoint, "parameter_openapi_schema": FORM} | more


@pytest.fixture
def project(prefect_api: str) -> Iterator[Deployed]:
    with deployed("main-flow") as made:
        yield made


def test_three_rounds_are_given_with_the_run(project: Deployed):
    taxi1 = project.deployment("taxi1", **entry())
    run = project.run(taxi1, rounds=3)
    right = said("09", 1, 5, run, taxi1)
    assert right.status == "right" and "parameters belong to that run" in right.text
    assert said("09", 1, 5, str(run.id), taxi1).status == "right"
    assert said("09", 1, ..., run, taxi1).status == "not attempted"
    predicted = {3: "Has your run changed the deployment", 7: "take 7 rounds", 10: "10 rounds"}
    found = {rounds: said("09", 1, rounds, run, taxi1) for rounds in predicted}
    assert {box.status for box in found.values()} == {"wrong"}
    assert all(predicted[rounds] in box.text for rounds, box in found.items())
    assert "a number is asked for" in said("09", 1, "five", run, taxi1).text


RUNS = {
    "the lesson's": ("asked for with 7 rounds", lambda made, own: made.run(own, rounds=7)),
    "a file edited": ("without a number of rounds", lambda made, own: made.run(own)),
    "failed": ("is Failed", lambda made, own: made.run(own, "Failed", rounds=3)),
    "nobody's work": (
        "no worker has completed",
        lambda made, own: made.run(own, rounds=3, by_a_worker=False),
    ),
    "of another": (
        "another deployment than `taxi1`",
        lambda made, own: made.run(made.deployment("other", **entry()), rounds=3),
    ),
    "called": ("belongs to no deployment", lambda made, own: called(rounds=3)),
    "planned": (
        "has not ended",
        lambda made, own: made.planned(own),
    ),
}


@flow(name="main-flow")
def main_flow(rounds: int) -> None: ...


def called(rounds: int) -> object:
    return main_flow(rounds, return_state=True)


@pytest.mark.parametrize("case", RUNS)
def test_another_run_is_no_run_of_three_rounds(case: str, project: Deployed):
    sentence, make = RUNS[case]
    taxi1 = project.deployment("taxi1", **entry())
    box = said("09", 1, 5, make(project, taxi1), taxi1)
    assert box.status == "wrong" and sentence in box.text


def test_a_deployment_that_says_three_rounds_is_not_left_as_it_was(project: Deployed):
    taxi1 = project.deployment("taxi1", **entry(parameters={"rounds": 3}))
    box = said("09", 1, 5, project.run(taxi1), taxi1)
    assert box.status == "wrong" and "now says `rounds: 3`" in box.text


def test_a_flow_without_a_default_is_said(project: Deployed):
    taxi1 = project.deployment("taxi1", **entry(parameter_openapi_schema={}))
    assert "no default" in said("09", 1, 5, project.run(taxi1, rounds=3), taxi1).text


@pytest.fixture
def shared(project: Deployed) -> SimpleNamespace:
    """Return the lesson's deployment of the branch main, and a run of it after Ada's push."""
    deployment = project.deployment("taxi_from_git", **entry("main"))
    return SimpleNamespace(id=deployment, run=project.run(deployment, log="10 rounds: RMSE 7"))


PREDICTED = {
    "right": ("right", "A branch decides", [5, 10]),
    "the same": ("wrong", "the same for both", [10, 10]),
    "the other way": ("wrong", "in the other order", [10, 5]),
    "others": ("wrong", "look at their logs", [3, 10]),
    "one number": ("wrong", "Two numbers", [5]),
    "a number": ("wrong", "a list of numbers", 5),
    "untouched": ("not attempted", "check.hint(2)", ...),
}


def test_rounds_of_two_branches_are_compared_with_what_was_predicted(
    project: Deployed, shared: SimpleNamespace
):
    run = project.run(project.deployment("stable", **entry("stable")), log="5 rounds: RMSE 7")
    for case, (status, sentence, rounds) in PREDICTED.items():
        box = said("09", 2, rounds, run, shared.run.id)
        assert box.status == status and sentence in box.text, case


def stable_run(made: Deployed, state: str = "Completed", rounds: int = 5, **more: str) -> FlowRun:
    deployment = made.deployment("stable", **entry(**{"branch": "stable"} | more))
    return made.run(deployment, state, log=f"{rounds} rounds: RMSE 7")


STABLE: dict[str, tuple[str, Callable]] = {
    "the lesson's": ("another name", lambda made, shared: shared.run),
    "the folder": ("clones nothing", lambda made, shared: stable_run(made, branch="")),
    "main": ("clones the branch `main`", lambda made, shared: stable_run(made, branch="main")),
    "another repository": (
        "another repository",
        lambda made, shared: stable_run(made, repository="mine.git"),
    ),
    "after Ada": ("Ada's commit is in yours", lambda made, shared: stable_run(made, rounds=10)),
    "without data": ("end of its log", lambda made, shared: stable_run(made, "Failed")),
    "no such branch": ("end of its log", lambda made, shared: stable_run(made, "Crashed")),
    "five as parameter": (
        "given as a parameter",
        lambda made, shared: made.run(made.deployment("stable", **entry("stable")), rounds=5),
    ),
    "called": ("belongs to no deployment", lambda made, shared: called(rounds=5)),
    "silent": (
        "does not say how many rounds",
        lambda made, shared: made.run(made.deployment("stable", **entry("stable"))),
    ),
}


@pytest.mark.parametrize("case", STABLE)
def test_another_run_is_no_run_of_the_stable_branch(
    case: str, project: Deployed, shared: SimpleNamespace
):
    sentence, make = STABLE[case]
    box = said("09", 2, [5, 10], make(project, shared), shared.run.id)
    assert box.status == "wrong" and sentence in box.text


def test_the_other_deployment_must_not_change_its_branch(project: Deployed):
    others = project.deployment("taxi_from_git", **entry("stable"))
    lessons = project.run(others, log="10 rounds: RMSE 7")
    box = said("09", 2, [5, 10], stable_run(project), lessons.id)
    assert box.status == "wrong" and "clones the branch `stable` now, too" in box.text


IN_A_CLONE = NO_FILE.format("/tmp/taxi-main/taxi/orchestrate.py")


def crash(made: Deployed, shared: SimpleNamespace, missing: str = IN_A_CLONE) -> FlowRun:
    return made.run(shared.id, "Crashed", log=missing)


def test_a_mended_deployment_completes_a_run_after_the_crash(
    project: Deployed, shared: SimpleNamespace
):
    broken, mended = crash(project, shared), project.run(shared.id)
    box = said("09", 3, broken, mended, shared.run.id)
    assert box.status == "right" and "the worker's process from" in box.text
    assert "before* the crash" in said("09", 3, broken, shared.run, shared.run.id).text
    assert said("09", 3, ..., mended, shared.run.id).status == "not attempted"


MENDED: dict[str, tuple[str, Callable]] = {
    "the lesson's crash": (
        "Is it the lesson's",
        lambda made, shared: (
            crash(made, shared, NO_FILE.format("/tmp/taxi-main/orchestrate.py")),
            made.run(shared.id),
        ),
    ),
    "nothing broken": (
        "should be the crashed one",
        lambda made, shared: (made.run(shared.id), made.run(shared.id)),
    ),
    "deployed again": (
        "is Crashed",
        lambda made, shared: (crash(made, shared), crash(made, shared)),
    ),
    "a new name": (
        "Both runs have to be of",
        lambda made, shared: (
            crash(made, shared),
            made.run(made.deployment("new", **entry("main"))),
        ),
    ),
    "nobody's work": (
        "end of its log",
        lambda made, shared: (crash(made, shared), made.run(shared.id, by_a_worker=False)),
    ),
}


@pytest.mark.parametrize("case", MENDED)
def test_another_pair_of_runs_mends_nothing(case: str, project: Deployed, shared: SimpleNamespace):
    sentence, make = MENDED[case]
    box = said("09", 3, *make(project, shared), shared.run.id)
    assert box.status == "wrong" and sentence in box.text


def test_a_copy_of_the_file_is_no_repair(project: Deployed):
    moved = "taxi/orchestrate.py:main_flow"
    deployment = project.deployment("taxi_from_git", **entry("main", moved))
    lessons = SimpleNamespace(id=deployment, run=project.run(deployment))
    box = said("09", 3, crash(project, lessons), project.run(deployment), lessons.run.id)
    assert box.status == "wrong" and "second copy of the file" in box.text


def test_a_deployment_that_no_longer_clones_is_no_repair(project: Deployed):
    deployment = project.deployment("taxi_from_git", **entry())
    lessons = SimpleNamespace(id=deployment, run=project.run(deployment))
    box = said("09", 3, crash(project, lessons), project.run(deployment), lessons.run.id)
    assert box.status == "wrong" and "no longer clones the repository" in box.text
