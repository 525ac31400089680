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
        "`None` is a good default, and 0 is a limit, too; a trip of exactly `max_miles` is kept.",
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
    if np.isclose(said, right, rtol=0.05) or np.isclose(said, right * 1e9 / 2**30, rtol=0.05):
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
    return Wrong(
        "Multiply rows, columns and bytes a number: one of the three is not what you took."
    )


def q2(read_up_to: object) -> Right | Wrong:
    """Judge a reader with a limit on small files that the check writes."""
    answer = function(read_up_to)
    rng = np.random.default_rng()
    limit = round(float(rng.uniform(5, 9)), 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "month.parquet"
        raw = _month(rng, limit)
        raw.to_parquet(path)
        calls = {"without a limit": answer(path)}
        for miles in (limit, 0):
            calls[f"with max_miles={miles}"] = answer(path, max_miles=miles)
    kept = raw[raw["minutes"].between(1, 60)]
    for (call, found), miles in zip(calls.items(), (np.inf, limit, 0), strict=True):
        if not isinstance(found, pd.DataFrame):
            raise UnreadableError(f"The reader returns `{type(found).__name__}`, not a table.")
        expected = kept[kept["trip_distance"] <= miles]
        if wrong := _difference(found, expected, raw, miles):
            return Wrong(f"{call.capitalize()}: {wrong}")
    return Right(
        "A new argument with a default changes nothing for those who do not use it. So old calls, "
        "and the numbers that rest on them, stay as they are."
    )


def _difference(
    found: pd.DataFrame, expected: pd.DataFrame, raw: pd.DataFrame, limit: float
) -> str | None:
    """Return what is wrong with the trips that a reader returned."""
    if not {"duration", "trip_distance"} <= set(found):
        return "the column `duration` or `trip_distance` is missing."
    if not set(found["trip_distance"]) <= set(raw["trip_distance"]):
        return "there are distances that the file does not have. Which path is read?"
    counts = f"{len(expected)} trips are right for a small file, and yours has {len(found)}."
    if len(found) and (found["trip_distance"] > limit).all():  # they may be just as many
        return f"{counts} They are the long ones."
    if len(found) != len(expected):
        if len(expected) - len(found) == (expected["trip_distance"] == limit).sum():
            return f"{counts} Is a trip of exactly the limit longer than the limit?"
        return f"{counts} Which ones are too many or missing?"
    if not found.index.equals(expected.index):
        return "the trips are those of `read_data`, but their numbers (the index) are not."
    return None


def _month(rng: np.random.Generator, limit: float) -> pd.DataFrame:
    minutes = np.tile([0.5, 1, 20, 60, 61], 8).astype(float)
    miles = rng.permutation(np.repeat([0.0, limit - 1, limit, limit + 0.1, 250_000.0], 8))
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
    val, other = _pairs("3_3", "1_1", "0_9"), _pairs("2_2", "0_0", "0_1")
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
    zones = [[int(zone) for zone in pair.split("_")] for pair in pairs]
    trips = pd.DataFrame(zones, columns=["PULocationID", "DOLocationID"])
    return trips.assign(PU_DO=pairs, trip_distance=np.arange(len(pairs), dtype=float))


def _codes(answer: Callable, train: pd.DataFrame, val: pd.DataFrame) -> list[np.ndarray]:
    """Return the numbers of the pairs of two months, as the learner's function gives them."""
    found = answer(train.copy(), val.copy())
    if not isinstance(found, tuple) or len(found) != 2:
        raise UnreadableError("The function should return two arrays: of the first month, second.")
    return [_column(one, len(trips)) for one, trips in zip(found, (train, val), strict=True)]


def _column(found: object, trips: int) -> np.ndarray:
    column = np.squeeze(np.asarray(found.toarray() if sparse.issparse(found) else found))
    if column.ndim != 1:
        raise UnreadableError("One column is asked for: a number for each trip.")
    if len(column) != trips:
        raise UnreadableError(
            f"There are {len(column)} numbers for {trips} trips. Are some left out, or have the "
            "months changed places?"
        )
    return column.astype(float)
