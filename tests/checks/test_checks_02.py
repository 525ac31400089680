"""The checks of lesson 2: each answer gets the sentence that fits it."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from support.exercises import asked, said
from taxi_lib import features, models
from taxi_lib.checks import lesson_02
from taxi_lib.trips.month_file import MonthFile
from taxi_lib.trips.synthetic import make_month

TRIALS = {
    "few": [7.0, 6.5, 6.2],
    "many": [7.0, 6.5, 6.2, 6.3, 6.1, 6.4],
    "again": [7.0, 6.5, 6.2],
    "elsewhere": [8.0, 7.5, 7.2, 7.1],
    "interrupted": [7.0, 6.5],
    "empty": [],
}
TRAINING = {"few": 4.5, "many": 4.0}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MLflow find the runs of some sessions."""

    def search_runs(filter_string: str, **_: object) -> pd.DataFrame:
        session = filter_string.split("'")[1]
        return runs_of(session) if session in TRIALS else pd.DataFrame()

    monkeypatch.setattr(mlflow, "search_runs", search_runs)


def runs_of(session: str) -> pd.DataFrame:
    """Return a session's runs as ``search_runs`` does."""
    trials = [
        {"tags.mlflow.runName": f"trial {n}", "metrics.rmse": rmse, "tags.mlflow.parentRunId": "1"}
        for n, rmse in enumerate(TRIALS[session])
    ]
    best = {"tags.mlflow.runName": "best of the search", "metrics.rmse": 6.0}
    best["metrics.training_rmse"] = TRAINING.get(session, 5.0)
    runs = pd.DataFrame([{"tags.mlflow.runName": "search", "run_id": "1"}, *trials, best])
    runs["status"] = "KILLED" if session == "interrupted" else "FINISHED"
    runs["tags.train_month"] = "2023-01" if session == "elsewhere" else "2021-01"
    return runs.reindex(columns=[*runs, *({"tags.mlflow.parentRunId"} - {*runs})])


GAINS = {
    "right": ("right", "3 more trials brought 6.0 seconds", "few", "many", 6.0),
    "in minutes": ("wrong", "in minutes", "few", "many", 0.1),
    "negative": ("wrong", "the gain is positive", "few", "many", -6.0),
    "over its first trial": ("wrong", "its own first trial", "few", "many", 54.0),
    "the short one over its first": ("wrong", "its own first trial", "few", "many", 48.0),
    "the mean trial": ("wrong", "the mean of all trials", "few", "many", 9.0),
    "while training": ("wrong", "the training error", "few", "many", 30.0),
    "something else": ("wrong", "something else than 17", "few", "many", 17.0),
    "the same session": ("wrong", "the same session", "few", "few", 0.0),
    "the same number": ("wrong", "Both searches have 3 trials", "few", "again", 0.0),
    "in the other order": ("wrong", "comes first", "many", "few", 6.0),
    "other months": ("wrong", "two things have changed", "few", "elsewhere", 6.0),
    "interrupted": ("wrong", "did not finish", "few", "interrupted", 6.0),
    "no trials": ("wrong", "no trials inside", "few", "empty", 6.0),
    "not in the store": ("wrong", "has no search", "few", "0a1b2c3d", 6.0),
    "no session": ("wrong", "is no session", "few", "x' OR 'a' = 'a", 6.0),
    "a number": ("wrong", "a text in quotes", 8, "many", 6.0),
    "a text": ("wrong", "a number is asked for", "few", "many", "6 s"),
}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("case", GAINS)
def test_what_more_trials_gain(case: str):
    status, sentence, *answers = GAINS[case]
    box = said("02", 1, *answers)
    assert box.status == status and sentence in box.text


def test_the_dots_of_the_first_exercise_are_not_an_answer():
    assert said("02", 1, "few", ..., ...).status == "not attempted"


def month(seed: int) -> pd.DataFrame:
    """Return trips whose zones matter, but hardly by their numbers, and some broken meters."""
    rng = np.random.default_rng(seed)
    trips = pd.DataFrame(rng.integers(1, 13, (3000, 2)), columns=features.ZONE_COLUMNS[:2])
    trips = features.add_pair(trips).astype(dict.fromkeys(features.ZONE_COLUMNS[:2], float))
    trips["trip_distance"] = rng.gamma(2, 2, len(trips))
    begin, end = trips["PULocationID"], trips["DOLocationID"]
    slow = begin * 7 % 13 + begin * end % 5
    trips["duration"] = 2 * trips["trip_distance"] + slow + rng.normal(0, 1, len(trips))
    trips.loc[::500, "trip_distance"] = 50_000.0
    return trips


TRAIN, VAL = month(1), month(2)
ZONES, PAIRS = features.ZONE_COLUMNS, features.PAIR_COLUMNS


def numbers(train: pd.DataFrame, val: pd.DataFrame) -> float:
    model = models.with_zones(LinearRegression())
    return models.rmse(model.fit(train[ZONES], train["duration"]), val)


def pairs(train: pd.DataFrame, val: pd.DataFrame) -> float:
    model = models.with_pairs(LinearRegression())
    return models.rmse(model.fit(train[PAIRS], train["duration"]), val)


def each_zone(train: pd.DataFrame, val: pd.DataFrame) -> float:
    names = OneHotEncoder(handle_unknown="ignore")
    parts = make_column_transformer((names, ZONES[:2]), ("passthrough", ZONES[2:]))
    model = make_pipeline(parts, LinearRegression())
    return models.rmse(model.fit(train, train["duration"]), val)


def only(*columns: str) -> Callable[[pd.DataFrame, pd.DataFrame], float]:
    def error(train: pd.DataFrame, val: pd.DataFrame) -> float:
        model = LinearRegression().fit(train[[*columns]], train["duration"])
        misses = val["duration"] - model.predict(val[[*columns]])
        return float(np.sqrt((misses**2).mean()))

    return error


def undefined(train: pd.DataFrame, val: pd.DataFrame) -> tuple:
    return numbers(train, val), not_there  # noqa: F821


ERRORS: dict[str, tuple[str, str, object]] = {
    "right": ("right", "for a size", lambda t, v: (numbers(t, v), pairs(t, v))),
    "rounded": ("right", "for a size", lambda t, v: [round(f(t, v), 2) for f in (numbers, pairs)]),
    "turned round": ("wrong", "changed places", lambda t, v: (pairs(t, v), numbers(t, v))),
    "training": ("wrong", "has learned from", lambda t, v: (numbers(t, t), pairs(t, t))),
    "squared": ("wrong", "squared", lambda t, v: (numbers(t, v) ** 2, pairs(t, v) ** 2)),
    "one squared": ("wrong", "squared", lambda t, v: (numbers(t, v), pairs(t, v) ** 2)),
    "no zones": ("wrong", "alone", lambda t, v: (only("trip_distance")(t, v), pairs(t, v))),
    "no distance": (
        "wrong",
        "distance is gone",
        lambda t, v: (only(*ZONES[:2])(t, v), pairs(t, v)),
    ),
    "names": ("wrong", "for each *zone*", lambda t, v: (each_zone(t, v), pairs(t, v))),
    "zones, not pairs": ("wrong", "for each *zone*", lambda t, v: (numbers(t, v), each_zone(t, v))),
    "the lesson's": ("wrong", "", lambda *_: (numbers(TRAIN, VAL), pairs(TRAIN, VAL))),
    "made up": ("wrong", "with the numbers", lambda *_: (500.0, 600.0)),
    "constant": ("wrong", "with the pairs", lambda t, v: (numbers(t, v), 100.0)),
    "one error": ("wrong", "two errors", pairs),
    "a pair of errors": ("wrong", "a function is asked for", (8.05, 6.77)),
    "undefined": ("wrong", "not_there", undefined),
}


@pytest.mark.parametrize("case", ERRORS)
def test_zones_as_numbers_and_as_names_in_a_linear_model(case: str):
    status, sentence, answer = ERRORS[case]
    box = said("02", 2, answer, TRAIN, VAL)
    assert box.status == status and sentence in box.text


def described(trips: pd.DataFrame) -> pd.DataFrame:
    begin, end = trips["lpep_pickup_datetime"], trips["lpep_dropoff_datetime"]
    return trips[[*ZONES, "passenger_count", "fare_amount", "total_amount"]].assign(
        hour=begin.dt.hour,
        dropoff_hour=end.dt.hour,
        mph=trips["trip_distance"] / (end - begin).dt.total_seconds() * 3600,
    )


HONEST = [*ZONES, "passenger_count", "hour"]
PAID, LATE = ["fare_amount", "total_amount"], ["dropoff_hour", "mph"]


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> MonthFile:
    path = tmp_path_factory.mktemp("month") / "green_tripdata_2021-01.parquet"
    make_month("2021-01").head(9000).to_parquet(path)
    return MonthFile("2021-01", path, "synthetic")


COLUMNS: dict[str, tuple[str, str, object]] = {
    "right": ("right", "nobody can have it", HONEST),
    "in another order": ("right", "nobody can have it", tuple(reversed(HONEST))),
    "all": ("wrong", "No column is left out", [*HONEST, *PAID, *LATE]),
    "the leaking ones": ("wrong", "List the others", [*PAID, *LATE]),
    "some of the leaking ones": ("wrong", "List the others", PAID),
    "without the fares": ("wrong", "when the trip ends: 2", [*HONEST, *LATE]),
    "with the speed": ("wrong", "when the trip ends: 1", [*HONEST, "mph"]),
    "without the times": ("wrong", "pays at the end: 2", [*HONEST, *PAID]),
    "without the total": ("wrong", "pays at the end: 1", [*HONEST, "fare_amount"]),
    "too careful": ("wrong", "2 more could have stayed", ZONES),
    "nothing": ("wrong", "5 more could have stayed", []),
    "not a column": ("wrong", "no column 'duration'", [*HONEST, "duration"]),
    "one text": ("wrong", "a list of texts", "fare_amount"),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_columns_that_are_known_when_the_passenger_gets_in(case: str, file: MonthFile):
    status, sentence, answer = COLUMNS[case]
    box = said("02", 3, answer, described, file)
    assert box.status == status and sentence in box.text


TABLES: dict[str, tuple[str, Callable]] = {
    "only honest": ("no longer the colleague's", lambda trips: described(trips)[HONEST]),
    "no money": ("no longer the colleague's", lambda trips: described(trips)[[*HONEST, "mph"]]),
    "a text": ("a row for each trip", lambda trips: "table"),
    "a few rows": ("a row for each trip", lambda trips: described(trips).head(3)),
}


@pytest.mark.parametrize("case", TABLES)
def test_the_colleagues_table_is_not_to_be_changed(case: str, file: MonthFile):
    sentence, other = TABLES[case]
    box = said("02", 3, HONEST, other, file)
    assert box.status == "wrong" and sentence in box.text


def test_a_column_that_leaks_is_found_by_what_it_does_and_not_by_its_name(file: MonthFile):
    def renamed(trips: pd.DataFrame) -> pd.DataFrame:
        return described(trips).rename(columns={"hour": "mph", "mph": "hour"})

    swapped = [*ZONES, "passenger_count", "mph"]
    assert said("02", 3, swapped, renamed, file).status == "right"
    assert said("02", 3, HONEST, renamed, file).status == "wrong"


def test_the_same_mistake_is_explained_further(file: MonthFile):
    check = asked("02")
    first, second = (check.judge(3, [*HONEST, *PAID], described, file) for _ in range(2))
    assert "minutes*" not in first.text and "so it has measured the answer" in second.text


def test_the_month_that_the_check_reads_is_a_file_of_trips():
    box = said("02", 3, HONEST, described, Path("green.parquet"))
    assert box.status == "wrong" and "`train_file`" in box.text


def test_there_is_a_hint_for_each_exercise():
    assert set(lesson_02.HINTS) == {1, 2, 3}
