"""Lesson 9: a run's own parameters, a deployment of a branch, and an entrypoint one folder off."""

import re
from typing import Any

from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse

from taxi_lib.checks import server
from taxi_lib.checks.answers import UnreadableError, number, numbers
from taxi_lib.checks.verdicts import Right, Wrong

HINTS = {
    1: [
        "What does the deployment know of a run that somebody asks for? Look at its page again.",
        "`run_deployment(deployment.id, parameters=chosen | {…})` asks for a run with parameters; "
        "in a terminal each has its `-p`. Where does a run find a number that nobody gave?",
    ],
    2: [
        "`git log --oneline --all` lists the commits. Which one comes before Ada's?",
        "`git branch stable COMMIT`, then push the branch. In the file, a third entry under "
        "`deployments:` with a `pull` and a `job_variables` like the second one's.",
    ],
    3: [
        "In which folder did you type `prefect deploy`? Which folder does `git_clone` make?",
        "The log of the crashed run names the whole path that the process tried. Which part of "
        "it comes from the entrypoint?",
    ],
}
_CLONE = "prefect.deployments.steps.git_clone"
_ROUNDS = r"\b(\d+) rounds:"  # what the flow prints


def q1(rounds_next: object, run: object, deployment_id: object) -> Right | Wrong:
    """Judge a run with three rounds, and what was predicted for one that is given no number."""
    predicted, asked = number(rounds_next), server.flow_run(run)
    if asked.deployment_id != deployment_id:
        server.deployment(asked.deployment_id)  # says so if there is none
        return Wrong("This run belongs to another deployment than `taxi1`.")
    deployment = server.deployment(asked.deployment_id)
    return _three_rounds(asked, deployment) or _compare(predicted, _usual_rounds(deployment))


def _three_rounds(run: FlowRun, deployment: DeploymentResponse) -> Wrong | None:
    """Judge whether a run was asked for with three rounds, and the deployment left alone."""
    if "rounds" in deployment.parameters:
        return Wrong(
            f"The deployment itself now says `rounds: {deployment.parameters['rounds']}`, so "
            "everybody's runs take that.",
            "Take the line out of `prefect.yaml`, and deploy again. Then give the number with the "
            "run.",
        )
    rounds = run.parameters.get("rounds")
    if rounds is None:
        return Wrong(
            "This run was asked for without a number of rounds, so it took what the code says.",
            "No file needs to change: a parameter can be given with the run.",
        )
    if rounds != 3:
        return Wrong(f"This run was asked for with {rounds} rounds. Is it the lesson's?")
    if not server.a_worker_completed(run):
        return Wrong(f"The run {run.name} is {run.state_name}: no worker has completed it.")
    return None


def _usual_rounds(deployment: DeploymentResponse) -> float:
    form = (deployment.parameter_openapi_schema or {}).get("properties", {})
    if "default" not in form.get("rounds", {}):
        raise UnreadableError("The flow of this deployment has no default for `rounds` any more.")
    return form["rounds"]["default"]


def _compare(predicted: float, usual: float) -> Right | Wrong:
    if predicted == 3:
        return Wrong(
            "Your run was as it should be. You predict that the next one takes its three rounds, "
            "too. Has your run changed the deployment?",
            "`client.read_deployment(deployment.id).parameters` shows what it keeps.",
        )
    if predicted != usual:
        return Wrong(
            f"Your run was as it should be. But a run that nobody gives a number does not take "
            f"{predicted:g} rounds.",
            "Whose number is that? `taxi1` runs the code of *our* folder; look at its form.",
        )
    return Right(
        "A run's parameters belong to that run, and the server keeps them with it, so you can "
        "see later what was asked for. A run without them takes what the deployment says, or "
        "else the default in the code. So you can try something without an edit or a new deploy."
    )


def q2(rounds: object, run: object, lessons_run: object) -> Right | Wrong:
    """Judge a deployment of the branch `stable`, by a run of it and one of the lesson's."""
    predicted = numbers(rounds)
    if len(predicted) != 2:
        raise UnreadableError("Two numbers are asked for: first that of your deployment.")
    own, lessons = server.flow_run(run), server.flow_run(lessons_run)
    if own.deployment_id == lessons.deployment_id:
        return Wrong(
            "This is a run of `taxi_from_git`. Give your deployment another name.",
            "An entry with the same name changes the deployment that is there.",
        )
    deployments = [server.deployment(each.deployment_id) for each in (own, lessons)]
    return (
        _branches(*deployments)
        or _took_its_rounds_from_git(own, deployments[0])
        or _compare_rounds(predicted, own, lessons)
    )


def _branches(own: DeploymentResponse, lessons: DeploymentResponse) -> Wrong | None:
    """Judge what the two deployments clone."""
    clone, other = _clone(own), _clone(lessons)
    if not clone:
        return Wrong("This deployment clones nothing: its `pull` has no step `git_clone`.")
    if clone.get("repository") != other.get("repository"):
        return Wrong("This deployment clones another repository than `taxi_from_git`.")
    if clone.get("branch") != "stable":
        return Wrong(
            f"This deployment clones the branch `{clone.get('branch')}`; `stable` is asked for."
        )
    if other.get("branch") == "stable":
        return Wrong(
            "`taxi_from_git` clones the branch `stable` now, too.",
            "Each entry of the file has its own `pull`: change only yours.",
        )
    return None


def _clone(deployment: DeploymentResponse) -> dict[str, Any]:
    steps = [step[_CLONE] for step in deployment.pull_steps or [] if _CLONE in step]
    return steps[0] if steps else {}


def _took_its_rounds_from_git(run: FlowRun, deployment: DeploymentResponse) -> Wrong | None:
    if "rounds" in run.parameters or "rounds" in deployment.parameters:
        return Wrong(
            "The number of rounds is given as a parameter here. Leave it to the code: the branch "
            "should decide."
        )
    if not server.a_worker_completed(run):
        return Wrong(
            f"The run {run.name} is {run.state_name}. The end of its log says why.",
            "Is the branch pushed? And what does a clone lack: how does the second deployment "
            "find its months?",
        )
    return None


def _compare_rounds(predicted: list[float], own: FlowRun, lessons: FlowRun) -> Right | Wrong:
    ran = [_rounds_of(run) for run in (own, lessons)]
    if ran[0] == ran[1]:
        return Wrong(
            f"Both branches train {ran[0]:g} rounds: Ada's commit is in yours, too.",
            "A new branch begins at the commit that you name, or else at the one you are on.",
        )
    if predicted == ran:
        return Right(
            "A branch decides which code runs, and two deployments can share a repository. "
            "Push to `main` as often as you like: what runs from `stable` changes only when "
            "somebody moves that branch. `commit_sha` would pin it to one commit."
        )
    if predicted[0] == predicted[1]:
        return Wrong("You predict the same for both. Which commit is the last one of each branch?")
    if predicted == ran[::-1]:
        return Wrong("These are the numbers, in the other order: that of your deployment first.")
    return Wrong("The runs took other numbers of rounds than you predict: look at their logs.")


def _rounds_of(run: FlowRun) -> float:
    found = re.search(_ROUNDS, server.log_of(run, _ROUNDS))
    if not found:
        raise UnreadableError(f"The log of {run.name} does not say how many rounds it took.")
    return float(found[1])


def q3(broken: object, mended: object, lessons_run: object) -> Right | Wrong:
    """Judge a run that crashed because its file was missing, and one that completed later."""
    crash, success, lessons = map(server.flow_run, (broken, mended, lessons_run))
    if {crash.deployment_id, success.deployment_id} != {lessons.deployment_id}:
        return Wrong(
            "Both runs have to be of `taxi_from_git`.",
            "Under a new name it works, but what others call by the old one is still broken.",
        )
    if not crash.state.is_crashed():
        return Wrong(
            f"The first run should be the crashed one, but {crash.name} is {crash.state_name}."
        )
    wanted = r"No such file.*taxi/orchestrate\.py"
    if not re.search(wanted, server.log_of(crash, wanted)):
        return Wrong(
            "This run did not crash because `taxi/orchestrate.py` was missing. Is it the lesson's?",
            "Write `entrypoint: taxi/orchestrate.py:main_flow`, deploy, and then ask for a run.",
        )
    return _mended(crash, success)


def _mended(crash: FlowRun, success: FlowRun) -> Right | Wrong:
    if not server.a_worker_completed(success):
        return Wrong(
            f"The run {success.name} is {success.state_name}. The end of its log says why.",
            "Deploying again with the same entrypoint changes nothing. What should it say, seen "
            "from the clone? And where must you deploy from, so that it is there, too?",
        )
    if success.created < crash.created:
        return Wrong("This run completed *before* the crash, so it proves nothing about it.")
    deployment = server.deployment(success.deployment_id)
    if not _clone(deployment):
        return Wrong(
            "It runs, but its `pull` no longer clones the repository: a colleague's push would "
            "change nothing.",
            "Leave `pull` as it was, and say in `entrypoint` where the file is in the clone.",
        )
    file = (deployment.entrypoint or "").split(":")[0]
    if file.startswith("taxi/") and len(deployment.pull_steps or []) == 1:
        return Wrong(
            "It runs, and the entrypoint still begins with `taxi/`: so there is a second copy of "
            "the file in the repository. From now on somebody edits the wrong one.",
            "Leave the files where they are, and change the line in `prefect.yaml`.",
        )
    return Right(
        "`prefect deploy` looks from the folder where you type it, the worker's process from the "
        "folder that the pull steps lead to. An entrypoint has to be right for both. Keep "
        "`prefect.yaml` at the top of the repository and deploy from there, then they agree."
    )
