"""A month read, checked and encoded: the workbook's way against the course's.

A synthetic month stands in where the real one cannot be had; the table names which it was.
"""

import sys
from typing import TYPE_CHECKING

from benchmarks.paired import Row, in_turn, main, program, seconds

if TYPE_CHECKING:  # imported in functions, because `program` needs a small process
    from scipy.sparse import csr_matrix

    from taxi_lib.trips.month_file import MonthFile

MONTH = "2021-01"


def ours(file: "MonthFile") -> "csr_matrix":
    """Read the five columns that are needed, check and clean them, encode whole columns."""
    from taxi_lib.features import add_pair, encode_pairs
    from taxi_lib.trips.data import read_trips

    trips, _ = read_trips(file)
    return encode_pairs().fit_transform(add_pair(trips))


def theirs(file: "MonthFile") -> "csr_matrix":
    """Read every column, count minutes row by row, encode a list of dicts; check nothing."""
    import pandas as pd
    from sklearn.feature_extraction import DictVectorizer

    trips = pd.read_parquet(file.path)
    gap = trips["lpep_dropoff_datetime"] - trips["lpep_pickup_datetime"]
    trips["duration"] = gap.apply(lambda td: td.total_seconds() / 60)
    trips = trips[(trips["duration"] >= 1) & (trips["duration"] <= 60)].copy()
    zones = ["PULocationID", "DOLocationID"]
    trips[zones] = trips[zones].astype(str)
    trips["PU_DO"] = trips["PULocationID"] + "_" + trips["DOLocationID"]
    rows = trips[["PU_DO", "trip_distance"]].to_dict(orient="records")
    return DictVectorizer().fit_transform(rows)


WAYS = {"ours": ours, "theirs": theirs}


def fetch(month: str = MONTH) -> "MonthFile":
    """Return the month, real if it can be had."""
    from taxi_lib.trips.sources import fetch_months

    return fetch_months(month)[0]


def check_equal(file: "MonthFile") -> None:
    """Refuse to compare two ways that make different matrices."""
    left, right = ours(file), theirs(file)
    if left.shape != right.shape or left.nnz != right.nnz or (left != right).nnz:
        sys.exit(f"The two ways make different matrices of {file.path.name}.")


def measure(quick: bool) -> list[Row]:
    """Measure the memory of processes that do nothing else, then the seconds in this one."""
    one = ["-m", "benchmarks.data_path"]
    memory = in_turn(
        1 if quick else 5, *(lambda way=way: program([*one, way]).memory for way in WAYS)
    )
    file = fetch()
    check_equal(file)
    ways = (lambda way=way: seconds(lambda: way(file)) for way in WAYS.values())
    times = in_turn(1 if quick else 15, *ways)
    what = f"read, check and encode {MONTH} ({'real' if file.is_real else 'made up'})"
    return [
        Row(what, "the course's way", *times, bound=1 / 8),
        Row("its peak memory", "the course's way", *memory, bound=1, unit="MB"),
    ]


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in WAYS:  # one way, so that its memory can be seen
        WAYS[sys.argv[1]](fetch())
    else:
        main(measure)
