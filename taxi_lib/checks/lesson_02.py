"""Lesson 2: what more trials gain, zone numbers in a linear model, and a model that knows the end.

The first answer is looked up in MLflow's store, where the learner's own runs are.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import mlflow
import numpy as np
import pandas as pd
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from taxi_lib.checks.answers import UnreadableError, function, names, number, shown, table, text
from taxi_lib.checks.verdicts import Right, Wrong
from taxi_lib.features import PAIR_COLUMNS, ZONE_COLUMNS, add_pair
from taxi_lib.trips.month_file import MonthFile

HINTS = {
    1: [
        "Both searches are in the store. Which column of the table tells their sessions apart?",
        "`found = mlflow.search_runs(filter_string=\"tags.mlflow.runName = 'search'\")` has a row "
        "for each search; look at its columns `tags.session` and `metrics.best_rmse`.",
        "`best_rmse` is in minutes; the gain is asked for in seconds.",
    ],
    2: [
        "`models.with_zones(LinearRegression())` and `models.with_pairs(LinearRegression())`: "
        "both need `fit`, and `models.rmse` scores them.",
        "The model is fitted on the first table and scored on the second, both as they are given "
        "to the function. It returns the error with the numbers first.",
    ],
    3: [
        "Imagine the moment when the passenger gets in. Which columns can you fill in by then?",
        "Go through `described` column by column: what of the file does each one need?",
    ],
}


class _Search(NamedTuple):
    """What the store keeps of one search."""

    trials: pd.Series  # validation RMSE in minutes, in the order of the trials
    months: list[str]  # and the source
    training_rmse: float  # of its winner, trained once more; NaN if it was not

    @property
    def best(self) -> float:
        return float(self.trials.min())


def q1(few: object, many: object, gain: object) -> Right | Wrong:
    """Judge by how many seconds the longer of two searches has the better winner."""
    said = number(gain)
    if text(few) == text(many):
        return Wrong("Both answers name the same session. Each run of the notebook has its own.")
    short, long = _search(text(few)), _search(text(many))
    if wrong := _not_comparable(short, long):
        return wrong
    right = 60 * (short.best - long.best)
    if _near(said, right):
        return Right(
            f"{len(long.trials) - len(short.trials)} more trials brought {right:.1f} seconds, and "
            f"the winner is still off by {60 * long.best:.0f}. A gain that is no larger than the "
            "luck in your table may be luck alone; only a month that took no part can tell."
        )
    for mistake, wrong in _mistaken_gains(short, long):
        if _near(said, mistake):
            return wrong
    return Wrong(
        f"The store says something else than {said:g} seconds (to a tenth).",
        "Subtract the `rmse` of the two winners, and remember that it is in minutes.",
    )


def _search(session: str) -> _Search:
    """Return what the store keeps of the search of a session."""
    if not re.fullmatch(r"[\w-]+", session):
        raise UnreadableError(f"{shown(session)} is no session: copy one from `tags.session`.")
    runs = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.session = '{session}'",
        order_by=["attributes.start_time ASC"],
    )
    named = runs.get("tags.mlflow.runName", pd.Series(dtype=str))
    searches = runs[named == "search"]
    if searches.empty:
        raise UnreadableError(
            f"The store has no search of the session {shown(session)}. (A run's id is something "
            "else: the session is in `tags.session`.)"
        )
    search = searches.iloc[-1]
    if search["status"] != "FINISHED":
        raise UnreadableError(f"The search of {shown(session)} did not finish: run all cells.")
    inside = runs.get("tags.mlflow.parentRunId", pd.Series(dtype=str)) == search["run_id"]
    if not inside.any():
        raise UnreadableError(f"The search of {shown(session)} has no trials inside of it.")
    winner = runs[named == "best of the search"].get("metrics.training_rmse", pd.Series([np.nan]))
    told = [str(search.get(f"tags.{tag}")) for tag in ("train_month", "val_month", "data_source")]
    return _Search(runs.loc[inside, "metrics.rmse"].dropna(), told, float([*winner, np.nan][0]))


def _not_comparable(short: _Search, long: _Search) -> Wrong | None:
    if short.months != long.months:
        return Wrong("The two searches had other months, so two things have changed.")
    if len(short.trials) == len(long.trials):
        return Wrong(
            f"Both searches have {len(short.trials)} trials: `quick` was the same both times.",
            "Set `quick = False` in the first code cell, run all cells, and look for its session.",
        )
    if len(short.trials) > len(long.trials):
        return Wrong("The session with few trials comes first, then the one with many.")
    return None


def _mistaken_gains(short: _Search, long: _Search) -> Iterator[tuple[float, Wrong]]:
    right = short.best - long.best
    yield right, Wrong("That is the gain in minutes.", "How many seconds does a minute have?")
    yield -60 * right, Wrong("The error has become smaller, so the gain is positive.")
    compared = "Compare the winner of the long search with the winner of the short one."
    for trials in (long.trials, short.trials):
        yield (
            60 * (trials.iloc[0] - trials.min()),
            Wrong(
                "That is what a search gains over its own first trial, as in the figure.", compared
            ),
        )
    yield (
        60 * (short.trials.mean() - long.trials.mean()),
        Wrong("That compares the mean of all trials. Which trial of a search is used?", compared),
    )
    yield (
        60 * (short.training_rmse - long.training_rmse),
        Wrong("That is the training error, which gets smaller by learning by heart, too."),
    )


def _near(said: float, seconds: float) -> bool:
    return abs(said - seconds) <= max(0.1, 0.01 * abs(seconds))  # NaN is near to nothing


def q2(two_errors: object, train: pd.DataFrame, val: pd.DataFrame) -> Right | Wrong:
    """Judge a function that gives a linear model zones as numbers, and then one-hot pairs.

    It is called on trips that are drawn from the learner's, but whose zones have other numbers,
    which matter: the city's say so little that an error without them would be nearly the same.
    """
    answer = function(two_errors)
    learned, asked = (_drawn(table(month)) for month in (train, val))
    city = _errors(learned, asked)
    learned, asked = _renumbered(learned, asked)
    said = answer(learned.copy(), asked.copy())
    if not isinstance(said, tuple | list) or len(said) != 2:
        raise UnreadableError(f"The function returns {shown(said)}; two errors are asked for.")
    errors = _errors(learned, asked)
    right = errors["numbers"], errors["pairs"]
    numbers_said, pairs_said = (float(number(one)) for one in said)
    if _same(numbers_said, right[0]) and _same(pairs_said, right[1]):
        return Right(
            "On trips drawn from your months, a linear model with the distance alone is off by "
            f"{city['distance']:.2f} minutes, with the zones as numbers by {city['numbers']:.2f}, "
            f"and with the pairs by {city['pairs']:.2f}. It takes a zone's number for a size, as "
            "if zone 82 were twice zone 41. Trees can cut the numbers into pieces; a linear model "
            "needs a column for each name."
        )
    return _mistaken_errors((numbers_said, pairs_said), learned, asked)


def _drawn(month: pd.DataFrame) -> pd.DataFrame:
    """Draw trips without broken meters."""
    sound = month[month["trip_distance"] <= 100]
    return sound.sample(min(2 * len(sound) // 3, 10_000), random_state=np.random.default_rng())


def _renumbered(*months: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Give the zones random numbers, and make trips longer the higher their numbers are."""
    ends, rng = ZONE_COLUMNS[:2], np.random.default_rng()
    every = np.unique(np.concatenate([month[ends].to_numpy().ravel() for month in months]))
    number_of = pd.Series(rng.permutation(len(every)) + 1, index=every)
    minutes = rng.uniform(10, 30, 2) / len(every)
    for month in months:
        zones = month[ends].apply(lambda column: column.map(number_of))
        longer = month["duration"] + (zones * minutes).sum(axis="columns")
        other = add_pair(month.assign(**zones, duration=longer))
        yield other.astype(dict.fromkeys(ends, float))


_NAMES = OneHotEncoder(handle_unknown="ignore")
_COLUMNS = {
    "numbers": [("passthrough", ZONE_COLUMNS)],
    "pairs": [(_NAMES, PAIR_COLUMNS[:1]), ("passthrough", PAIR_COLUMNS[1:])],
    "distance": [("passthrough", ["trip_distance"])],
}
_NO_DISTANCE = [("passthrough", ZONE_COLUMNS[:2])], [(_NAMES, PAIR_COLUMNS[:1])]
_EACH_ZONE = [(_NAMES, ZONE_COLUMNS[:2]), ("passthrough", ZONE_COLUMNS[2:])]


def _errors(train: pd.DataFrame, val: pd.DataFrame) -> dict[str, float]:
    """Return the errors of the linear model with numbers, with pairs, and without zones."""
    return {name: _linear_rmse(train, val, parts) for name, parts in _COLUMNS.items()}


def _linear_rmse(train: pd.DataFrame, val: pd.DataFrame, parts: list[tuple]) -> float:
    model = make_pipeline(make_column_transformer(*parts), LinearRegression())
    said = model.fit(train, train["duration"]).predict(val)
    return float(np.sqrt(np.mean((said - val["duration"].to_numpy()) ** 2)))


def _mistaken_errors(said: tuple[float, float], train: pd.DataFrame, val: pd.DataFrame) -> Wrong:
    """Return the sentence that fits two errors which are not both right."""
    errors = _errors(train, val)
    right = errors["numbers"], errors["pairs"]
    if all(map(_same, said, right[::-1])):
        return Wrong("The two errors have changed places: the one with the numbers comes first.")
    for mistakes, wrong in _mistakes(right, train, val):
        # A good error may be near to a mistake by chance, so only what is wrong is compared.
        each = zip(said, mistakes, right, strict=True)
        if any(_same(one, mistake) and not _same(one, good) for one, mistake, good in each):
            return wrong
    which = "pairs" if _same(said[0], right[0]) else "numbers"
    return Wrong(
        f"The error with the {which} is not the one of a linear model on these trips.",
        "Does the function use its two arguments and nothing else, and a new `LinearRegression` "
        "each time? The check draws its own trips.",
    )


def _mistakes(
    right: tuple[float, float], train: pd.DataFrame, val: pd.DataFrame
) -> Iterator[tuple[Iterable[float], Wrong]]:
    """Yield pairs of errors that people get, and what the check says about each of them."""
    training = _errors(train, train)
    yield (
        (training["numbers"], training["pairs"]),
        Wrong(
            "This is the error on the month that the model has learned from.",
            "Fit on the first table, score on the second.",
        ),
    )
    squares = Wrong("That is the mean *squared* error, in squared minutes.", "Take its root.")
    yield (error**2 for error in right), squares
    alone = _linear_rmse(train, val, _COLUMNS["distance"])
    yield (alone, alone), Wrong("The zones are gone: that is the error with the distance alone.")
    gone = Wrong("The distance is gone. It stays in both times: only the zones change.")
    yield (_linear_rmse(train, val, parts) for parts in _NO_DISTANCE), gone
    each = _linear_rmse(train, val, _EACH_ZONE)
    zones = "There is a column for each *zone*. Asked for are plain numbers, and then pairs."
    yield (each, each), Wrong(zones, "The lesson has both lists of columns: `zones` and `pairs`.")


def _same(said: float, error: float) -> bool:
    return bool(np.isclose(said, error, rtol=2e-3, atol=0.005))  # also when rounded


def q3(honest_columns: object, described: object, file: MonthFile) -> Right | Wrong:
    """Judge which columns of a colleague's table are known when the passenger gets in.

    Each trip is described twice, the second time as if it had ended later and cost more. What has
    changed cannot be known at the start.
    """
    said = set(names(honest_columns))
    raw = _cleaned(file)
    whole = _described(function(described), raw)
    by_time, by_money = (_changed(described, raw, end) for end in (_ended_later, _cost_more))
    leaks = by_time | by_money
    if not (by_time and by_money):
        raise UnreadableError("`described` is no longer the colleague's: take it as it was.")
    if unknown := sorted(said - set(whole)):
        raise UnreadableError(f"`described` returns no column {unknown[0]!r}: {', '.join(whole)}.")
    if wrong := _mistaken_columns(said, set(whole), by_time, by_money):
        return wrong
    rest = [column for column in whole if column not in leaks]
    all_of_them, honest = (_boosted_rmse(whole[part], raw) for part in (list(whole), rest))
    return Right(
        f"With all {whole.shape[1]} columns XGBoost is off by {all_of_them:.2f} minutes on trips "
        f"of this month that it did not learn from, with yours by {honest:.2f}. The first score "
        "is not wrong, but nobody can have it: at the start of a trip those columns are empty. "
        "A score that is too good is a reason to ask when each column is filled in."
    )


def _mistaken_columns(
    said: set[str], every: set[str], by_time: set[str], by_money: set[str]
) -> Wrong | None:
    """Return what is wrong with a choice of columns, if anything is."""
    leaks = by_time | by_money
    if said == every:
        return Wrong("No column is left out. When would the service know all of them?")
    if said and said <= leaks:
        return Wrong("These columns are filled in at the end. List the others, which are honest.")
    if kept := said & by_time:
        return Wrong(
            f"You have kept what depends on when the trip ends: {len(kept)} of your columns.",
            "A model can get the duration back out of it. Look for `end` in `described`.",
        )
    if kept := said & by_money:
        return Wrong(
            f"You have kept what the passenger pays at the end: {len(kept)} of your columns.",
            "A taxi's meter counts miles *and* minutes, so it has measured the answer.",
        )
    if gone := every - leaks - said:
        return Wrong(
            f"Nothing that you kept gives the end away, but {len(gone)} more could have stayed.",
            "Keep all that is known when the passenger gets in; the distance counts as known.",
        )
    return None


def _cleaned(file: MonthFile) -> pd.DataFrame:
    """Draw trips of 1 to 60 minutes from a month's file, with all of its columns."""
    if not isinstance(file, MonthFile):
        raise UnreadableError("The last argument is the month's file, `train_file`.")
    raw = pd.read_parquet(file.path)
    raw = raw[_minutes(raw).between(1, 60)]
    return raw.sample(min(len(raw), 9_000), random_state=1).reset_index(drop=True)


def _minutes(raw: pd.DataFrame) -> pd.Series:
    return (raw["lpep_dropoff_datetime"] - raw["lpep_pickup_datetime"]).dt.total_seconds() / 60


def _described(described: Callable, raw: pd.DataFrame) -> pd.DataFrame:
    found = described(raw.copy())
    if type(found) is not pd.DataFrame or len(found) != len(raw):
        raise UnreadableError("`described` should return a table with a row for each trip.")
    return found


def _changed(described: Callable, raw: pd.DataFrame, end: Callable) -> set[str]:
    """Return the columns that change when the trips end in another way."""
    before, after = _described(described, raw), _described(described, end(raw))
    return {column for column in before if not before[column].equals(after[column])}


def _ended_later(raw: pd.DataFrame) -> pd.DataFrame:
    more = np.random.default_rng().integers(61, 600, len(raw))
    ended = raw["lpep_dropoff_datetime"] + pd.to_timedelta(more, "min")
    return raw.assign(lpep_dropoff_datetime=ended)


def _cost_more(raw: pd.DataFrame) -> pd.DataFrame:
    paid = [column for column in raw if column.endswith("_amount")]
    more = np.random.default_rng().uniform(1, 50, len(raw))
    return raw.assign(**{column: raw[column] + more for column in paid})


def _boosted_rmse(columns: pd.DataFrame, raw: pd.DataFrame) -> float:
    """Return the error of XGBoost on a third of the trips, having learned from the others."""
    minutes, asked = _minutes(raw).to_numpy(), np.arange(len(raw)) % 3 == 0
    model = xgboost.XGBRegressor(n_estimators=50, max_depth=6, random_state=1, n_jobs=1)
    model.fit(columns[~asked], minutes[~asked])
    return float(np.sqrt(np.mean((model.predict(columns[asked]) - minutes[asked]) ** 2)))
