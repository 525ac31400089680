"""The checks of lesson 8: each answer gets the sentence that fits it."""

import time
from hashlib import sha256

import pandas as pd
import pytest
from prefect import State, flow, task, unmapped
from prefect.cache_policies import DEFAULT, INPUTS, NO_CACHE, TASK_SOURCE, CachePolicy
from prefect.task_runners import ThreadPoolTaskRunner

from support.exercises import cell, said
from taxi_lib.checks import server


@task(task_run_name="{how} {zone}")
def visit(how: str, zone: int) -> None:
    time.sleep(0.3)


@flow
def side_by_side() -> None:
    for zone in range(4):
        visit("called", zone)
    visit.map(unmapped("mapped"), range(4)).wait()
    first = visit.submit("in order", 0)
    visit.submit("in order", 1, wait_for=[first]).wait()


@pytest.fixture(scope="module")
def runs(prefect_server: str) -> dict[int, State]:
    """Return a run of the lesson's flow for some numbers of threads."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_server}):
        return {threads: run_with(threads) for threads in (2, 1, 4)}


def run_with(threads: int) -> State:
    runner = ThreadPoolTaskRunner(max_workers=threads)
    return side_by_side.with_options(task_runner=runner)(return_state=True)


ONE, FOUR = [1.2, 1.2, 0.6], [1.2, 0.3, 0.6]
TIMES = {
    "right": ("that need not wait", ONE, FOUR, 1, 4),
    "all quicker with four": ("Who runs a task that is called?", ONE, [0.3, 0.3, 0.6], 1, 4),
    "no order": ("What is the second visit waiting for?", ONE, [1.2, 0.3, 0.3], 1, 4),
    "as with two": ("How many visits can be under way", [1.2, 0.6, 0.6], FOUR, 1, 4),
    "slower in order with one": ("What is the second visit", [1.2, 1.2, 1.2], FOUR, 1, 4),
    "read from the clock": ("Count only the visits", ONE, [1.37, 0.4, 0.7], 1, 4),
    "two numbers": ("Three numbers are asked for", [1.2, 0.6], FOUR, 1, 4),
    "the lesson's run": ("should have one thread has 2", ONE, FOUR, 2, 4),
    "the lesson's run again": ("never has more than 2", ONE, FOUR, 1, 2),
    "exchanged": ("should have one thread", ONE, FOUR, 4, 1),
    "untouched": ("check.hint(1)", [..., ..., ...], FOUR, 1, 4),
}


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("case", TIMES)
def test_predicted_times_are_compared_with_two_runs(case: str, runs: dict[int, State]):
    sentence, one, four, *threads = TIMES[case]
    box = said("08", 1, one, four, *(runs[number] for number in threads))
    assert sentence in box.text and (box.status == "right") == (case == "right")


@pytest.mark.usefixtures("prefect_api")
def test_a_run_of_another_flow_has_no_parts(
    runs: dict[int, State], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server, "_PATIENCE", 0.5)  # seconds to wait for what never comes
    called = flow(lambda: [visit.fn("called", 0)])(return_state=True)
    assert "a flow run is asked for" in said("08", 1, ONE, FOUR, 1, runs[4]).text
    assert "it makes ten visits" in said("08", 1, ONE, FOUR, called, runs[4]).text


POLICIES = {
    "right": ("nothing fails", (INPUTS - "verbose") + TASK_SOURCE),
    "right, the other way": ("nothing fails", INPUTS + TASK_SOURCE - "verbose"),
    "right, its own": (
        "nothing fails",
        CachePolicy.from_cache_key_fn(lambda run, given: f"{run.task.name} {given['miles']}"),
    ),
    "as it was": ("does not know which task", INPUTS - "verbose"),
    "all arguments": ("only `verbose` has changed", INPUTS + TASK_SOURCE),
    "no arguments": ("does not know the miles", TASK_SOURCE),
    "the wrong argument": ("does not know the miles", INPUTS - "miles" + TASK_SOURCE),
    "for one run": ("in the next flow run it is not", DEFAULT - "verbose"),
    "nothing": ("makes no key", NO_CACHE),
    "a name": ("a policy such as", "INPUTS"),
    "untouched": ("check.hint(2)", ...),
}


@pytest.mark.parametrize("case", POLICIES)
def test_a_policy_is_judged_by_what_is_kept(case: str):
    sentence, policy = POLICIES[case]
    box = said("08", 2, policy)
    assert sentence in box.text and (box.status == "right") == case.startswith("right")


HASH = "sha256(path.read_bytes()).hexdigest()"
KEYS = {
    "right": ("all that the report shows", f"return f'{{path.name}} {{{HASH}}}'"),
    "right, the stem": ("all that the report shows", f"return path.stem + {HASH}"),
    "as it was": ("A correction goes unnoticed", "return f'report-{path.name}'"),
    "its length": (
        "A correction goes unnoticed",
        "return f'{path.name} {len(pd.read_parquet(path))}'",
    ),
    "its first bytes": (
        "A correction goes unnoticed",
        "return f'{path.name} {path.read_bytes()[:10_000].hex()[:99]}'",
    ),
    "a sum of one column": (
        "A correction goes unnoticed",
        "return f'{path.name} {pd.read_parquet(path).trip_distance.sum()}'",
    ),
    "Python's hash": ("in each process", "return f'{path.name} {hash(path.read_bytes())}'"),
    "its time": ("A correction goes unnoticed", "return f'{path.name} {path.stat().st_mtime}'"),
    "content and time": (
        "only the time of the file has changed",
        f"return f'{{path.name}} {{path.stat().st_mtime}} {{{HASH}}}'",
    ),
    "content alone": ("gets the report of the first one", f"return {HASH}"),
    "another each time": ("nothing has changed at all", "return f'{time.perf_counter()}'"),
    "bytes": ("a text is needed", "return path.read_bytes()"),
    "nothing": ("a text is needed", "path.read_bytes()"),
    "a path with its folder": ("becomes the name of a file", f"return f'{{path}}-{{{HASH}}}'"),
    "raises": ("KeyError: 'file'", "return arguments['file'].name"),
    "untouched": ("check.hint(3)", "..."),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_key_is_judged_by_the_reports_that_are_made_again(case: str):
    sentence, body = KEYS[case]
    start = "" if body == "..." else "path = arguments['path']\n    "
    source = f"def key(context, arguments):\n    {start}{body}\n"
    box = said("08", 3, cell(source, sha256=sha256, pd=pd, time=time))
    assert sentence in box.text and (box.status == "right") == case.startswith("right")
    assert (box.status == "raised") == (case == "raises")
