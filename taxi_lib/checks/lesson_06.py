"""Lesson 6: task runs of a flow that failed, two months read at once, and tasks that were none."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from prefect import Flow
from prefect.client.schemas.objects import TaskRun

from taxi_lib.checks import server
from taxi_lib.checks.answers import UnreadableError, number
from taxi_lib.checks.verdicts import Right, Wrong

HINTS = {
    1: [
        "Which line of `main` needs the second path? What was done before it?",
        "A task that never begins has no run. And `retries=3` counts the tries *after* the first.",
    ],
    2: [
        "`.submit` returns a future at once. What does `.result()` do?",
        "First two calls of `.submit`, then two of `.result()`: the order matters.",
    ],
    3: [
        "What is `read_data.fn`, and who sees that it was called?",
        "Five task runs: two of `read_data`, two of `add_features`, one of `train_best_model`.",
    ],
}
_FEW = {"n_estimators": 2, "max_depth": 3, "tree_method": "exact", "random_state": 42}


def q1(guess: object, state: object) -> Right | Wrong:
    """Judge what was guessed about a run of `main` on a file that is not there."""
    if type(guess) not in (tuple, list) or len(guess) != 2:
        raise UnreadableError("A guess of two numbers is asked for, such as `(1, 1)`.")
    task_runs, tries = map(number, guess)
    run = server.flow_run(state)
    if not run.state.is_failed() or _is_there(run.parameters.get("val_path")):
        return Wrong(
            f"In the run {run.name}, which is {run.state_name}, the second month was there. Change "
            "only the second path, to a file that does not exist."
        )
    if not _is_there(run.parameters.get("train_path")):
        return Wrong("Leave the first path as it is: only the validation month is missing.")
    done = server.task_runs(run, count=3)
    if (task_runs, tries) == (done[-1].run_count, len(done)):
        return Wrong("First how many task runs, then how many tries.")
    if task_runs != len(done):
        more = "A task that never begins leaves nothing." if task_runs > len(done) else ""
        return Wrong("The number of task runs is another: look at the run's page.", more)
    if tries != done[-1].run_count:
        return Wrong(
            "The task runs are right, but the last one was tried another number of times.",
            "Is the first try one of the retries?",
        )
    return Right(
        "Prefect records what began, and only that. Reading again cannot help here, and still it "
        "was tried until the last retry: lesson 7 says when not to retry."
    )


def _is_there(path: object) -> bool:
    return isinstance(path, str) and Path(path).exists()


def q2(main_at_once: object) -> Right | Wrong:
    """Judge a flow that reads both months at the same time."""
    result, runs, expected = _run(_of_ones_own(main_at_once))
    if isinstance(result, BaseException):
        return Wrong(f"The flow ended with `{result!r:.200}`.")
    reads = [run for run in runs if _task_of(run) == "read_data"]
    if len(reads) != 2:
        return Wrong(
            f"The flow has {len(reads)} task runs of `read_data`, and two months to read.",
            "Call the task, not its function.",
        )
    if not (reads[0].end_time and reads[1].start_time < reads[0].end_time):
        return Wrong(
            "The second month was read after the first one.",
            "`read_data.submit(path).result()` waits before the next line begins, and so does any "
            "other line that needs the first month.",
        )
    return _judge_result(result, expected) or Right(
        "Both months were read at once, since neither needs the other. The futures are asked for "
        "their results only when somebody needs them."
    )


def q3(main_repaired: object) -> Right | Wrong:
    """Judge a flow whose steps are task runs again, with their retries."""
    result, runs, expected = _run(_of_ones_own(main_repaired))
    if isinstance(result, BaseException):
        return Wrong(f"The flow ended with `{result!r:.200}`.")
    found = Counter(map(_task_of, runs))
    wanted = {"read_data": 2, "add_features": 2, "train_best_model": 1}
    if found != wanted:
        counted = ", ".join(f"{count} of {name}" for name, count in found.items()) or "none at all"
        return Wrong(
            f"The page of this run shows {counted}.",
            "Each `.fn` calls the plain function, of which Prefect knows nothing.",
        )
    if any(_task_of(run) == "read_data" and run.empirical_policy.retries != 3 for run in runs):
        return Wrong("The tasks are there, but `read_data` has not got its three retries.")
    return _judge_result(result, expected) or Right(
        "`.fn` is for tests. In a flow it does the work without a record, a retry or a cache, and "
        "nobody notices until something fails."
    )


def _run(own: Flow) -> tuple[object, list[TaskRun], float]:
    """Run a flow on two made-up months; what it returned, its task runs, and the RMSE expected."""
    with _months() as (train, val):
        ended = server.run_flow(own, train, val, _FEW)
        expected = _rmse(train, val)
    return ended.result, server.task_runs(ended.run, count=5), expected


def _of_ones_own(answer: object) -> Flow:
    """Return a flow of the learner's own; the lesson's would pass without any work."""
    found = server.flow(answer)
    if found.fn.__name__ in ("main", "main_with_report"):
        raise UnreadableError(f"`{found.fn.__name__}` is the lesson's own flow: give yours.")
    return found


def _task_of(run: TaskRun) -> str:
    return run.name.rsplit("-", 1)[0]  # read_data-f2b is read_data


def _judge_result(result: object, expected: float) -> Wrong | None:
    if not np.isclose(number(result), expected, rtol=1e-6):
        return Wrong(
            "The flow returns another number than the RMSE of the second month.",
            "Does it use its own arguments, the first to learn and the second to be scored?",
        )
    return None


@contextmanager
def _months() -> Iterator[tuple[Path, Path]]:
    """Yield two made-up months that take a moment to read, although few of their trips count."""
    rng = np.random.default_rng()
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "train.parquet", Path(folder) / "val.parquet"
        for path in paths:
            _month(rng).to_parquet(path)
        yield paths


def _month(rng: np.random.Generator, rows: int = 400_000, kept: int = 300) -> pd.DataFrame:
    begin = pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.integers(0, 2_000_000, rows), "s")
    minutes = np.zeros(rows)
    minutes[:kept] = rng.uniform(2, 50, kept)
    return pd.DataFrame(
        {
            "lpep_pickup_datetime": begin,
            "lpep_dropoff_datetime": begin + pd.to_timedelta(minutes, "min"),
            "PULocationID": rng.integers(1, 6, rows),
            "DOLocationID": rng.integers(1, 6, rows),
            "trip_distance": minutes / 4 + rng.uniform(0, 1, rows),
        }
    )


def _rmse(train_path: Path, val_path: Path) -> float:
    """Return what the flow should: the RMSE of the same model, trained without the flow."""
    from sklearn.feature_extraction import DictVectorizer
    from xgboost import XGBRegressor

    (train, minutes), (val, actual) = map(_records, (train_path, val_path))
    vectorizer = DictVectorizer()
    model = XGBRegressor(**_FEW).fit(vectorizer.fit_transform(train), minutes)
    off = model.predict(vectorizer.transform(val)) - actual
    return float(np.sqrt(np.mean(off**2)))


def _records(path: Path) -> tuple[list[dict], np.ndarray]:
    trips = pd.read_parquet(path)
    took = trips["lpep_dropoff_datetime"] - trips["lpep_pickup_datetime"]
    trips["minutes"] = took.dt.total_seconds() / 60
    trips = trips[trips["minutes"].between(1, 60)]
    pairs = trips["PULocationID"].astype(str) + "_" + trips["DOLocationID"].astype(str)
    columns = {"PU_DO": pairs, "trip_distance": trips["trip_distance"]}
    return pd.DataFrame(columns).to_dict("records"), trips["minutes"].to_numpy()
