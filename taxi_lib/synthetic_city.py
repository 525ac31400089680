"""The made-up city: its zones, how far they are apart, and who goes from where to where.

What was measured on real months is in ``synthetic_zones.csv``.
"""

import functools
import io
from pathlib import Path

import numpy as np
import pandas as pd

TABLES = Path(__file__).with_name("synthetic_zones.csv")


@functools.cache
def tables() -> dict[str, pd.DataFrame]:
    """Read the calibration, one table after the other, each known by its first column."""
    parts = TABLES.read_text(encoding="utf-8").split("\n\n")
    tables = (pd.read_csv(io.StringIO(part), index_col=0) for part in parts)
    return {table.index.name: table for table in tables}


@functools.cache
def quirks() -> np.ndarray:
    """Draw four standard normal surprises for every pair of zones, the same for every month."""
    return np.random.default_rng(265).normal(size=(4, 265, 265))


def pair_miles(zones: pd.DataFrame) -> np.ndarray:
    """Return the miles on the map from each zone (row) to each zone (column)."""
    x, y, size = (zones[name].to_numpy() for name in ("x", "y", "size"))
    square = np.subtract.outer(x, x) ** 2 + np.subtract.outer(y, y) ** 2
    return np.sqrt(square + np.add.outer(size**2, size**2) / 2)


def farness(miles: np.ndarray) -> np.ndarray:
    """Return 0 up to a mile, 1 from 8 miles: far trips suffer differently from the hour."""
    return np.interp(np.log(np.maximum(miles, 0.1)), np.log([1, 8]), [0.0, 1.0])


def pair_shares(zones: pd.DataFrame, crowd: pd.Series) -> np.ndarray:
    """Return the share of a crowd's trips from each zone (row) to each zone (column)."""
    miles = pair_miles(zones)
    whims = quirks()[int(crowd.name.startswith("dispatched"))]
    pull = crowd["favour"] * whims - crowd["reach"] * miles / 10
    pull[np.diag_indices_from(pull)] = crowd["home"]
    pull[263, 263] = 9  # zone 264, "unknown", is nearly always unknown at both ends
    shares = np.exp(pull) / miles ** crowd["decay"]
    start, end = (zones[f"{crowd.name}_{way}"].to_numpy() / 1e6 for way in ("from", "to"))
    for _ in range(10):  # until the rows and columns add up to the zones' own shares
        shares *= (start / np.maximum(shares.sum(axis=1), 1e-300))[:, None]
        shares *= end / np.maximum(shares.sum(axis=0), 1e-300)
    return shares
