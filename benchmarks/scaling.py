"""Lesson 17's work on more and more rows: DuckDB, which streams, against pandas.

Both programs are the lesson's own files. Rows come from one month, its days in a new order in each
part; what the two write about pairs of zones must be equal. Memory is what a program needs beside
its libraries.
"""

import json
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat

from benchmarks.paired import Row, main, program

LESSON = Path(__file__).resolve().parents[1] / "notebooks" / "17_scaling_out.ipynb"
FILES = ("measure", "with_pandas", "with_duckdb")
MONTH, SEED = "2021-01", 42
LIMIT = "200MB"
WAYS = ("duckdb", "pandas")
# Beyond its tables DuckDB needs room for what it decodes and compresses at the moment.
MOST = 400.0  # MB


@dataclass(frozen=True)
class Used:
    """What a program needed: seconds, and memory in MB, both without its imports."""

    seconds: float
    memory: float


def write_programs(folder: Path) -> None:
    """Write the files that the lesson shows."""
    cells = [cell.source for cell in nbformat.read(LESSON, as_version=4).cells]
    for name in FILES:
        parts = [c.split("\n", 1)[1] for c in cells if re.match(rf"%%writefile.*/{name}\.py", c)]
        (folder / f"{name}.py").write_text("\n".join(parts), encoding="utf-8")


def write_parts(folder: Path, count: int, rows: int) -> list[Path]:
    """Write so many files of so many rows, the days of a month in a new order in each."""
    import numpy as np
    import pandas as pd

    from taxi_lib.trips.sources import fetch_months

    columns = ["lpep_pickup_datetime", "lpep_dropoff_datetime"]
    columns += ["PULocationID", "DOLocationID", "trip_distance"]
    trips = pd.read_parquet(fetch_months(MONTH)[0].path, columns=columns)
    days = [day for _, day in trips.groupby(trips[columns[0]].dt.date)]
    paths = [folder / f"part-{number:03d}.parquet" for number in range(count)]
    for number, path in enumerate(paths):
        rng = np.random.default_rng([SEED, number])
        again = range(math.ceil(rows / len(trips)))
        order = [days[n] for _ in again for n in rng.permutation(len(days))]
        pd.concat(order).head(rows).to_parquet(path, index=False)
    return paths


def use(way: str, folder: Path, parts: list[Path]) -> Used:
    """Run one of the programs over some parts, and return what it needed.

    A small process starts it: a process inherits the memory mark of the one that starts it.
    """
    between = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))"
    limit = [LIMIT] if way == "duckdb" else []
    done = program(["-c", between, folder / f"with_{way}.py", folder / way, *limit, *parts])
    found = json.loads(done.printed.splitlines()[-1])
    return Used(found["seconds"], found["MB"])


def check_equal(folder: Path) -> None:
    """Refuse to compare two ways that count or add up differently."""
    import pandas as pd

    ours, theirs = (
        pd.read_parquet(folder / f"{way}.pairs").set_index("pair").sort_index() for way in WAYS
    )
    furthest = (ours["sum"] / theirs["sum"] - 1).abs().max()
    if not ours["count"].equals(theirs["count"]) or furthest > 1e-9:
        sys.exit("DuckDB and pandas make different sums of the same rows.")


def exponent(rows: list[int], values: list[float]) -> float:
    """Return the slope between the two largest sizes, on logarithmic axes."""
    return math.log(values[-1] / values[-2]) / math.log(rows[-1] / rows[-2])


def measure_sizes(folder: Path, counts: list[int], size: int, rounds: int) -> dict[int, list[Row]]:
    """Return the rows of the table on seconds and on memory, by how many rows were worked on."""
    write_programs(folder)
    parts, found = write_parts(folder, max(counts), size), {}
    for count in counts:
        used: dict[str, list[Used]] = {way: [] for way in WAYS}
        for _ in range(rounds):  # the ways take turns
            for way in WAYS:
                used[way].append(use(way, folder, parts[:count]))
        check_equal(folder)
        seconds, memory = (
            [[getattr(one, what) for one in used[way]] for way in WAYS]
            for what in ("seconds", "memory")
        )
        rows = count * size
        found[rows] = [
            Row(f"{rows:,} rows cleaned and added up by DuckDB", "pandas", *seconds),
            Row(f"its memory for {rows:,} rows", "pandas", *memory, unit="MB"),
        ]
    return found


def exponents(found: dict[int, list[Row]]) -> list[Row]:
    """Return how time and memory grow with the rows, less how they grow with pandas."""
    rows, lines = list(found), []
    for place, what in enumerate(("time", "memory")):
        medians = [found[n][place].medians for n in rows]
        ours, theirs = (exponent(rows, [pair[way] for pair in medians]) for way in (0, 1))
        bound = {"time": 0.2, "memory": -0.5}[what]
        name = f"DuckDB's exponent of {what} over rows"
        lines.append(Row(name, "pandas", [ours], [theirs], "difference", bound, unit=""))
    return lines


def measure(quick: bool) -> list[Row]:
    """Measure three sizes, and what the largest one says about more."""
    counts, size, rounds = ([1, 3, 6], 5000, 1) if quick else ([1, 10, 30], 1_000_000, 3)
    with TemporaryDirectory(prefix="bench-") as name:
        found = measure_sizes(Path(name), counts, size, rounds)
    largest = found[max(found)][1]
    bounded = Row("the most of it", "pandas", largest.ours, largest.theirs, "value", MOST, "MB")
    return [row for rows in found.values() for row in rows] + [bounded, *exponents(found)]


if __name__ == "__main__":
    main(measure)
