"""A synthetic month of for-hire vehicles (FHV): cars that a base sends, without a meter.

No real month of them was measured. What is known of early 2021 went in: most pick-ups and one
drop-off in six have no zone, there is no distance, and 96 % of the trips take 1 to 60 minutes.
Zones and durations are those of the green taxis that a dispatcher sends.
"""

import numpy as np
import pandas as pd

from taxi_lib.trips.synthetic import ride

_TRIPS = 100_000  # a tenth of a real month: enough to learn from, and quick
_BASES = 300


def make_fhv_month(month: str) -> pd.DataFrame:
    """Make up a month of FHV trips as the TLC would publish it.

    Parameters
    ----------
    month : str
        Such as ``"2021-01"``, any month from 2009-01 to 2099-12.

    Returns
    -------
    pandas.DataFrame, shape (100000, 7)
        The columns of the real file, with its spelling of them; times are New York times.
        The result for a month is always the same.
    """
    year, number = map(int, month.split("-"))
    rng = np.random.default_rng([year, number, 1])  # another row of numbers than the green month's
    trips = ride(rng, "dispatched", _TRIPS, year, number).sort_values("seconds", kind="stable")
    minutes = _soiled(rng, trips["minutes"].to_numpy(copy=True))
    begin = pd.Timestamp(year, number, 1) + pd.to_timedelta(trips["seconds"], unit="s")
    end = begin + pd.to_timedelta(minutes * 60 // 1, unit="s")
    base = (_BASES * rng.random(_TRIPS) ** 2).astype(int)  # a few bases send most of the cars
    # A base records where its cars pick people up, or it does not.
    records = np.random.default_rng(_BASES).random(_BASES) < 0.17
    started, ended = records[base], rng.random(_TRIPS) < 5 / 6
    names = np.array([f"B{10 * n + 13:05}" for n in range(_BASES)])
    columns = {
        "dispatching_base_num": names[base],
        "pickup_datetime": begin.to_numpy("M8[us]"),
        "dropOff_datetime": end.to_numpy("M8[us]"),
        "PUlocationID": trips["PULocationID"].where(started).to_numpy(),
        "DOlocationID": trips["DOLocationID"].where(ended).to_numpy(),
        "SR_Flag": np.full(_TRIPS, None),
        "Affiliated_base_number": names[base],
    }
    return pd.DataFrame(columns)


def _soiled(rng: np.random.Generator, minutes: np.ndarray) -> np.ndarray:
    """End some trips before they begin, and leave others running for hours or days."""
    luck = rng.random(len(minutes))
    minutes[luck < 0.012] = rng.uniform(0, 1, (luck < 0.012).sum())
    late = luck > 0.995
    minutes[late] = np.exp(rng.uniform(np.log(61), np.log(3000), late.sum()))
    return minutes
