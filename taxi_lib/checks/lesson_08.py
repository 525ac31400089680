"""Lesson 8: threads counted, a policy that forgets one argument, and a key that misses an edit."""

import dis
import os
import random
import secrets
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import numpy as np
import pandas as pd
from prefect import Task, task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import TaskRun
from prefect.context import TaskRunContext

from taxi_lib.checks import server
from taxi_lib.checks.answers import UnreadableError, function, numbers, shown
from taxi_lib.checks.verdicts import Right, Wrong

HINTS = {
    1: [
        "Which of the three parts hands its visits to the task runner?",
        "Draw each visit as a bar of 0.3 seconds, as the figure does: which of them may lie above "
        "each other when there is one thread, and which when there are four?",
    ],
    2: [
        'With `INPUTS - "verbose"`, what is in the key of `fare(3, True)`, and of `toll(3, True)`?',
        "Policies are added with `+`. Which policy knows which task was called?",
    ],
    3: [
        "What does the report depend on? All of that belongs into the key, and nothing else.",
        "The report shows two things: a name, and something that is counted in the file.",
    ],
}
_VISITS = {"called": 4, "mapped": 4, "in order": 2}  # of the flow `side_by_side`
_SECONDS = 0.3  # of one visit


def q1(with_one: object, with_four: object, run_one: object, run_four: object) -> Right | Wrong:
    """Judge predicted times of three parts, for a run with one thread and a run with four."""
    predicted = {1: numbers(with_one), 4: numbers(with_four)}
    if any(len(said) != len(_VISITS) for said in predicted.values()):
        raise UnreadableError("Three numbers are asked for: called, mapped, in order.")
    runs = {1: _parts(run_one), 4: _parts(run_four)}
    if wrong := _other_threads(runs[1]["mapped"], runs[4]["mapped"]):
        return wrong
    for threads, parts in runs.items():
        for said, (part, visits) in zip(predicted[threads], parts.items(), strict=True):
            in_a_row = len(visits) / (threads if part == "mapped" else 1)
            if abs(said - in_a_row * _SECONDS) > 0.02:
                return _misjudged(part, threads, said)
    return Right(
        "More threads help only work that is handed to them and that need not wait. So look at "
        "what waits for what, before you ask for a bigger machine."
    )


def _parts(run: object) -> dict[str, list[TaskRun]]:
    """Return the visits of each part of a run of ``side_by_side``."""
    runs = server.task_runs(server.flow_run(run), count=sum(_VISITS.values()))
    visits = [one for one in runs if one.task_key.startswith("visit-") and one.start_time]
    parts = {part: [v for v in visits if v.name.rpartition(" ")[0] == part] for part in _VISITS}
    if {part: len(found) for part, found in parts.items()} != _VISITS:
        raise UnreadableError("This is not a whole run of `side_by_side`: it makes ten visits.")
    return parts


def _in_threads(visits: list[TaskRun]) -> int:
    """Return how many threads were at work at the same time, at most.

    A thread takes a visit when it is free; on a busy computer the visit may begin later.
    """
    taken = [visit.expected_start_time for visit in visits]
    return max(sum(o.expected_start_time <= t < o.end_time for o in visits) for t in taken)


def _other_threads(one: list[TaskRun], four: list[TaskRun]) -> Wrong | None:
    """Say that a run had other threads than the exercise asks for, if its visits show it."""
    more = "`side_by_side.with_options(task_runner=ThreadPoolTaskRunner(max_workers=…))`"
    if (threads := _in_threads(one)) > 1:
        return Wrong(f"The run that should have one thread has {threads} at work at once.", more)
    # On a very busy computer the third may come late; the lesson's run comes before the others.
    enough = 2 if four[0].start_time > one[-1].end_time else 3
    if (threads := _in_threads(four)) < enough:
        return Wrong(
            "The run that should have four threads never has more than "
            f"{threads} at work at once. If it has got four, run it again.",
            more,
        )
    return None


def _misjudged(part: str, threads: int, said: float) -> Wrong:
    if abs(said / _SECONDS - round(said / _SECONDS)) > 0.07:
        return Wrong("Count only the visits: each takes 0.3 seconds, so a part takes 0.3, 0.6, …")
    counted = f"With {threads} thread{'s' if threads > 1 else ''}, `{part}` takes another "
    questions = {
        "called": ("Who runs a task that is called?", "Is the task runner asked at all?"),
        "mapped": (
            "How many visits can be under way at once?",
            "The other ones wait for a thread.",
        ),
        "in order": ("What is the second visit waiting for?", "For a thread, or for a visit?"),
    }
    question, more = questions[part]
    return Wrong(f"{counted}time. {question}", more)


def q2(policy: object) -> Right | Wrong:
    """Judge a policy by the keys that it makes for calls of two tasks, in two flow runs."""
    if not isinstance(policy, CachePolicy):
        raise UnreadableError(f"The answer is {shown(policy)}; a policy such as `INPUTS` is asked.")
    miles = round(random.uniform(1, 40), 3)
    today, tomorrow = uuid4(), uuid4()
    quiet, verbose = {"miles": miles, "verbose": False}, {"miles": miles, "verbose": True}
    first = _key_of(policy, _fare, quiet, today)
    if first is None:
        return Wrong("This policy makes no key, so no result is used again.")
    if first == _key_of(policy, _fare, quiet | {"miles": 2 * miles}, today):
        return Wrong("Twice the miles have the same fare: the key does not know the miles.")
    if first == _key_of(policy, _toll, quiet, today):
        return Wrong(
            "`toll` returns what `fare` has kept: the key does not know which task is called.",
            "`INPUTS` makes it from the arguments alone, and `toll` takes the same ones.",
        )
    if first != _key_of(policy, _fare, verbose, today):
        return Wrong(
            "`fare` runs again although only `verbose` has changed.",
            "An argument is taken out of the key with `-` and its name.",
        )
    if first != _key_of(policy, _fare, quiet, tomorrow):
        return Wrong(
            "In the same flow run the result is used again, and in the next flow run it is not.",
            "Which policy has the id of the flow run in its key?",
        )
    return Right(
        "A key should hold all that the result depends on, and nothing else. What is too much in "
        "it costs another run; what is missing gives a wrong result, and nothing fails."
    )


@task
def _fare(miles: float, verbose: bool) -> float:
    return 4 + miles * 2.5


@task
def _toll(miles: float, verbose: bool) -> float:
    return miles + 1


def _key_of(policy: CachePolicy, called: Task, arguments: dict, flow_run: UUID) -> str | None:
    """Return the key that a call of a task has with a policy, as Prefect asks for it."""
    context = _context(called, arguments, flow_run)
    key = policy.compute_key(task_ctx=context, inputs=arguments, flow_parameters={})
    if key is not None and (type(key) is not str or not key):
        raise UnreadableError(f"The key is {shown(key)}; a text is needed.")
    return key


def _context(called: Task, arguments: dict, flow_run: UUID) -> TaskRunContext:
    run = TaskRun(
        name=called.name, task_key=called.task_key, dynamic_key=str(uuid4()), flow_run_id=flow_run
    )
    return TaskRunContext.model_construct(task=called, task_run=run, parameters=arguments)


def q3(key: object) -> Right | Wrong:
    """Judge a key function by the keys that it makes while a file changes."""
    if _uses_hash(function(key)):
        return Wrong(
            "Python's `hash` gives another number for the same text or bytes in each process, so "
            "tomorrow the report would be made again.",
            "`hashlib.sha256(…).hexdigest()` is the same everywhere.",
        )
    answer = CachePolicy.from_cache_key_fn(function(key))
    with TemporaryDirectory() as folder:
        month = Path(folder) / f"{secrets.token_hex(4)}.parquet"
        copy = month.with_name(f"{secrets.token_hex(4)}.parquet")

        def key_of(path: Path) -> str:
            return _key_of(answer, _report, {"path": path}, uuid4()) or _no_key()

        _write(month)
        first, same = key_of(month), key_of(month)
        _correct(month)
        corrected = key_of(month)
        os.utime(month, (1_700_000_000, 1_700_000_000))
        touched = key_of(month)
        copy.write_bytes(month.read_bytes())
        copied = key_of(copy)
    return _outdated(first, same, corrected, touched, copied) or Right(
        "The key now stands for all that the report shows. A file's time and size do not: copying "
        "changes the time, and a correction may change neither."
    )


@task
def _report(path: Path) -> str:
    return f"{path.stem}: {len(pd.read_parquet(path)):,} trips"


def _no_key() -> str:
    raise UnreadableError("The function returns `None`; a text is needed.")


def _uses_hash(answer: Callable[..., object]) -> bool:
    loaded = {step.argval for step in dis.get_instructions(answer) if step.opname == "LOAD_GLOBAL"}
    return "hash" in loaded and answer.__globals__.get("hash", hash) is hash


def _write(path: Path) -> None:
    """Write a month of some 100 kB."""
    columns = ("trip_distance", "fare_amount", "tip_amount")
    _keep(pd.DataFrame(np.random.default_rng().random((4000, 3)), columns=columns), path)


def _correct(path: Path) -> None:
    """Change one value near the end of a month's file; its size and its time stay as they are."""
    trips = pd.read_parquet(path)
    trips.iloc[-1, -1] = 1 - trips.iloc[-1, -1]
    _keep(trips, path)


def _keep(trips: pd.DataFrame, path: Path) -> None:
    trips.to_parquet(path, compression=None)
    os.utime(path, (1_600_000_000, 1_600_000_000))


def _outdated(first: str, same: str, corrected: str, touched: str, copied: str) -> Wrong | None:
    if corrected == first:
        return Wrong(
            "A correction goes unnoticed: one tip near the end of a large file is another one, "
            "with as many trips and the same time, and the key is the same.",
            "Which part of your key is made from *all* bytes of the file?",
        )
    if same != first:
        return Wrong("The report is made again although nothing has changed at all.")
    if touched != corrected:
        return Wrong(
            "The report is made again although only the time of the file has changed.",
            "The content is the same, so the key should be, too.",
        )
    if copied == touched:
        return Wrong(
            "A file with another name and the same content gets the report of the first one.",
            "The report shows the name, so it depends on it.",
        )
    if Path(first).is_absolute() or ".." in Path(first).parts:
        return Wrong(
            f"Prefect cannot keep a result under the key `{first:.40}…`: a key becomes the name of "
            "a file in the folder of the results.",
            "`path.name` is the name of the file without its folder.",
        )
    return None
