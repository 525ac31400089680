"""Lesson 1: unknown pairs, broken meters on both sides, and a colleague's claim."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from taxi_lib.checks.answers import function, number, table
from taxi_lib.checks.verdicts import Right, Wrong
from taxi_lib.features import add_pair
from taxi_lib.months import Source
from taxi_lib.trips import fetch_months, read_trips

HINTS = {
    1: [
        "You need both months of 2023: one says which pairs are known, the other has the trips.",
        "`val['PU_DO'].isin(train['PU_DO'])` is True for a trip whose pair is known.",
    ],
    2: [
        "Two tables come in. What has to happen to the absurd distances of each of them?",
        "Learn from `train[train['trip_distance'] <= 100]`. In the second month, `mask` puts "
        "another number where a condition is true: `miles.mask(miles > 100, usual)`.",
    ],
    3: [
        "What is `len(known)`, beside `len(clean_val)`?",
        "The answer is a part of `clean_val`: the rows that are not in `known`.",
    ],
}


def q1(share: object, source: Source) -> Right | Wrong:
    """Judge the share of trips of 2023-02 whose pair is not in 2023-01."""
    said = number(share)
    train, val = _pairs_of_2023(source)
    unknown = ~val.isin(train)
    right = unknown.mean()
    if abs(said - right) < 6e-4:  # also as the lesson prints it, 4.2%
        return Right(
            f"{right:.1%} of the trips join a pair that the model has never seen. The training "
            f"month has {len(train):,} trips and {train.nunique():,} different pairs: the columns "
            "of the model depend on the month that it learned from."
        )
    if abs(said - 100 * right) < 6e-2:
        return Wrong("That is in per cent. A share goes from 0 to 1.")
    if abs(said - (1 - right)) < 6e-4:
        return Wrong(
            "That is the share of trips whose pair is known.", "`~` turns True into False."
        )
    if abs(said - (~val.drop_duplicates().isin(train)).mean()) < 1e-4:
        return Wrong(
            "That is the share of the *pairs* that are unknown. How many *trips* have one?",
            "Leave out `unique()` or the set: each trip counts.",
        )
    if abs(said - (~train.isin(val)).mean()) < 1e-4:
        return Wrong("The two months have changed places: which one does the model learn from?")
    return Wrong(
        "This is not the share of the trips of 2023-02 whose pair is not in 2023-01.",
        "Count the trips of the second month whose `PU_DO` is not among those of the first, and "
        "divide by the number of its trips.",
    )


def _pairs_of_2023(source: Source) -> Iterator[pd.Series]:
    for file in fetch_months("2023-01", "2023-02", source=source):
        yield add_pair(read_trips(file)[0])["PU_DO"]


def q2(rmse_with_rule: object, train: pd.DataFrame, val: pd.DataFrame) -> Right | Wrong:
    """Judge a function that mends broken meters on both sides, and drops no trip of the exam."""
    answer = function(rmse_with_rule)
    learned, asked = _with_broken_meters(table(train)), _with_broken_meters(table(val), long=True)
    said = number(answer(learned.copy(), asked.copy()))
    right, mistakes = _rules(learned, asked)
    if np.isclose(said, right, rtol=3e-4):
        one_sided = mistakes[0][0]
        return Right(
            f"The same rule ran on both sides, and every passenger got an answer: {right:.2f} "
            f"minutes on trips like yours, where the colleague's way gives {one_sided:,.0f}. A "
            "rule that only cleans the training month makes a model that is worse in use than one "
            "without it."
        )
    for error, wrong in mistakes:
        if np.isclose(said, error, rtol=3e-4):
            return wrong
    return Wrong(
        f"On months of the check's own the function returns {said:,.3f}, which is not the error of "
        "the linear model under this rule. Which trips does it learn from, and what is asked?",
        "Both tables are given as arguments: does the function use those, and a new model, or "
        "something from the lesson, such as `cured`?",
    )


def _with_broken_meters(month: pd.DataFrame, long: bool = False) -> pd.DataFrame:
    """Draw trips from a month, rather long ones if you like, and break some of their meters."""
    rng = np.random.default_rng()
    weights = month["trip_distance"].clip(0.1, 10) if long else None
    rows = min(len(month) // 2, 3000)
    drawn = month.sample(rows, weights=weights, random_state=rng)
    broken = rng.choice(rows, rows // 10, replace=False)
    miles = drawn["trip_distance"].where(drawn["trip_distance"] <= 100, 3.0).astype(float)
    miles.iloc[broken] = 10 ** rng.uniform(3, 5, len(broken))
    return drawn.assign(trip_distance=miles)


def _rules(train: pd.DataFrame, val: pd.DataFrame) -> tuple[float, list[tuple[float, Wrong]]]:
    """Return the error under the rule, and under each rule that people take for it."""
    sound, answerable = (month[month["trip_distance"] <= 100] for month in (train, val))

    def asked(miles: float) -> pd.DataFrame:
        return val.assign(
            trip_distance=val["trip_distance"].mask(val["trip_distance"] > 100, miles)
        )

    learned_from_all = Wrong(
        "The model has learned from broken meters.", "Which trips may the first month keep?"
    )
    usual = sound["trip_distance"].median()
    model, spoiled = _fit(sound), _fit(train)
    return _rmse(model, asked(usual)), [
        (
            _rmse(model, val),
            Wrong(
                "The rule ran on one side only: the model, which now believes the meter, is asked "
                "about broken ones.",
                "What does the model get to see of a trip of 50,000 miles in the second month?",
            ),
        ),
        (
            _rmse(model, answerable),
            Wrong(
                "The second month has lost its broken meters. Their passengers wait for an answer.",
                "Keep the trip, and replace only its absurd distance.",
            ),
        ),
        (_rmse(spoiled, asked(usual)), learned_from_all),
        (_rmse(spoiled, val), learned_from_all),
        (
            _rmse(model, asked(answerable["trip_distance"].median())),
            Wrong(
                "The typical distance comes from the month that is scored.",
                "When the first passenger of a month asks, which trips are known?",
            ),
        ),
        (_rmse(model, asked(100)), Wrong("A trip of 100 miles is possible, but not typical.")),
        (
            _rmse(model, asked(sound["trip_distance"].mean())),
            Wrong("That is the mean distance; the exercise asks for the median."),
        ),
        (
            _rmse(model, asked(train["trip_distance"].median())),
            Wrong("The typical distance still counts the broken meters among the trips."),
        ),
        (
            _rmse(model, asked(usual)) ** 2,
            Wrong("That is the mean *squared* error, in squared minutes.", "Take its root."),
        ),
    ]


def _fit(trips: pd.DataFrame) -> Pipeline:
    """Fit the lesson's linear model."""
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["PU_DO"]), ("passthrough", ["trip_distance"])
    )
    return make_pipeline(encoder, LinearRegression()).fit(trips, trips["duration"])


def _rmse(model: Pipeline, trips: pd.DataFrame) -> float:
    return float(np.sqrt(np.mean((model.predict(trips) - trips["duration"].to_numpy()) ** 2)))


def q3(missing: object, clean_train: pd.DataFrame, clean_val: pd.DataFrame) -> Right | Wrong:
    """Judge the table of the trips that the colleague left out."""
    said, train, val = table(missing), table(clean_train), table(clean_val)
    known = val["PU_DO"].isin(train["PU_DO"])
    if said.index.sort_values().equals(val.index[~known].sort_values()):
        return Right(
            f"{(~known).sum():,} trips were left out because the model cannot know them, the very "
            "trips on which it is worst. A score is only as honest as the choice of what to score."
        )
    if said.index.sort_values().equals(val.index[known].sort_values()):
        return Wrong("These are the trips that the colleague kept. Which ones are gone?")
    if len(said) < (~known).sum() and said["PU_DO"].is_unique and len(said):
        return Wrong("There is one row for each pair. How many trips were left out?")
    if not said.index.isin(val.index).all():
        return Wrong(
            "There are trips that `clean_val` has not got. Did you begin with `val`, which still "
            "has the broken meters?"
        )
    return Wrong(
        "These are not the trips that `known` leaves out of `clean_val`.",
        "Turn the colleague's condition round, and leave the rest of the line as it is.",
    )
