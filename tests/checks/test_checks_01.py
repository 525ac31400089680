"""The checks of lesson 1: each answer gets the sentence that fits it."""

import numpy as np
import pandas as pd
import pytest

from support.exercises import cell, said
from taxi_lib.checks import lesson_01

RNG = np.random.default_rng(1)
# Some of the pairs of the second month are not in the first; some trips are long.
PLACES = np.array(["1_1", "1_2", "2_1", "2_2", "3_3"])


def month(places: int) -> pd.DataFrame:
    miles = RNG.exponential(8, 600)
    pairs = RNG.choice(PLACES[:places], 600)
    minutes = 5 + 3 * np.minimum(miles, 40) + RNG.normal(0, 4, 600)
    return pd.DataFrame({"PU_DO": pairs, "trip_distance": miles, "duration": minutes})


TRAIN, VAL = month(4), month(5)
KNOWN = VAL["PU_DO"].isin(TRAIN["PU_DO"])

SHARES = {
    "right": ("of the trips join a pair", lambda train, val: (~val.isin(train)).mean()),
    "in per cent": ("A share goes from 0 to 1", lambda train, val: 100 * (~val.isin(train)).mean()),
    "the known ones": ("whose pair is known", lambda train, val: val.isin(train).mean()),
    "of the pairs": ("of the *pairs*", lambda t, v: (~v.drop_duplicates().isin(t)).mean()),
    "the wrong way": ("changed places", lambda train, val: (~train.isin(val)).mean()),
    "of another month": ("not the share of the trips of 2023-02", lambda train, val: 0.5),
}


@pytest.fixture(scope="module")
def pairs_of_2023() -> list[pd.Series]:
    return list(lesson_01._pairs_of_2023("synthetic"))


@pytest.mark.parametrize("case", SHARES)
def test_the_share_of_unknown_pairs(case: str, pairs_of_2023: list[pd.Series]):
    sentence, share = SHARES[case]
    box = said("01", 1, share(*pairs_of_2023), "synthetic")
    assert sentence in box.text
    assert (box.status == "right") == (sentence == SHARES["right"][0])


FUNCTION = """
    from taxi_lib.checks.lesson_01 import _fit, _rmse

    def rmse_with_rule(train, val):
        kept = train[train["trip_distance"] <= 100]
        usual = kept["trip_distance"].median()
        miles = val["trip_distance"]
        asked = val.assign(trip_distance=miles.mask(miles > 100, usual))
        return _rmse(_fit(kept), asked)
"""
FUNCTIONS = {
    "right": ("right", "The same rule ran on both sides", "", ""),
    "the training side only": ("wrong", "which now believes the meter", "asked)", "val)"),
    "the other side only": ("wrong", "has learned from broken", "_fit(kept)", "_fit(train)"),
    "no side": ("wrong", "has learned from broken", "_fit(kept), asked", "_fit(train), val"),
    "an easier exam": ("wrong", "Their passengers wait", "asked)", "val[miles <= 100])"),
    "what is not known yet": (
        "wrong",
        "from the month that is scored",
        'kept["trip_distance"].median()',
        'val.query("trip_distance <= 100")["trip_distance"].median()',
    ),
    "the largest allowed": ("wrong", "not typical", "usual))", "100))"),
    "the mean": ("wrong", "asks for the median", ".median()", ".mean()"),
    "squared": ("wrong", "mean *squared* error", "asked)", "asked) ** 2"),
    "a constant": ("wrong", "which is not the error", "_rmse(_fit(kept), asked)", "6.7"),
    "a misspelled name": ("raised", "Line 5 of your cell", 'train["trip', 'train["no'),
    "nothing yet": ("not attempted", "check.hint(2)", FUNCTION[FUNCTION.index("kept = ") :], "..."),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_a_rule_for_broken_meters_runs_on_both_sides(case: str):
    status, sentence, old, new = FUNCTIONS[case]
    source = FUNCTION.replace(old, new, 1) if old else FUNCTION
    box = said("01", 2, cell(source), TRAIN, VAL)
    assert box.status == status and sentence in box.text


TABLES = {
    "right": ("right", "were left out because", VAL[~KNOWN]),
    "in another order": ("right", "were left out because", VAL[~KNOWN].sample(frac=1)),
    "the kept ones": ("wrong", "that the colleague kept", VAL[KNOWN]),
    "one row a pair": ("wrong", "one row for each pair", VAL[~KNOWN].drop_duplicates("PU_DO")),
    "the whole month": ("wrong", "not the trips that", VAL),
    "only how many": ("wrong", "a DataFrame is asked for", int((~KNOWN).sum())),
}


@pytest.mark.parametrize("case", TABLES)
def test_the_trips_that_were_left_out(case: str):
    status, sentence, answer = TABLES[case]
    box = said("01", 3, answer, TRAIN, VAL)
    assert box.status == status and sentence in box.text
