"""The checks of lesson 3: each answer gets the sentence that fits it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.preprocessing import OrdinalEncoder

from support.exercises import said

MATRIX = sparse.random(5000, 900, density=0.002, format="csr", random_state=1)
DENSE = 5000 * 900 * 8

SIZES = {
    "right": ("right", "for one month", DENSE / 1e9),
    "rounded": ("right", "for one month", round(DENSE / 1e9, 3) * 1.02),
    "in binary gigabytes": ("right", "for one month", DENSE / 2**30),
    "in bytes": ("wrong", "the unit is not", DENSE),
    "in megabytes": ("wrong", "the unit is not", DENSE / 1e6),
    "a byte a number": ("wrong", "64 bits", DENSE / 8e9),
    "four bytes": ("wrong", "64 bits", DENSE / 2e9),
    "sparse": ("wrong", "only what is not zero", MATRIX.nnz * 8 / 1e9),
    "something else": ("wrong", "Multiply rows", 12.0),
    "a text": ("wrong", "a number is asked for", "8 GB"),
}


@pytest.mark.parametrize("case", SIZES)
def test_the_size_of_a_dense_matrix(case: str):
    status, sentence, answer = SIZES[case]
    box = said("03", 1, answer, MATRIX)
    assert box.status == status and sentence in box.text


def read(path: Path) -> pd.DataFrame:
    trips = pd.read_parquet(path)
    ride = trips["lpep_dropoff_datetime"] - trips["lpep_pickup_datetime"]
    return trips.assign(duration=ride.dt.total_seconds() / 60)


def right(path: Path, max_miles: float | None = None) -> pd.DataFrame:
    trips = read(path).query("1 <= duration <= 60")
    return trips if max_miles is None else trips[trips["trip_distance"] <= max_miles]


def strictly_below(path: Path, max_miles: float = float("inf")) -> pd.DataFrame:
    trips = read(path).query("1 <= duration <= 60")
    return trips[trips["trip_distance"] < max_miles]


def always_100(path: Path, max_miles: float = 100) -> pd.DataFrame:
    trips = read(path).query("1 <= duration <= 60")
    return trips[trips["trip_distance"] <= max_miles]


def no_longer_cleaned(path: Path, max_miles: float = float("inf")) -> pd.DataFrame:
    trips = read(path)
    return trips[trips["trip_distance"] <= max_miles]


def zero_is_none(path: Path, max_miles: float | None = None) -> pd.DataFrame:
    return right(path, max_miles or None)


def only_the_long(path: Path, max_miles: float = -1) -> pd.DataFrame:
    trips = read(path).query("1 <= duration <= 60")
    return trips[trips["trip_distance"] > max_miles]


def clipped(path: Path, max_miles: float = float("inf")) -> pd.DataFrame:
    trips = read(path).query("1 <= duration <= 60")
    return trips.assign(trip_distance=trips["trip_distance"].clip(upper=max_miles - 0.01))


def keyword_only(path: Path, *, max_miles: float | None = None) -> pd.DataFrame:
    return right(path, max_miles)


READERS: dict[str, tuple[str, str, Callable]] = {
    "right": ("right", "a default changes nothing", right),
    "by keyword": ("right", "a default changes nothing", keyword_only),
    "the old one": ("wrong", "cannot use this answer", lambda path: right(path)),
    "another name": ("wrong", "max_miles", lambda path, miles=None: right(path, miles)),
    "no limit": ("wrong", "With max_miles", lambda path, max_miles=None: right(path)),
    "strictly below": ("wrong", "exactly the limit", strictly_below),
    "a limit for all": ("wrong", "Without a limit", always_100),
    "a high limit for all": (
        "wrong",
        "Without",
        lambda path, max_miles=1000: right(path, max_miles),
    ),
    "zero is no limit": ("wrong", "With max_miles=0", zero_is_none),
    "only the long": ("wrong", "the long ones", only_the_long),
    "clipped": ("wrong", "distances that the file does not have", clipped),
    "renumbered": (
        "wrong",
        "the index",
        lambda path, max_miles=None: right(path, max_miles).reset_index(drop=True),
    ),
    "not cleaned": ("wrong", "Without a limit", no_longer_cleaned),
    "nothing": ("wrong", "not a table", lambda path, max_miles=None: len(str(path))),
}


@pytest.mark.parametrize("case", READERS)
def test_a_reader_with_a_limit(case: str):
    status, sentence, answer = READERS[case]
    box = said("03", 2, answer)
    assert box.status == status and sentence in box.text


PAIR = ["PU_DO"]
CAREFUL = {"handle_unknown": "use_encoded_value", "unknown_value": -1}


def one_encoder(train: pd.DataFrame, val: pd.DataFrame) -> tuple:
    encoder = OrdinalEncoder(**CAREFUL).fit(train[PAIR])
    return encoder.transform(train[PAIR]), encoder.transform(val[PAIR])


def fitted_twice(train: pd.DataFrame, val: pd.DataFrame) -> tuple:
    return OrdinalEncoder().fit_transform(train[PAIR]), OrdinalEncoder().fit_transform(val[PAIR])


def fitted_on_both(train: pd.DataFrame, val: pd.DataFrame) -> tuple:
    encoder = OrdinalEncoder().fit(pd.concat([train, val])[PAIR])
    return encoder.transform(train[PAIR]), encoder.transform(val[PAIR])


def unknown_is_zero(train: pd.DataFrame, val: pd.DataFrame) -> tuple:
    codes = {pair: code for code, pair in enumerate(train["PU_DO"].unique())}
    return train["PU_DO"].map(codes), val["PU_DO"].map(codes).fillna(0)


def unknown_fails(train: pd.DataFrame, val: pd.DataFrame) -> tuple:
    encoder = OrdinalEncoder().fit(train[PAIR])
    return encoder.transform(train[PAIR]), encoder.transform(val[PAIR])


ENCODERS: dict[str, tuple[str, str, Callable]] = {
    "right": ("right", "means the same pair", one_encoder),
    "fitted twice": ("wrong", "and another in the second", fitted_twice),
    "fitted on both": ("wrong", "depend on the second month", fitted_on_both),
    "unknown is known": ("wrong", "never seen gets the number", unknown_is_zero),
    "unknown fails": ("wrong", "unknown categories", unknown_fails),
    "all the same": ("wrong", "the same number", lambda t, v: (np.zeros(4), np.zeros(3))),
    "the whole table": ("wrong", "One column", lambda t, v: (t, v)),
    "changed places": ("wrong", "changed places", lambda t, v: one_encoder(t, v)[::-1]),
    "unknown dropped": ("wrong", "2 numbers for 3 trips", lambda t, v: (np.arange(4), [1, 2])),
    "one array": ("wrong", "two arrays", lambda t, v: np.zeros(4)),
}


@pytest.mark.parametrize("case", ENCODERS)
def test_an_encoder_of_two_months(case: str):
    status, sentence, answer = ENCODERS[case]
    box = said("03", 3, answer)
    assert box.status == status and sentence in box.text
