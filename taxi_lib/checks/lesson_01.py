"""Lesson 1: unknown pairs, the right limit, and a colleague's claim."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
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
        "Two months are in play, and the limit concerns only one of them.",
        "Fit on `train[train['trip_distance'] <= limit]`; score as the lesson scores `clean_val`.",
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
    if abs(said - right) < 1e-4 or abs(said - 100 * right) < 1e-2:
        return Right(
            f"{right:.1%} of the trips join a pair that the model has never seen. A month has "
            "fewer green trips than two years before, but they use far fewer different pairs: "
            "the columns of the model depend on the month that it learned from."
        )
    if abs(said - (1 - right)) < 1e-4:
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
        "This is not the share of 2023. Are both months of 2023, cleaned by `read_dataframe`?",
        "Count the trips of the second month whose `PU_DO` is not among those of the first, and "
        "divide by the number of its trips.",
    )


def _pairs_of_2023(source: Source) -> Iterator[pd.Series]:
    for file in fetch_months("2023-01", "2023-02", source=source):
        yield add_pair(read_trips(file)[0])["PU_DO"]


def q2(rmse_below: object, train: pd.DataFrame, clean_val: pd.DataFrame) -> Right | Wrong:
    """Judge a function that drops long trips from the training month only."""
    answer, train, val = function(rmse_below), table(train), table(clean_val)
    limit = float(np.random.default_rng(len(train)).uniform(15, 30))  # not one from the text
    said = number(answer(limit))
    short = train[train["trip_distance"] <= limit]
    errors = _errors(short, val)
    right = np.sqrt(np.mean(errors**2))
    if np.isclose(said, right, rtol=1e-3):
        return Right(
            "The training month may be cleaned as you like: it is yours. The trips to be scored "
            "on may not: a limit that also drops the hard ones makes every model look better."
        )
    if np.isclose(said, np.sqrt(np.mean(errors[val["trip_distance"] <= limit] ** 2)), rtol=1e-3):
        return Wrong(
            "You score only the trips up to the limit. Then each limit has an exam of its own, "
            "and the easiest exam wins.",
            "Which table must stay the same for every limit?",
        )
    if np.isclose(said, right**2, rtol=1e-3):
        return Wrong("That is the mean *squared* error, in squared minutes.", "Take its root.")
    if np.isclose(said, np.sqrt(np.mean(_errors(train, val) ** 2)), rtol=1e-3):
        return Wrong("The limit changes nothing: the model still learns from all trips.")
    return Wrong(
        f"For a limit of {limit:.1f} miles the function returns {said:.3f}, which is not the "
        "error of the linear model on `clean_val`. Which trips does it learn from?",
        "Is it a new model for each limit, and does its encoder see only the kept trips?",
    )


def _errors(train: pd.DataFrame, val: pd.DataFrame) -> np.ndarray:
    """Return how far the linear model is off for each trip, in minutes."""
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["PU_DO"]), ("passthrough", ["trip_distance"])
    )
    model = make_pipeline(encoder, LinearRegression()).fit(train, train["duration"])
    return model.predict(val) - val["duration"].to_numpy()


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
    return Wrong(
        "These are not the trips that `known` leaves out of `clean_val`.",
        "Turn the colleague's condition round, and leave the rest of the line as it is.",
    )
