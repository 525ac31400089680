"""Lesson 15: another limit of the distances, means of other trips, and a mean that knows the end.

The second and third answer are functions, which are called on small months drawn for them.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from taxi_lib.checks.answers import UnreadableError, function, number, shown, table
from taxi_lib.checks.verdicts import Right, Wrong
from taxi_lib.models import rmse

HINTS = {
    1: [
        "`linear(most_miles=20)` is a model that has not learned yet. What did `measure` do first?",
        "`models.rmse(linear(20).fit(train, train['duration']), val)` is one of the two errors.",
    ],
    2: [
        "Begin with one part: which trips are in it, and which are the others?",
        "For the trips outside of the part: `groupby` the place, take the mean of the minutes. "
        "`map` brings these means to the trips in the part.",
        "`map` leaves a gap where the others do not have the place: `fillna`, with the mean of "
        "the others.",
    ],
    3: [
        "Change the minutes of one trip of the second month. Does its column change?",
        "What is a pair's mean worth that the first month does not have?",
    ],
}


def q1(gain: object, train: pd.DataFrame, val: pd.DataFrame) -> Right | Wrong:
    """Judge by how much the linear model is better with distances of at most 20 miles."""
    said, train, val = number(gain), table(train), table(val)
    errors = {miles: _linear_errors(miles, train, val) for miles in (20, 40, np.inf)}
    right = errors[40][1] - errors[20][1]
    by_the_table = round(errors[40][1], 2) - round(errors[20][1], 2)
    if _near(said, right) or abs(said - by_the_table) < 1e-6:
        return Right(
            f"At 40 miles the model is off by {errors[40][1]:.2f} minutes, at 20 by "
            f"{errors[20][1]:.2f}. The limit is a setting like any other: if you choose it by "
            "this month, this month can no longer report on it."
        )
    for mistake, wrong in _mistaken_gains(errors, right):
        if _near(said, mistake):
            return wrong
    return Wrong(
        f"The two models differ by something else than {said:g} minutes.",
        "Fit both on the first month, score both on the second, and subtract. (The table's *gain* "
        "is over the best row above, not over 40 miles.)",
    )


def _linear_errors(miles: float, train: pd.DataFrame, val: pd.DataFrame) -> tuple[float, float]:
    """Return the error of the lesson's linear model, on the training month and on the next."""
    clip = FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": miles})
    pair = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((pair, ["PU_DO"]), (clip, ["trip_distance"]))
    model = make_pipeline(columns, LinearRegression()).fit(train, train["duration"])
    return rmse(model, train), rmse(model, val)


def _mistaken_gains(
    errors: dict[float, tuple[float, float]], right: float
) -> Iterator[tuple[float, Wrong]]:
    yield -right, Wrong("The sign is wrong: a gain is positive if the RMSE gets smaller.")
    yield 60 * right, Wrong("That is the gain in seconds; minutes are asked for.")
    training = errors[40][0] - errors[20][0]
    yield training, Wrong("That is the gain on the month that the model has learned from.")
    yield (
        errors[np.inf][1] - errors[20][1],
        Wrong("That compares 20 miles with no limit at all.", "The other model has 40 miles."),
    )
    yield (
        errors[np.inf][1] - errors[40][1],
        Wrong("That is what 40 miles gain over no limit.", "And 20 miles over 40?"),
    )
    yield errors[20][1], Wrong("That is the error itself. By how much is it smaller?")


def _near(said: float, minutes: float) -> bool:
    return abs(said - minutes) <= 0.006


def q2(means_of_others: object) -> Right | Wrong:
    """Judge a function that gives each trip the mean of its place in the other parts."""
    trips = _drawn()
    given = [trips[name].copy() for name in trips]
    said = function(means_of_others)(*given)
    if not pd.concat(given, axis="columns").equals(trips):
        return Wrong("The function changes the columns that it is given.", "Work on copies.")
    if wrong := _no_column(said, trips):
        return wrong
    said = said.loc[trips.index]
    if _equal(said, _means_of_others(trips)):
        return Right(
            "No trip counts in its own mean, and every trip has a number. `TargetEncoder` also "
            "pulls the mean of a rare place towards the mean of all."
        )
    for mistaken, wrong in _MISTAKEN_MEANS:
        if _equal(said, mistaken(trips)):
            return wrong
    if said.isna().any():
        return Wrong(
            f"{said.isna().sum()} of {len(said)} trips get no number.",
            "Where the other parts do not have the place, take the mean of all their trips. (And "
            "there may be any number of parts.)",
        )
    return Wrong(
        "Some trips get another mean than that of their place in the other parts.",
        "Try it by hand with four trips, two places and two parts.",
    )


def _drawn() -> pd.DataFrame:
    """Draw trips of a few places, one of them rare, with an index that is out of order."""
    rng = np.random.default_rng()
    trips = pd.DataFrame(
        {
            "place": rng.choice(["41_42", "74_75", "75_74"], 40),
            "minutes": rng.uniform(1, 60, 40),
            "part": rng.permutation(np.arange(40) % 7),
        },
        index=rng.permutation(40) + 100,
    )
    trips.iloc[0, 0] = "1_2"  # the only trip of its place
    return trips


def _month() -> pd.DataFrame:
    """Draw a month as the lesson has it."""
    trips = _drawn().rename(columns={"place": "PU_DO", "minutes": "duration"})
    zones = trips["PU_DO"].str.split("_", expand=True).astype(float)
    return trips.assign(PULocationID=zones[0], DOLocationID=zones[1])


def _no_column(said: object, trips: pd.DataFrame) -> Wrong | None:
    if type(said) is not pd.Series:
        raise UnreadableError(f"The function returns {shown(said)}; a Series is asked for.")
    if said.index.is_unique and set(said.index) < set(trips.index):
        return Wrong(f"Only {len(said)} of {len(trips)} trips have a number.")
    if not said.index.sort_values().equals(trips.index.sort_values()):
        return Wrong(
            "The column has another index than the trips, so its values belong to other trips.",
            "`map` keeps the index of the trips; a merge or a `groupby` does not.",
        )
    return None


def _equal(said: pd.Series, right: pd.Series) -> bool:
    return bool(np.allclose(said.astype(float), right, equal_nan=True))


def _means_of_others(
    trips: pd.DataFrame,
    rest_of: Callable[[pd.DataFrame], float] = lambda others: others["minutes"].mean(),
) -> pd.Series:
    """Return the right column; ``rest_of`` says what the others give where they lack a place."""
    found = pd.Series(np.nan, index=trips.index)
    for part in trips["part"].unique():
        own, others = trips[trips["part"] == part], trips[trips["part"] != part]
        means = others.groupby("place")["minutes"].mean()
        found[own.index] = own["place"].map(means).fillna(rest_of(others))
    return found


_MISTAKEN_MEANS: list[tuple[Callable[[pd.DataFrame], pd.Series], Wrong]] = [
    (
        lambda trips: trips.groupby("place")["minutes"].transform("mean"),
        Wrong("Each trip counts in its own mean: that is the mean of all parts."),
    ),
    (
        lambda trips: trips.groupby(["part", "place"])["minutes"].transform("mean"),
        Wrong("That is the mean in the trip's *own* part. The others are asked for."),
    ),
    (
        lambda trips: _means_of_others(trips, lambda others: np.nan),
        Wrong(
            "The trip whose place the others do not have gets no number.",
            "`fillna` takes a number: the mean of all trips in the other parts.",
        ),
    ),
    (
        lambda trips: _means_of_others(trips, lambda others: 0.0),
        Wrong("A place that the others do not have gets 0 minutes: no trip is that short."),
    ),
    (
        lambda trips: _means_of_others(trips, lambda others: trips["minutes"].mean()),
        Wrong(
            "A place that the others do not have gets the mean of *all* trips, in which the trip "
            "itself counts.",
            "Take the mean of the trips in the other parts.",
        ),
    ),
    (
        lambda trips: _means_of_others(
            trips, lambda others: others.groupby("place")["minutes"].mean().mean()
        ),
        Wrong(
            "A place that the others do not have gets the mean of the *places*: each counts as "
            "much as any other, whatever the number of its trips.",
            "Take the mean of all trips in the other parts.",
        ),
    ),
]


def q3(pair_means: object) -> Right | Wrong:
    """Judge a function that describes the second month's trips by means of the first.

    It is called three times: then with other minutes in the second month, and with the trips of
    an unknown pair alone.
    """
    answer = function(pair_means)
    train, val = _month(), _month()
    train = train[train["PU_DO"] != "1_2"]
    said = answer(train.copy(), val.copy())
    if wrong := _no_column(said, val):
        return wrong
    said = said.loc[val.index]
    later = answer(train.copy(), val.assign(duration=val["duration"] + 100)).loc[val.index]
    if not _equal(said, later):
        return Wrong(
            "The column still changes with the minutes of the second month, which are the answer.",
            "Only the first month may say what a pair's mean is, and what stands in for it.",
        )
    means = train.groupby("PU_DO")["duration"].mean()
    known = val["PU_DO"].isin(means.index)
    if not np.allclose(said[known].astype(float), val["PU_DO"].map(means)[known]):
        return Wrong(
            "For some pairs it is not the mean of their trips in the first month.",
            "Does it use its arguments and nothing else? The check has other months.",
        )
    if said[~known].isna().any():
        return Wrong(
            "A pair that the first month does not have gets no number.",
            "`fillna` takes a number: one that the first month knows.",
        )
    if not said[~known].between(train["duration"].min(), train["duration"].max()).all():
        return Wrong("A pair that the first month does not have gets minutes that no trip took.")
    if not _equal(answer(train.copy(), val[~known].copy()), said[~known]):
        return Wrong(
            "What a pair gets that the first month does not have depends on the other trips of "
            "the second month.",
            "A service gets one trip at a time: only the first month may say what stands in.",
        )
    return Right(
        "With both months together, a trip of the second month counted in its own mean, and where "
        "its pair is rare, the column held the answer. No column was forbidden: the leak was in "
        "*which rows* it was computed from. In a pipeline, `fit` sees the training month only."
    )
