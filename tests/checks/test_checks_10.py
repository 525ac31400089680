"""The checks of lesson 10: each answer gets the sentence that fits it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from traceback import format_exception
from typing import Any, NamedTuple

import httpx
import pytest
from prefect import artifacts, flow, get_client, task
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import LogCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import DeploymentResponse
from prefect.flow_engine import run_flow
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)
from prefect_aws import AwsCredentials, S3Bucket

from support.exercises import said
from taxi_lib.checks import server
from taxi_lib.services import s3_server
from taxi_lib.services.prefect_client import temporary_names

pytestmark = pytest.mark.usefixtures("prefect_api")
REPORT = "# RMSE report\n\nThe limit is {limit} minutes: this model is {verdict} it.\n"


@task
def read_data(bucket: S3Bucket, month: str) -> bytes:
    return bucket.read_path(f"data/{month}.parquet")


@flow
def main_flow_s3(bucket_block: str, board_block: str, limit: float = 12, how: str = "") -> None:
    """Do what the lesson's flow does, as far as the checks look at it."""
    if how == "at once":
        raise ValueError("None is no number")
    bucket = S3Bucket.load(bucket_block)
    months = [read_data(bucket, month) for month in ("january", "february")]
    rmse = float(len(months) * 3)
    verdict = "above" if rmse > limit or how == "only says so" else "within"
    report = REPORT.format(limit=limit, verdict=verdict)
    artifacts.create_markdown_artifact(report, key="rmse-report")
    artifacts.create_table_artifact([{"month": "february", "rmse": rmse}], key="rmse-table")
    bucket.write_path("reports/rmse.md", report.encode())
    address = Secret.load(board_block).get()
    if how == "in its error":
        httpx.Response(404, request=httpx.Request("POST", address)).raise_for_status()
    if how == "in a chain":
        try:
            httpx.Response(404, request=httpx.Request("POST", address)).raise_for_status()
        except httpx.HTTPStatusError:
            raise RuntimeError("The board answered 404.")  # noqa: B904
    if how == "fails well":
        raise RuntimeError("The board answered 404.")


class Lesson(NamedTuple):
    """What the lesson has made when its exercises begin."""

    client: SyncPrefectClient
    named: Callable[[str], str]
    deployment: DeploymentResponse

    def run(
        self, bucket: str = "", deployment: DeploymentResponse | None = None, **given: Any
    ) -> FlowRun:
        """Return a run of the deployment that has ended, made here and by no worker."""
        parameters = self.deployment.parameters | given
        if bucket:
            parameters["bucket_block"] = self.named(bucket)
        made = self.client.create_flow_run_from_deployment(
            (deployment or self.deployment).id, parameters=parameters
        )
        state = run_flow(main_flow_s3, flow_run=made, parameters=parameters, return_type="state")
        self.log(made, state)
        return self.client.read_flow_run(made.id)

    def log(self, run: FlowRun, state: State) -> None:
        """Write what a worker's process logs: what is logged here may come late, or not at all."""
        error = state.result(raise_on_failure=False)
        traceback = "".join(format_exception(error)) if isinstance(error, Exception) else ""
        for line in (f"Encountered an exception:\n{traceback}", f"Finished in state {state.name}"):
            entry = {"name": "prefect.flow_runs", "level": 20, "message": line}
            moment = {"timestamp": state.timestamp, "flow_run_id": run.id}
            self.client.create_logs([LogCreate(**entry, **moment)])


@pytest.fixture(scope="module")
def lesson(prefect_server: str) -> Iterator[Lesson]:
    with ExitStack() as services:
        services.enter_context(temporary_settings({PREFECT_API_URL: prefect_server}))
        named = services.enter_context(temporary_names())
        endpoint = services.enter_context(s3_server())
        client = services.enter_context(get_client(sync_client=True))
        credentials = AwsCredentials(
            aws_access_key_id="a",
            aws_secret_access_key="b",
            region_name="us-east-1",
            aws_client_parameters={"endpoint_url": endpoint},
        )
        credentials.save(named("creds"))
        for block, bucket in (("lesson", "taxi-months"), ("second", "taxi-months-test")):
            make_bucket(credentials, named(block), bucket, "january", "february")
        make_bucket(credentials, named("half"), "half", "january")
        S3Bucket(bucket_name="taxi-months", credentials=credentials).save(named("same"))
        Secret(value="http://127.0.0.1:9/moved?key=LEAKED").save(named("board"))
        yield Lesson(client, named, deploy(client, named, "taxi_s3_data"))


def make_bucket(credentials: AwsCredentials, block: str, name: str, *months: str) -> None:
    s3 = credentials.get_s3_client()
    s3.create_bucket(Bucket=name)
    for month in months:
        s3.put_object(Bucket=name, Key=f"data/{month}.parquet", Body=b"trips")
    S3Bucket(bucket_name=name, credentials=credentials).save(block)


def deploy(client: SyncPrefectClient, named: Callable[[str], str], name: str) -> DeploymentResponse:
    deployment_id = client.create_deployment(
        client.create_flow(main_flow_s3),
        named(name),
        parameters={"bucket_block": named("lesson"), "board_block": named("board")},
    )
    return client.read_deployment(deployment_id)


@pytest.fixture(scope="module")
def within(lesson: Lesson) -> FlowRun:
    return lesson.run()


@pytest.fixture(scope="module")
def above(lesson: Lesson) -> FlowRun:
    return lesson.run(limit=5)


def test_a_report_above_the_limit_is_right(lesson: Lesson, above: FlowRun):
    box = said("10", 1, "Completed", above, lesson.deployment)
    assert box.status == "right" and "a report stops nobody" in box.text
    box = said("10", 1, "Failed", above, lesson.deployment)
    assert box.status == "wrong" and "another state than you predict" in box.text
    for untouched in ((..., above), ("Completed", ...)):
        assert said("10", 1, *untouched, lesson.deployment).status == "not attempted"


NOT_ABOVE = {
    "a text for a limit": ("has left no report", {"how": "at once"}),
    "only the word": ("but its numbers do not", {"how": "only says so"}),
}


@pytest.mark.parametrize("case", NOT_ABOVE)
def test_a_report_must_be_there_and_true(case: str, lesson: Lesson):
    sentence, given = NOT_ABOVE[case]
    box = said("10", 1, "Completed", lesson.run(**given), lesson.deployment)
    assert box.status == "wrong" and sentence in box.text


def test_the_lessons_own_run_is_within_the_limit(lesson: Lesson, within: FlowRun):
    box = said("10", 1, "Completed", within, lesson.deployment)
    assert box.status == "wrong" and "within the limit" in box.text


def test_a_run_of_another_deployment_is_refused(lesson: Lesson):
    other = deploy(lesson.client, lesson.named, "another")
    box = said("10", 1, "Completed", lesson.run(deployment=other, limit=5), lesson.deployment)
    assert box.status == "wrong" and "is not one of the deployment" in box.text
    assert "`deployment` is asked" in said("10", 1, "Completed", None, "taxi_s3_data").text


def test_a_deployment_that_was_changed_is_named(lesson: Lesson, above: FlowRun):
    before = lesson.deployment.model_copy(update={"parameters": {}})
    for question, answers in ((1, ("Completed", above)), (2, (above, above))):
        box = said("10", question, *answers, before)
        assert box.status == "wrong" and "has changed: its parameters" in box.text


@pytest.fixture(scope="module")
def second(lesson: Lesson) -> FlowRun:
    return lesson.run("second")


@pytest.fixture(scope="module")
def without(lesson: Lesson, second: FlowRun) -> FlowRun:
    month = {"Bucket": "taxi-months-test", "Key": "data/february.parquet"}
    s3 = AwsCredentials.load(lesson.named("creds")).get_s3_client()
    s3.delete_object(**month)
    failed = lesson.run("second")
    s3.put_object(**month, Body=b"trips")
    return failed


def test_a_run_on_another_bucket_and_one_without_a_month_are_right(
    lesson: Lesson, second: FlowRun, without: FlowRun
):
    box = said("10", 2, second, without, lesson.deployment)
    assert box.status == "right" and "a name led there" in box.text
    assert said("10", 2, second, ..., lesson.deployment).status == "not attempted"
    box = said("10", 2, second, second, lesson.deployment)
    assert box.status == "wrong" and "found both months" in box.text
    box = said("10", 2, without, second, lesson.deployment)
    assert box.status == "wrong" and "first of the two runs is Failed" in box.text


OTHER_BUCKETS = {
    "the lesson's block": ("used the block of the lesson", "lesson"),
    "a new block, the old bucket": ("points at the bucket of the lesson", "same"),
}


@pytest.mark.parametrize("case", OTHER_BUCKETS)
def test_the_lessons_bucket_is_not_another_one(case: str, lesson: Lesson, without: FlowRun):
    sentence, block = OTHER_BUCKETS[case]
    box = said("10", 2, lesson.run(block), without, lesson.deployment)
    assert box.status == "wrong" and sentence in box.text


FAILURES = {
    "for another reason": ("failed for another reason", "second", {"how": "at once"}),
    "in another bucket": ("used another bucket than the first", "half", {}),
}


@pytest.mark.parametrize("case", FAILURES)
def test_the_second_run_fails_because_a_month_is_missing(
    case: str, lesson: Lesson, second: FlowRun, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server, "_PATIENCE", 0.5)
    sentence, block, given = FAILURES[case]
    box = said("10", 2, second, lesson.run(block, **given), lesson.deployment)
    assert box.status == "wrong" and sentence in box.text


def test_a_block_that_now_points_elsewhere_is_seen(
    lesson: Lesson, within: FlowRun, without: FlowRun
):
    block = S3Bucket.load(lesson.named("lesson"))
    block.bucket_name = "taxi-months-test"
    block.save(lesson.named("lesson"), overwrite=True)
    try:
        box = said("10", 2, within, without, lesson.deployment)
    finally:
        block.bucket_name = "taxi-months"
        block.save(lesson.named("lesson"), overwrite=True)
    assert box.status == "wrong" and "for everybody who uses its name" in box.text


POST = """
import httpx
from prefect.blocks.system import Secret


def post(text: str, board_block: str) -> None:
    answer = httpx.post(Secret.load(board_block).get(), json={"text": text})
"""
ERROR = 'raise RuntimeError(f"The board answered {answer.status_code}.")'
POSTS = {
    "right": ("search the log", f"if answer.is_error:\n        {ERROR}"),
    "from None": (
        "search the log",
        "try:\n        answer.raise_for_status()\n"
        f"    except httpx.HTTPStatusError:\n        {ERROR} from None",
    ),
    "chained": (
        "shows its key",
        "try:\n        answer.raise_for_status()\n"
        f"    except httpx.HTTPStatusError:\n        {ERROR}",
    ),
    "only this key": (
        "shows its key",
        "if answer.is_error:\n        raise RuntimeError(str(answer.url).replace('LEAKED', '…'))",
    ),
    "prints it": ("shows its key", f"print(answer.url)\n    if answer.is_error:\n        {ERROR}"),
    "as it was": ("does not fail", "print(answer.status_code)"),
    "only 404": ("status 500, and", f"if answer.status_code == 404:\n        {ERROR}"),
    "always": ("with 200 gets an error", "raise RuntimeError('no')"),
    "a mistake": ("with 200 gets an error", "if answer.failed:\n        pass"),
}


@pytest.fixture(scope="module")
def failed_well(lesson: Lesson) -> FlowRun:
    return lesson.run(how="fails well")


@pytest.mark.parametrize("case", POSTS)
def test_the_function_that_posts_is_tried_on_other_boards(
    case: str, failed_well: FlowRun, tmp_path: Path
):
    sentence, body = POSTS[case]
    (tmp_path / "flow.py").write_text(f"{POST}    {body}\n")
    box = said("10", 3, failed_well, tmp_path / "flow.py")
    assert (box.status == "right") == (case in ("right", "from None")) and sentence in box.text


def test_a_function_that_posts_nothing_is_seen(failed_well: FlowRun, tmp_path: Path):
    (tmp_path / "flow.py").write_text("def post(text, block):\n    pass\n")
    assert "not post to the board" in said("10", 3, failed_well, tmp_path / "flow.py").text
    assert "flow's file is asked for" in said("10", 3, failed_well, tmp_path / "none.py").text
    assert said("10", 3, ..., tmp_path / "flow.py").status == "not attempted"


LEAKS = {
    "in its error": "in the text of an error",
    "in a chain": "while the first was handled",
    "at once": "before it came to the board",
    "": "nobody learns of it",
}


@pytest.mark.parametrize("how", LEAKS)
def test_a_run_that_shows_its_key_is_told_where(how: str, lesson: Lesson, tmp_path: Path):
    (tmp_path / "flow.py").write_text(f"{POST}    if answer.is_error:\n        {ERROR}\n")
    box = said("10", 3, lesson.run(how=how), tmp_path / "flow.py")
    assert box.status == "wrong" and LEAKS[how] in box.text


def test_a_log_that_is_not_complete_says_nothing(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server, "_PATIENCE", 0.5)
    monkeypatch.setattr(Lesson, "log", lambda *_: None)
    (tmp_path / "flow.py").write_text(POST)
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):
        run = lesson.run(how="in its error")
    assert "is not complete" in said("10", 3, run, tmp_path / "flow.py").text
