"""The checks of lesson 15: each answer gets the sentence that fits it."""

import numpy as np
import pandas as pd
import pytest

from support.exercises import cell, said
from taxi_lib.checks import lesson_15

IMPORTS = {"pd": pd, "np": np}


@pytest.fixture(scope="module")
def months() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(42)

    def draw() -> pd.DataFrame:
        miles = rng.gamma(2, 5, 300)
        minutes = 10 + 8 * np.sqrt(miles) + rng.normal(0, 2, 300)
        miles[:3] = 90.0
        pairs = rng.choice(["41_42", "74_75", "75_74"], 300)
        return pd.DataFrame({"PU_DO": pairs, "trip_distance": miles, "duration": minutes})

    return draw(), draw()


@pytest.fixture(scope="module")
def errors(months: tuple) -> dict[float, tuple[float, float]]:
    return {miles: lesson_15._linear_errors(miles, *months) for miles in (20, 40, np.inf)}


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (lambda e: e[40][1] - e[20][1], "right", "can no longer report"),
        (lambda e: round(e[40][1], 2) - round(e[20][1], 2), "right", "can no longer report"),
        (lambda e: e[20][1] - e[40][1], "wrong", "The sign is wrong"),
        (lambda e: e[np.inf][1] - e[40][1], "wrong", "40 miles gain over no limit"),
        (lambda e: 60 * (e[40][1] - e[20][1]), "wrong", "in seconds"),
        (lambda e: e[40][0] - e[20][0], "wrong", "has learned from"),
        (lambda e: e[np.inf][1] - e[20][1], "wrong", "no limit at all"),
        (lambda e: e[20][1], "wrong", "the error itself"),
        (lambda e: 17.0, "wrong", "something else than 17"),
        (lambda e: "0.1", "wrong", "a number is asked for"),
    ],
)
def test_a_gain_of_another_limit_is_judged(months, errors, answer, status, words):
    box = said("15", 1, answer(errors), *months)
    assert box.status == status and words in box.text


RIGHT = """
def answer(place, minutes, part):
    found = pd.Series(index=place.index, dtype=float)
    for one in part.unique():
        own = part == one
        means = minutes[~own].groupby(place[~own]).mean()
        found[own] = place[own].map(means).fillna(minutes[~own].mean())
    return found
"""
MEANS = {
    "right": (RIGHT, "right", "No trip counts in its own mean"),
    "right, in another order": (
        RIGHT.replace("return found", "return found.sample(frac=1)"),
        "right",
        "No trip counts in its own mean",
    ),
    "five parts": (
        RIGHT.replace("part.unique()", "range(5)"),
        "wrong",
        "of 40 trips get no number",
    ),
    "one is lost": (RIGHT.replace("return found", "return found[1:]"), "wrong", "Only 39 of 40"),
    "filled with the places' mean": (
        RIGHT.replace("fillna(minutes[~own].mean())", "fillna(means.mean())"),
        "wrong",
        "the mean of the *places*",
    ),
    "of all parts": ("minutes.groupby(place).transform('mean')", "wrong", "in its own mean"),
    "of the own part": ("minutes.groupby([place, part]).transform('mean')", "wrong", "*own* part"),
    "with a gap": (RIGHT.replace(".fillna(minutes[~own].mean())", ""), "wrong", "no number"),
    "with zeros": (RIGHT.replace("minutes[~own].mean())", "0)"), "wrong", "0 minutes"),
    "filled with all": (
        RIGHT.replace("fillna(minutes[~own].mean())", "fillna(minutes.mean())"),
        "wrong",
        "the mean of *all* trips",
    ),
    "medians": (RIGHT.replace("place[~own]).mean()", "place[~own]).median()"), "wrong", "another"),
    "another index": (
        RIGHT.replace("return found", "return found.reset_index(drop=True)"),
        "wrong",
        "another index",
    ),
    "an array": (RIGHT.replace("return found", "return found.to_numpy()"), "wrong", "a Series"),
    "in place": (
        RIGHT.replace("    found = pd", "    minutes += 1\n    found = pd", 1),
        "wrong",
        "changes the columns",
    ),
}


@pytest.mark.parametrize("case", MEANS)
def test_means_of_others_are_judged(case):
    source, status, words = MEANS[case]
    if "def " not in source:
        source = f"def answer(place, minutes, part): return {source}"
    box = said("15", 2, cell(source, **IMPORTS))
    assert box.status == status and words in box.text


HONEST = "val['PU_DO'].map(train.groupby('PU_DO')['duration'].mean())"
BOTH = "val['PU_DO'].map(pd.concat([train, val]).groupby('PU_DO')['duration'].mean())"
PAIRS = {
    "right": (f"{HONEST}.fillna(train['duration'].mean())", "right", "which rows"),
    "right, by the zone": (
        f"{HONEST}.fillna(val['PULocationID'].map(train.groupby('PULocationID')['duration'].mean()))"
        ".fillna(train['duration'].mean())",
        "right",
        "which rows",
    ),
    "filled with the column's mean": (
        f"(lambda column: column.fillna(column.mean()))({HONEST})",
        "wrong",
        "depends on the other trips",
    ),
    "the colleague's": (BOTH, "wrong", "which are the answer"),
    "filled from the second month": (
        f"{HONEST}.fillna(val['duration'].mean())",
        "wrong",
        "which are the answer",
    ),
    "with a gap": (HONEST, "wrong", "gets no number"),
    "with zeros": (f"{HONEST}.fillna(0)", "wrong", "minutes that no trip took"),
    "the mean of all": (
        "pd.Series(train['duration'].mean(), index=val.index)",
        "wrong",
        "not the mean of their trips",
    ),
    "a number": ("3.0", "wrong", "a Series is asked for"),
}


@pytest.mark.parametrize("case", PAIRS)
def test_a_mean_that_knows_the_end_is_found(case):
    source, status, words = PAIRS[case]
    box = said("15", 3, cell(f"def answer(train, val): return {source}", **IMPORTS))
    assert box.status == status and words in box.text
