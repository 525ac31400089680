"""The checks of lesson 5: each answer gets the sentence that fits it."""

import math

import httpx
import pytest
from prefect import Flow, State, flow, task
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed

from support.exercises import cell, said
from taxi_lib.checks import server
from taxi_lib.checks.web import service

pytestmark = pytest.mark.usefixtures("prefect_api")


@task
def fetch_cat_fact(url: str) -> str:
    return httpx.get(url, timeout=5).raise_for_status().text


@flow
def once_more(url: str, retries: int = 1, careless: bool = False) -> None:
    fetch_cat_fact.with_options(retries=retries)(url, return_state=careless)


@flow
def nothing() -> None: ...


@pytest.fixture(scope="module")
def two_tries(prefect_server: str) -> State:
    with temporary_settings({PREFECT_API_URL: prefect_server}), service(failures=2) as flaky:
        return once_more(flaky.address, return_state=True)


PREDICTIONS = {
    "right": ("right", "tries after the first", 2, "Failed"),
    "retries are tries": ("wrong", "A retry is a *new* try", 1, "failed"),
    "the lesson's number": ("wrong", "another number of tries", 3, "failed"),
    "the lesson's state": ("wrong", "in another state", 2, "Completed"),
    "another state": ("wrong", '"completed" or "failed" is asked for', 2, "Crashed"),
    "untouched": ("not attempted", "check.hint(1)", 2, ...),
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_a_prediction_is_compared_with_the_run(case: str, two_tries: State):
    status, sentence, asked, ends_in = PREDICTIONS[case]
    box = said("05", 1, asked, ends_in, two_tries)
    assert box.status == status and sentence in box.text


def other_run(case: str) -> State:
    """Return a run that is not the one of the exercise, but would fit the right prediction."""
    if case == "another flow":
        return nothing(return_state=True)
    failures = 0 if case == "it answers" else math.inf
    with service(failures) as down:
        if case == "the lesson's run":
            return once_more(down.address, retries=4, return_state=True)
        if case == "it does not look":
            return once_more(down.address, careless=True, return_state=True)
        if case == "it answers":
            return once_more(down.address, return_state=True)
    return once_more(down.address, return_state=True)  # nobody listens any more


OTHER_RUNS = {
    "another flow": "has not called `fetch_cat_fact`",
    "the lesson's run": "had 4 retries",
    "it does not look": "its flow did not look",
    "it answers": "did not fail as the exercise says",
    "nobody listens": "did not fail as the exercise says",
}


@pytest.mark.parametrize("case", OTHER_RUNS)
def test_only_a_run_of_the_exercise_counts(case: str, monkeypatch: pytest.MonkeyPatch):
    if case == "another flow":
        monkeypatch.setattr(server, "_PATIENCE", 0.5)  # seconds to wait for what never comes
    box = said("05", 1, 2, "Failed", other_run(case))
    assert box.status == "wrong" and OTHER_RUNS[case] in box.text


def made(source: str) -> Flow:
    """Return a flow with the body that a learner has written."""
    return cell(source, flow=flow, fetch=fetch_cat_fact, Failed=Failed, httpx=httpx)


LETTER = """
    @flow
    def letter(cats, dogs):
        states = [fetch(url, return_state=True) for url in (cats, dogs)]
"""
LETTERS = {
    "right": (
        "right",
        "You decided what counts",
        "if all(s.is_failed() for s in states): return Failed(message='no facts')",
    ),
    "never fails": ("wrong", "both services down the flow is `Completed`", "return 'sent'"),
    "the states": ("wrong", "cats down and dogs up the flow fails: `1/2", "return states"),
    "both are needed": (
        "wrong",
        "One fact is enough",
        "if any(s.is_failed() for s in states): return Failed(message='no facts')",
    ),
    "without a message": (
        "wrong",
        "not with a message of yours",
        "if all(s.is_failed() for s in states): return Failed()",
    ),
    "a bare exception": (
        "wrong",
        "not with a message of yours",
        "if all(s.is_failed() for s in states): raise Exception",
    ),
    "an exception with words": (
        "right",
        "You decided what counts",
        "if all(s.is_failed() for s in states): raise RuntimeError('no facts')",
    ),
    "a misspelled name": ("raised", "NameError", "if all(s.is_failed() for s in state): return 1"),
}


@pytest.mark.parametrize("case", LETTERS)
def test_a_letter_needs_one_fact(case: str):
    status, sentence, end = LETTERS[case]
    box = said("05", 2, made(f"{LETTER}        {end}\n"))
    assert box.status == status and sentence in box.text


OTHER_LETTERS = {
    "an exception passes": ("One fact is enough", "return fetch(cats), fetch(dogs)"),
    "asks for nothing": ("has not asked both", "return 'sent'"),
    "without the task": (
        "without the lesson's task",
        "codes = [httpx.get(url).status_code for url in (cats, dogs)]\n"
        "    if 200 not in codes: return Failed(message='no facts')",
    ),
    "not a flow": ("a function below `@flow` is asked", "return fetch(cats)"),
}


@pytest.mark.parametrize("case", OTHER_LETTERS)
def test_a_letter_that_does_not_look_is_not_right(case: str):
    sentence, body = OTHER_LETTERS[case]
    decorator = "" if case == "not a flow" else "@flow\n"
    box = said("05", 2, made(f"{decorator}def letter(cats, dogs):\n    {body}\n"))
    assert box.status == "wrong" and sentence in box.text


RETRYING = "fetch.with_options(retries=4)"
DIGESTS = {
    "right": ("right", "Catch what you can", f"return {RETRYING}(url)"),
    "its state": ("wrong", "state of its task", f"return {RETRYING}(url, return_state=True)"),
    "never fails": (
        "wrong",
        "the flow is still `Completed`, and its result is `'No news",
        f"try: return {RETRYING}(url)\n    except Exception: return 'No news'",
    ),
    "fails only when it is down": (
        "wrong",
        "cannot be reached the flow is still `Completed`",
        f"try: return {RETRYING}(url)\n    except httpx.ConnectError: return 'No news'",
    ),
    "always fails": ("wrong", "has answered, and the flow fails", f"{RETRYING}(url); 1 / 0"),
    "without retries": ("wrong", "the flow gave up", "return httpx.get(url).raise_for_status()"),
    "returns nothing": ("wrong", "but the flow returns `None`", f"{RETRYING}(url)"),
    "a misspelled name": ("raised", "Line 3 of your cell", "return fetch(address)"),
    "untouched": ("not attempted", "check.hint(3)", "..."),
}


@pytest.mark.parametrize("case", DIGESTS)
def test_a_digest_fails_while_its_service_is_down(case: str):
    status, sentence, body = DIGESTS[case]
    box = said("05", 3, made(f"@flow\ndef digest(url):\n    {body}\n"))
    assert box.status == status and sentence in box.text


def test_the_lessons_own_flow_is_no_answer():
    box = said("05", 3, once_more)
    assert box.status == "wrong" and "another flow" in box.text
