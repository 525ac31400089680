"""Lesson 3: the size of a dense matrix, a limit for a reader, and an encoder fitted twice."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from taxi_lib.checks.answers import UnreadableError, function, number
from taxi_lib.checks.verdicts import Right, Wrong

HINTS = {
    1: [
        "A dense matrix has a number for each row and each column, zero or not.",
        "`train_dict.shape` has the rows and columns; a gigabyte is 1,000,000,000 bytes.",
    ],
    2: [
        "What should `max_miles` be when somebody does not care?",
        "`None` is a good default; and a trip of exactly `max_miles` is not longer than it.",
    ],
    3: [
        "Which number does the pair `74_75` get in the first month, and which in the second?",
        "One encoder: `fit` on the first month, `transform` on both.",
        "`OrdinalEncoder` takes `handle_unknown='use_encoded_value'` and an `unknown_value`.",
    ],
}


def q1(gigabytes: object, matrix: sparse.csr_matrix) -> Right | Wrong:
    """Judge how many gigabytes a sparse matrix would take as a dense one."""
    said = number(gigabytes)
    if not sparse.issparse(matrix):
        raise UnreadableError("The second argument is the sparse matrix, `train_dict`.")
    right = matrix.shape[0] * matrix.shape[1] * 8 / 1e9
    stored = (matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes) / 1e9
    if np.isclose(said, right, rtol=0.02) or np.isclose(said, right * 1e9 / 2**30, rtol=0.02):
        return Right(
            f"{right:,.1f} GB for one month, {right / stored:,.0f} times as much as the sparse "
            "matrix takes. A dense copy is the usual reason why a kernel dies without a word."
        )
    if np.isclose(said, right * 1e9, rtol=0.02) or np.isclose(said, right * 1e3, rtol=0.02):
        return Wrong("The product is right, but the unit is not: how many bytes are a gigabyte?")
    if np.isclose(said, right / 8, rtol=0.02) or np.isclose(said, right / 2, rtol=0.02):
        return Wrong("How many bytes does one number of 64 bits take?")
    if np.isclose(said, stored, rtol=0.2) or np.isclose(said, matrix.nnz * 8 / 1e9, rtol=0.05):
        return Wrong(
            "That is about what the sparse matrix takes, which stores only what is not zero.",
            "A dense matrix stores the zeros, too.",
        )
    return Wrong("Rows, columns and bytes a number: which of the three is another?")


def q2(read_up_to: object) -> Right | Wrong:
    """Judge a reader with a limit on small files that the check writes."""
    answer = function(read_up_to)
    rng = np.random.default_rng()
    limit = round(float(rng.uniform(5, 9)), 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "month.parquet"
        raw = _month(rng, limit)
        raw.to_parquet(path)
        everything, limited = answer(path), answer(path, limit)
    kept = raw[raw["minutes"].between(1, 60)]
    faults = [
        (everything, kept, "Without a limit the reader returns other trips than `read_data`."),
        (limited, kept[kept["trip_distance"] <= limit], "With a limit the trips are not right."),
    ]
    for found, expected, fault in faults:
        if not isinstance(found, pd.DataFrame):
            raise UnreadableError(f"The reader returns `{type(found).__name__}`, not a table.")
        if wrong := _difference(found, expected, raw, limit):
            return Wrong(fault, wrong)
    return Right(
        "A new argument with a default changes nothing for those who do not use it. So old calls, "
        "and the numbers that rest on them, stay as they are."
    )


def _difference(
    found: pd.DataFrame, expected: pd.DataFrame, raw: pd.DataFrame, limit: float
) -> str | None:
    """Return what is wrong with the trips that a reader returned."""
    if len(found) == len(expected) and np.array_equal(
        found["trip_distance"], expected["trip_distance"]
    ):
        return None if "duration" in found else "The column `duration` is missing."
    if (found["trip_distance"] == limit).sum() < (expected["trip_distance"] == limit).sum():
        return "A trip of exactly the limit is not longer than the limit."
    if len(found) == len(raw) or len(found) == (raw["trip_distance"] <= limit).sum():
        return "The trips under a minute and over an hour are there again."
    if len(found) > len(expected):
        return "There are trips longer than the limit."
    return "Count the trips that it returns, and those that it should."


def _month(rng: np.random.Generator, limit: float) -> pd.DataFrame:
    minutes = np.tile([0.5, 1, 20, 60, 61], 8).astype(float)
    miles = rng.permutation(np.repeat([0.0, limit - 1, limit, limit + 0.1, 200.0], 8))
    begin = pd.Timestamp("2021-01-05 08:00") + pd.to_timedelta(np.arange(40), "h")
    return pd.DataFrame(
        {
            "lpep_pickup_datetime": begin,
            "lpep_dropoff_datetime": begin + pd.to_timedelta(minutes, "min"),
            "PULocationID": rng.integers(1, 200, 40),
            "DOLocationID": rng.integers(1, 200, 40),
            "trip_distance": miles,
            "minutes": minutes,
        }
    )


def q3(encode: object) -> Right | Wrong:
    """Judge a function that turns the pairs of two months into numbers."""
    answer = function(encode)
    train = _pairs("1_1", "2_2", "3_3", "2_2")
    val, other = _pairs("3_3", "1_1", "0_9", "5_5"), _pairs("2_2", "0_0", "0_1", "9_9")
    train_codes, val_codes = _codes(answer, train, val)
    again, _ = _codes(answer, train, other)
    code_of = dict(zip(train["PU_DO"], train_codes, strict=True))
    if len({*code_of.values()}) < len(code_of):
        return Wrong("Two pairs of the first month get the same number.")
    known = [(pair, code) for pair, code in zip(val["PU_DO"], val_codes, strict=True)]
    if any(code_of[pair] != code for pair, code in known if pair in code_of):
        return Wrong(
            "The same pair has one number in the first month and another in the second.",
            "So the model looks up what it learned about somebody else. Where is the second `fit`?",
        )
    if not np.array_equal(train_codes, again):
        return Wrong(
            "The numbers of the first month depend on the second month.",
            "In a real service the second month has not happened yet when the encoder is fitted.",
        )
    if any(code in code_of.values() for pair, code in known if pair not in code_of):
        return Wrong("A pair that was never seen gets the number of one that was.")
    return Right(
        "A number means the same pair in both months. Nothing fails when an encoder is fitted "
        "again: only the score gets worse, and a pipeline makes the mistake impossible."
    )


def _pairs(*pairs: str) -> pd.DataFrame:
    return pd.DataFrame({"PU_DO": pairs, "trip_distance": np.arange(len(pairs), dtype=float)})


def _codes(answer: Callable, train: pd.DataFrame, val: pd.DataFrame) -> list[np.ndarray]:
    """Return the numbers of the pairs of two months, as the learner's function gives them."""
    found = answer(train.copy(), val.copy())
    if not isinstance(found, tuple) or len(found) != 2:
        raise UnreadableError("The function should return two arrays: of the first month, second.")
    codes = [
        np.asarray(one, dtype=float).reshape(len(trips), -1)
        for one, trips in zip(found, (train, val), strict=True)
    ]
    return [one[:, 0] for one in codes]
