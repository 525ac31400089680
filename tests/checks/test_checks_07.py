"""The checks of lesson 7: each answer gets the sentence that fits it."""

import math
import time

import httpx
import pytest
from prefect import Flow, State, flow, task
from prefect.settings import PREFECT_API_URL, temporary_settings

from support.exercises import cell, said
from taxi_lib.checks import server
from taxi_lib.checks.web import service

pytestmark = pytest.mark.usefixtures("prefect_api")


@task(retries=3, retry_delay_seconds=[0.2, 0.4, 0.8])
def ask_for_fact(url: str) -> str:
    return httpx.get(url, timeout=5).raise_for_status().text


@flow
def ask(url: str, retries: int) -> None:
    ask_for_fact.with_options(retries=retries)(url)


def asked(retries: int) -> State:
    with service(failures=math.inf) as down:
        return ask(down.address, retries, return_state=True)


@pytest.fixture(scope="module")
def three_tries(prefect_server: str) -> State:
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        return asked(retries=2)


PREDICTIONS = {
    "right": ("right", "longer than all waits", [0.2, 0.4], "Failed"),
    "one for each try": ("wrong", "there were fewer", [0.2, 0.4, 0.8], "Failed"),
    "one for all": ("wrong", "there were more", [0.6], "Failed"),
    "all the same": ("wrong", "not their lengths", [0.2, 0.2], "Failed"),
    "the lesson's state": ("wrong", "in another state", [0.2, 0.4], "Completed"),
    "how many": ("wrong", "a list of numbers is asked for", 2, "Failed"),
    "untouched": ("not attempted", "check.hint(1)", [0.2, ...], "Failed"),
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_predicted_waits_are_compared_with_the_run(case: str, three_tries: State):
    status, sentence, waits, ends_in = PREDICTIONS[case]
    box = said("07", 1, waits, ends_in, three_tries)
    assert box.status == status and sentence in box.text


def test_the_lessons_own_run_is_not_the_one_of_the_exercise():
    box = said("07", 1, [0.2], "Failed", asked(retries=1))
    assert box.status == "wrong" and "had 1 retries, and not 2" in box.text


ERROR = "error = state.result(raise_on_failure=False)\n    "
HTTP = "isinstance(error, httpx.HTTPStatusError)"
STATUS = f"{HTTP} and error.response.status_code == 503"
CONDITIONS = {
    "right": (
        "A retry that cannot help",
        f"{ERROR}return {STATUS} or isinstance(error, httpx.ConnectError)",
    ),
    "the lesson's": (
        "wrong thing about an answer with status 404",
        f"{ERROR}return isinstance(error, httpx.HTTPError)",
    ),
    "no answer, no retry": ("After a refused connection", f"{ERROR}return {STATUS}"),
    "searches for 404": (
        "wrong thing about an answer with status 503",
        f"{ERROR}return isinstance(error, httpx.HTTPError) and '404' not in str(error)",
    ),
    "searches for 503": (
        "wrong thing about an answer with status 404",
        f"{ERROR}return '503' in str(error) or isinstance(error, httpx.ConnectError)",
    ),
    "raises it": ("raises the very error", "error = state.result()\n    return True"),
    "always": ("whatever has happened", "return True"),
    "never": ("never asks for another try", "return False"),
    "all but 404": (
        "after a `KeyError`",
        f"{ERROR}return not ({HTTP} and error.response.status_code == 404)",
    ),
    "a refused connection has no response": (
        "AttributeError",
        f"{ERROR}return error.response.status_code == 503",
    ),
    "any server error": (
        "after an answer with status 500",
        f"{ERROR}return isinstance(error, httpx.ConnectError) or ({HTTP}"
        " and error.response.status_code >= 500)",
    ),
    "some server errors": (
        "after an answer with status 504",
        f"{ERROR}return isinstance(error, httpx.ConnectError) or ({HTTP}"
        " and error.response.status_code in (502, 503, 504))",
    ),
    "any failure on the way": (
        "never answered",
        f"{ERROR}return {STATUS} or isinstance(error, httpx.TransportError)",
    ),
    "untouched": ("check.hint(2)", "..."),
}


@pytest.mark.parametrize("case", CONDITIONS)
def test_a_condition_is_tried_on_seven_kinds_of_failure(case: str):
    sentence, body = CONDITIONS[case]
    box = said("07", 2, cell(f"def condition(task, run, state):\n    {body}\n", httpx=httpx))
    assert (box.status == "right") == (case == "right") and sentence in box.text


@task(retries=2, timeout_seconds=0.3)
def refresh() -> None:
    time.sleep(2)


SOURCE = """
    @task(name="refresh", retries={retries}, timeout_seconds=0.3)
    def refresh():
        {work}

    @flow
    def refresh_all():
        {body}
"""
# pytest's own timeouts keep Prefect from interrupting a sleep here; between naps it can.
NAPS = "for _ in range(40): time.sleep(0.05)"
SLEEP = "time.sleep(0.7)"  # three of them are longer than one of 2 seconds
RUNS = {
    "right": ("what can stop this work", 2, NAPS, "refresh()"),
    "its future fails the flow": ("but its task ran for", 2, SLEEP, "refresh.submit().result()"),
    "as it was": ("is `Completed`, and its task ran for", 2, SLEEP, "refresh.submit().wait()"),
    "in time only": ("stop in time now", 0, NAPS, "refresh(return_state=True)"),
    "fewer tries": ("not stopped three times", 0, NAPS, "refresh()"),
    "another flow": ("has not called `refresh`", 0, NAPS, "1 / 0"),
}


def made(retries: int, work: str, body: str) -> Flow:
    source = SOURCE.format(retries=retries, work=work, body=body)
    return cell(source, flow=flow, task=task, time=time)


@pytest.mark.parametrize("case", RUNS)
def test_a_run_shows_whether_its_tries_were_stopped_in_time(
    case: str, monkeypatch: pytest.MonkeyPatch
):
    if case == "another flow":
        monkeypatch.setattr(server, "_PATIENCE", 0.5)  # seconds to wait for what never comes
    sentence, *how = RUNS[case]
    box = said("07", 3, refresh, made(*how)(return_state=True))
    assert (box.status == "right") == (case == "right") and sentence in box.text


CHANGED = {
    "less work": "time.sleep(0.5)",
    "more retries": "time.sleep(2)",
    "not a task": "time.sleep(2)",
    "async": "time.sleep(2)",
}


@pytest.mark.parametrize("case", CHANGED)
def test_the_task_is_not_what_has_to_be_mended(case: str):
    begin = "async def" if case == "async" else "def"
    step = cell(f"{begin} refresh():\n    {CHANGED[case]}\n", time=time)
    if case != "not a task":
        step = task(step, retries=3 if case == "more retries" else 2, timeout_seconds=0.3)
    box = said("07", 3, step, "the state of a run")
    assert box.status == "wrong"
    sentences = {"not a task": "below `@task`", "async": "`refresh` is `async` now"}
    assert sentences.get(case, "leave it as it was") in box.text
