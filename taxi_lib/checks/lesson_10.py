"""Lesson 10: a limit that is passed, another bucket for one run, and a key in a log."""

import contextvars
import importlib.util
import io
import json
import math
import re
import secrets
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError
from prefect.blocks.system import Secret
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect_aws import AwsCredentials

from taxi_lib.checks import server
from taxi_lib.checks.answers import UnreadableError, one_of, shown
from taxi_lib.checks.verdicts import Right, Wrong
from taxi_lib.checks.web import service

HINTS = {
    1: [
        "Where does the flow find its limit? It is neither in the file nor in the deployment.",
        "A `Variable` is changed with `aset` and `overwrite=True`. And what does the flow do when "
        "the error is above the limit: does anything raise?",
    ],
    2: [
        "Which parameter of the flow leads to the bucket?",
        "`run_deployment(…, parameters={…})` gives one run another value than the deployment has.",
        "Besides the bucket you need a block: `S3Bucket(bucket_name=…, credentials=…)`, saved "
        "under a new name. `bucket.credentials` are the ones of the lesson.",
    ],
    3: [
        "Read the last lines of the log: which text holds the address?",
        "An error that is raised inside an `except` block brings the first one along. What does "
        "the status of the answer say, without any exception?",
    ],
}
_CODE = ("entrypoint", "path", "parameters", "pull_steps", "job_variables", "work_pool_name")


def q1(ends_in: object, above: object, deployment: object) -> Right | Wrong:
    """Judge a run whose report says that the model is above the limit, and a prediction for it."""
    end = one_of(ends_in, "completed", "failed")
    kept = _deployment(deployment)
    run = _run_of(kept, above)
    if wrong := _changed(kept):
        return wrong
    left = _artifacts(run)
    found = re.search(
        r"limit is (\S+) minutes: this model is (\w+) it", left.get("rmse-report", "")
    )
    if not found or "rmse-table" not in left:
        return Wrong(
            f"This run is `{run.state_name}` and has left no report: `{run.state.message:.120}`.",
            "Is there a variable of the name that the run was given, and is it a number?",
        )
    limit, rmse = float(found[1]), json.loads(left["rmse-table"])[0]["rmse"]
    if found[2] != "above":
        return Wrong(
            "The report of this run says that the model is within the limit.",
            "Compare the number in it with the limit. Which of the two can you change?",
        )
    if not rmse > limit:
        return Wrong("The report says `above`, but its numbers do not: has its code changed?")
    if end != run.state_name.casefold():
        return Wrong(
            "The report is as it should be, but your run ended in another state than you predict.",
            "What does the flow do when the error is above the limit: does anything raise?",
        )
    return Right(
        "The number is on the server, so nobody has to touch the code. But a report stops nobody: "
        "if a bad model must not go on, the flow has to raise, or to return `Failed`."
    )


def _deployment(answer: object) -> DeploymentResponse:
    if type(answer) is not DeploymentResponse:
        raise UnreadableError(f"The answer is {shown(answer)}; the lesson's `deployment` is asked.")
    return answer


def _run_of(deployment: DeploymentResponse, answer: object) -> FlowRun:
    """Return a run of the lesson's deployment; raise for any other."""
    run = server.flow_run(answer)
    if run.deployment_id != deployment.id:
        raise UnreadableError(
            f"The run {run.name} is not one of the deployment `{deployment.name}`, which should "
            "stay as it is: start it with `run_deployment`."
        )
    return run


def _changed(deployment: DeploymentResponse) -> Wrong | None:
    """Say that a deployment is no longer what it was in the lesson."""
    with server.server() as client:
        now = client.read_deployment(deployment.id)
    changed = [name for name in _CODE if getattr(now, name) != getattr(deployment, name)]
    if not changed:
        return None
    return Wrong(
        f"The deployment has changed: its {' and '.join(changed).replace('_', ' ')}. So all later "
        "runs change, too.",
        "`prefect deploy --all` in the folder `project` makes it again as it was.",
    )


def _artifacts(run: FlowRun) -> dict[str, str]:
    """Return what a run left on its page, by its keys."""
    this = filters.ArtifactFilter(flow_run_id=filters.ArtifactFilterFlowRunId(any_=[run.id]))
    with server.server() as client:
        return {one.key: str(one.data) for one in client.read_artifacts(artifact_filter=this)}


def q2(run_2: object, run_without: object, deployment: object) -> Right | Wrong:
    """Judge a run on another bucket, and one that failed there because a month was missing."""
    kept = _deployment(deployment)
    run, without = _run_of(kept, run_2), _run_of(kept, run_without)
    if wrong := _changed(kept):
        return wrong
    lessons = kept.parameters["bucket_block"]
    block, bucket = run.parameters["bucket_block"], _bucket(run.parameters["bucket_block"])
    if block == lessons and bucket.name != "taxi-months":
        return Wrong(
            f"The block `{block}` points at another bucket now, for everybody who uses its name.",
            "Save `taxi-months` in it again, and make a block of its own for the second bucket.",
        )
    if block == lessons:
        return Wrong(
            f"The first of the two runs used the block of the lesson, `{block}`.",
            "Which parameter names it? `run_deployment` takes `parameters` for one run.",
        )
    if bucket.name == _bucket(lessons).name:
        return Wrong(f"The block `{block}` is new, but it points at the bucket of the lesson.")
    if not run.state.is_completed():
        return Wrong(f"The first of the two runs is {run.state_name}: `{run.state.message:.150}`.")
    if bucket.read("reports/rmse.md") != _artifacts(run).get("rmse-report"):
        return Wrong(f"The report of this run is not in the bucket `{bucket.name}`.")
    return _judge_missing(without, block) or Right(
        "The same deployment worked on another bucket, because a name led there. So one flow "
        "serves tests and the real thing, and a test run cannot touch the real data by accident."
    )


def _judge_missing(run: FlowRun, block: str) -> Wrong | None:
    if run.parameters["bucket_block"] != block:
        return Wrong("The second run used another bucket than the first: its end shows nothing.")
    if run.state.is_completed():
        return Wrong(
            "The second run found both months.",
            "Delete one in the second bucket and run again: only then do you know what was read.",
        )
    reads = [one for one in server.task_runs(run) if one.task_key.startswith("read_data-")]
    messages = [one.state.message or "" for one in reads if one.state.is_failed()]
    if not any("(404)" in message or "NoSuchKey" in message for message in messages):
        return Wrong(
            f"The second run failed for another reason than a month that is not there: "
            f"`{run.state.message:.150}`."
        )
    return None


class _Bucket(NamedTuple):
    """A bucket that a block points at."""

    name: str
    client: Any

    def read(self, path: str) -> str | None:
        """Return the text of a file in it, or None."""
        try:
            return self.client.get_object(Bucket=self.name, Key=path)["Body"].read().decode()
        except ClientError:
            return None
        except BotoCoreError:
            raise UnreadableError(f"The bucket has stopped. {server.STOPPED}") from None


def _bucket(block: str) -> _Bucket:
    try:
        with server.server() as client:
            data = client.read_block_document_by_name(block, "s3-bucket").data
    except ObjectNotFound:
        raise UnreadableError(
            f"The server has no block of a bucket with the name `{block}`."
        ) from None
    return _Bucket(data["bucket_name"], AwsCredentials(**data["credentials"]).get_s3_client())


def q3(run_3: object, file: object) -> Right | Wrong:
    """Judge a run that failed without showing a secret, and the function that posts."""
    if not isinstance(file, Path) or not file.is_file():
        raise UnreadableError(f"The answer is {shown(file)}; the flow's file is asked for.")
    run = server.flow_run(run_3)
    if run.state.is_completed():
        return Wrong(
            "The run is `Completed`, although the board has moved: nobody learns of it.",
            "The error must still leave the flow. Only its text must not hold the address.",
        )
    left = _artifacts(run)
    if "rmse-report" not in left:
        return Wrong(f"This run failed before it came to the board: `{run.state.message:.150}`.")
    texts = [*server.log(run), run.state.message or "", *left.values()]
    with server.server() as client:
        secret = client.read_block_document_by_name(run.parameters["board_block"], "secret")
    key = str(secret.data["value"]).rpartition("=")[2]
    return (
        _leak(texts, key)
        or _judge_post(file)
        or Right(
            "A secret travels with everything that is made of it: an address is in the request, in "
            "its answer and in the error. Say in an error of your own what matters, and search the "
            "log for the secret before somebody else does."
        )
    )


def _leak(texts: list[str], key: str) -> Wrong | None:
    """Say that a secret is in a text, and how it came there."""
    leaking = [text for text in texts if key in text or "LEAKED" in text]
    if any("During handling of the above" in text or "direct cause" in text for text in leaking):
        return Wrong(
            "The key is still in the log: a new error was raised while the first was handled, and "
            "Python shows both.",
            "`raise … from None` hides the first one. Or do not let it come about at all.",
        )
    if any("Traceback" in text for text in leaking):
        return Wrong(
            "The key is still in the log, in the text of an error.",
            "What does `httpx` write into the error of `raise_for_status`?",
        )
    if leaking:
        return Wrong(f"The key is still in what the server keeps: `{leaking[0][:40]}…`.")
    return None


def _judge_post(file: Path) -> Wrong | None:
    """Try the function that posts on boards of the check's own, with keys of their own."""
    key = secrets.token_hex(10)
    with service() as board:
        said = _posted(file, f"{board.address}/?key={key}")
    if said.error is not None:
        return Wrong(f"A board that answers with 200 gets an error: `{said.error!r:.100}`.")
    if not any(key in call for call in board.calls):
        return Wrong("`post` does not post to the board any more.")
    for status in (404, 500):
        with service(failures=math.inf, status=status) as moved:
            said = _posted(file, f"{moved.address}/moved?key={key}")
        if said.error is None:
            return Wrong(f"The board answers with status {status}, and `post` does not fail.")
        if wrong := _leak([said.text], key):
            return Wrong(
                "Your run shows no key, but with another address, which the check has made up, "
                f"`post` shows its key when the board answers with status {status}.",
                wrong.more,
            )
    return None


class _Posted(NamedTuple):
    """What came of a call of the learner's ``post``."""

    error: Exception | None
    text: str  # what the log would show: what was printed, and the error


def _posted(file: Path, address: str) -> _Posted:
    """Call ``post`` of a flow's file with a block of the check's own."""
    printed, error = io.StringIO(), None
    with _plain_thread() as call, _secret_block(call, address) as name, redirect_stdout(printed):
        post = call(_load, file).post
        try:
            call(post, "a line of the check", name)
        except Exception as raised:  # whatever the learner's code raises
            error = raised
    shown_error = "".join(traceback.format_exception(error)) if error else ""
    return _Posted(error, printed.getvalue() + shown_error)


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"checked_{secrets.token_hex(4)}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _plain_thread() -> Iterator[Callable[..., Any]]:
    """Yield a way to call functions in another thread: a notebook's own has a running loop."""
    context = contextvars.copy_context()  # with the address of Prefect's server
    with ThreadPoolExecutor(max_workers=1) as thread:
        yield lambda function, *given: thread.submit(context.run, function, *given).result()


@contextmanager
def _secret_block(call: Callable[..., Any], value: str) -> Iterator[str]:
    """Yield the name of a block that holds a secret; remove it afterwards."""
    name = f"check-{secrets.token_hex(6)}"
    with server.server() as client:
        block_id: UUID = call(Secret(value=value).save, name)
        try:
            yield name
        finally:
            client.delete_block_document(block_id)
