"""The checks of lesson 6: each answer gets the sentence that fits it."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from prefect import flow, task
from prefect.client.schemas.objects import State
from sklearn.feature_extraction import DictVectorizer
from sklearn.metrics import root_mean_squared_error
from sklearn.pipeline import make_pipeline
from xgboost import XGBRegressor

from support.exercises import said
from taxi_lib.checks import lesson_06

pytestmark = pytest.mark.usefixtures("prefect_api")


@task(retries=3, retry_delay_seconds=0)
def read_data(path: Path) -> pd.DataFrame:
    trips = pd.read_parquet(path)
    ride = trips["lpep_dropoff_datetime"] - trips["lpep_pickup_datetime"]
    return trips.assign(duration=ride.dt.total_seconds() / 60).query("1 <= duration <= 60")


@task
def add_features(trips: pd.DataFrame) -> pd.DataFrame:
    pair = trips["PULocationID"].astype(str) + "_" + trips["DOLocationID"].astype(str)
    return trips.assign(PU_DO=pair)


@task
def train_best_model(train: pd.DataFrame, val: pd.DataFrame, parameters: dict) -> float:
    columns = ["PU_DO", "trip_distance"]
    model = make_pipeline(DictVectorizer(), XGBRegressor(**parameters))
    model.fit(train[columns].to_dict("records"), train["duration"])
    return root_mean_squared_error(val["duration"], model.predict(val[columns].to_dict("records")))


@flow
def main(train_path: Path, val_path: Path, parameters: dict) -> float:
    train = add_features(read_data(train_path))
    val = add_features(read_data(val_path))
    return train_best_model(train, val, parameters)


@pytest.fixture(scope="module")
def months() -> tuple[Path, Path]:
    with lesson_06._months() as paths:
        yield paths


@pytest.fixture(scope="module")
def missing(months: tuple[Path, Path], prefect_server: str) -> State:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", prefect_server)
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: prefect_server}):
            return main(months[0], Path("nowhere.parquet"), {}, return_state=True)


GUESSES = {
    "right": ("right", "what began", (3, 4)),
    "a run for every call": ("wrong", "number of task runs is another", (5, 4)),
    "only the last": ("wrong", "number of task runs is another", (1, 4)),
    "the wrong way round": ("wrong", "First how many", (4, 3)),
    "as a list": ("right", "what began", [3, 4]),
    "three tries": ("wrong", "another number of times", (3, 3)),
    "one number": ("wrong", "two numbers is asked for", 3),
    "not yet": ("not attempted", "hint", (..., ...)),
}


@pytest.mark.parametrize("case", GUESSES)
def test_a_guess_is_compared_with_what_the_server_kept(case: str, missing: State):
    status, sentence, guess = GUESSES[case]
    box = said("06", 1, guess, missing)
    assert box.status == status and sentence in box.text


def test_a_run_on_files_that_are_there_does_not_count(months: tuple[Path, Path]):
    completed = flow(lambda train_path, val_path: 1)(*months, return_state=True)
    assert "the second month was there" in said("06", 1, (3, 4), completed).text
    both = flow(lambda train_path, val_path: 1 / 0)("no", "no", return_state=True)
    assert "Leave the first path" in said("06", 1, (3, 4), both).text
    assert said("06", 1, (3, 4), "completed").status == "wrong"


def at_once(train_path: Path, val_path: Path, parameters: dict) -> float:
    futures = [read_data.submit(path) for path in (train_path, val_path)]
    train, val = (add_features(future.result()) for future in futures)
    return train_best_model(train, val, parameters)


def waiting(train_path: Path, val_path: Path, parameters: dict) -> float:
    months = [read_data.submit(path).result() for path in (train_path, val_path)]
    return train_best_model(*map(add_features, months), parameters)


def without_tasks(train_path: Path, val_path: Path, parameters: dict) -> float:
    months = [read_data.fn(path) for path in (train_path, val_path)]
    return train_best_model(*map(add_features.fn, months), parameters)


def read_as_task(train_path: Path, val_path: Path, parameters: dict) -> float:
    months = [read_data(path) for path in (train_path, val_path)]
    return train_best_model(*map(add_features.fn, months), parameters)


def repaired(train_path: Path, val_path: Path, parameters: dict) -> float:
    months = [read_data(path) for path in (train_path, val_path)]
    return train_best_model(*map(add_features, months), parameters)


def without_retries(train_path: Path, val_path: Path, parameters: dict) -> float:
    months = [read_data.with_options(retries=0)(path) for path in (train_path, val_path)]
    return train_best_model(*map(add_features, months), parameters)


def the_other_way(train_path: Path, val_path: Path, parameters: dict) -> float:
    futures = [read_data.submit(path) for path in (val_path, train_path)]
    train, val = (add_features(future.result()) for future in futures)
    return train_best_model(train, val, parameters)


def misspelled(train_path: Path, val_path: Path, parameters: dict) -> float:
    return train_best_modle(train_path, val_path, parameters)  # noqa: F821


FLOWS: dict[str, tuple[int, str, str, Callable]] = {
    "both at once": (2, "right", "read at once", at_once),
    "one after the other": (2, "wrong", "after the first one", waiting),
    "no tasks": (2, "wrong", "0 task runs of `read_data`", without_tasks),
    "months changed": (2, "wrong", "another number than the RMSE", the_other_way),
    "a wrong name": (2, "wrong", "train_best_modle", misspelled),
    "repaired": (3, "right", "`.fn` is for tests", repaired),
    "as it was": (3, "wrong", "shows 1 of train_best_model", without_tasks),
    "half repaired": (3, "wrong", "2 of read_data", read_as_task),
    "without retries": (3, "wrong", "three retries", without_retries),
}


@pytest.mark.parametrize("case", FLOWS)
def test_a_flow_is_judged_by_its_task_runs(case: str):
    question, status, sentence, answer = FLOWS[case]
    box = said("06", question, flow(answer))
    assert sentence in box.text and box.status == status


@pytest.mark.parametrize("question", [2, 3])
def test_the_lessons_own_flow_is_no_answer(question: int):
    assert "the lesson's own flow" in said("06", question, main).text
    assert said("06", question, main.fn).status == "wrong"
