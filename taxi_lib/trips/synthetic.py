"""A synthetic month of green-taxi trips, with the distributions and the errors of real months.

There are two kinds of trips. *Street* trips are metered and start in a few neighbourhoods;
*dispatched* trips go all over the city, and lack the columns that only a meter fills.
`synthetic_zones.csv` has what was measured on real months (`tools/calibrate_synthetic.py` makes
it); the shares in the code below were counted in the files of early 2021 and early 2023.
"""

import calendar
import functools
import io
from pathlib import Path

import numpy as np
import pandas as pd

TABLES = Path(__file__).with_name("synthetic_zones.csv")


@functools.cache
def tables() -> dict[str, pd.DataFrame]:
    """Return the calibration's tables, each by the name of its first column."""
    parts = TABLES.read_text(encoding="utf-8").split("\n\n")
    tables = (pd.read_csv(io.StringIO(part), index_col=0) for part in parts)
    return {table.index.name: table for table in tables}


@functools.cache
def quirks() -> np.ndarray:
    """Draw four standard normal numbers for every pair of zones, the same for every month."""
    return np.random.default_rng(265).normal(size=(4, 265, 265))


def pair_miles(zones: pd.DataFrame) -> np.ndarray:
    """Return the miles on the map from each zone (row) to each zone (column)."""
    x, y, size = (zones[name].to_numpy() for name in ("x", "y", "size"))
    square = np.subtract.outer(x, x) ** 2 + np.subtract.outer(y, y) ** 2
    return np.sqrt(square + np.add.outer(size**2, size**2) / 2)


def farness(miles: np.ndarray) -> np.ndarray:
    """Return 0 up to a mile and 1 from 8 miles: the hour slows far trips differently."""
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


Rng = np.random.Generator
# How much longer and slower than on the map a pair of zones is: standard deviations of the
# logarithms, both measured.
DETOUR, DELAY = 0.17, 0.13


def make_month(month: str) -> pd.DataFrame:
    """Make up a month as the TLC would publish it.

    Parameters
    ----------
    month : str
        Such as ``"2021-01"``, any month from 2009-01 to 2099-12.

    Returns
    -------
    pandas.DataFrame, shape (n_trips, 20)
        The columns and types of the real file: New York times, miles, dollars. About as many rows
        as the real month has, but 100,000 before April 2020, when there were far more.
        The result for a month is always the same.
    """
    year, number = map(int, month.split("-"))
    rng = np.random.default_rng([year, number])
    first, years, time = pd.Timestamp(year, number, 1), tables()["year"], year + (number - 1) / 12
    rows = 1000 * int(years.loc[np.clip(year, *years.index[[0, -1]]), str(number)])
    dispatched = round(rows * np.interp(time, years.index, years["dispatched"]))
    crowds = {"street": rows - dispatched, "dispatched": dispatched}
    trips = pd.concat([ride(rng, *crowd, year, number) for crowd in crowds.items()])
    trips = trips.reset_index(drop=True)
    _give_up(rng, trips, time)
    tariff = tables()["tariff"].loc[:year].iloc[-1]
    _charge(rng, trips, tariff)
    _describe(rng, trips, tariff["call_tips"])
    _soil(rng, trips)
    _date(rng, trips, first)
    return _publish(rng, trips)


def share_synthetic(trips: pd.DataFrame, month: str) -> float:
    """Return which share of trips, 0 to 1, are trips of :func:`make_month` for that month."""
    return float(np.isin(_rides(trips), _synthetic_rides(month)).mean())


@functools.cache
def _synthetic_rides(month: str) -> np.ndarray:
    return _rides(make_month(month).rename(columns={"lpep_pickup_datetime": "pickup_datetime"}))


def _rides(trips: pd.DataFrame) -> np.ndarray:
    """Return a number for the time and the zones of each trip: real trips hardly share any."""
    seconds = trips["pickup_datetime"].to_numpy().astype("M8[s]").astype("int64")
    start, end = (trips[name].to_numpy() for name in ("PULocationID", "DOLocationID"))
    return (seconds * 1024 + start) * 1024 + end


def _draw(rng: Rng, weights: np.ndarray, n: int) -> np.ndarray:
    """Draw positions in the flattened weights, each as often as it weighs."""
    edges = weights.ravel().cumsum()
    return np.searchsorted(edges, rng.random(n) * edges[-1], side="right")


def _some(rng: Rng, chance: np.ndarray) -> np.ndarray:
    """Pick the positions of some rows, each with its chance."""
    return np.flatnonzero(rng.random(len(chance)) < chance)


def ride(rng: Rng, kind: str, n: int, year: int, number: int) -> pd.DataFrame:
    """Say who rides when, from where to where, how far and how long: clean trips."""
    zones, years, time = tables()["zone"], tables()["year"], year + (number - 1) / 12
    hour, slow = _when(rng, kind, n, year, number)
    crowds = [tables()["crowd"].loc[f"{kind}_{when}"] for when in (2021, 2023)]
    early, late = (pair_shares(zones, crowd) for crowd in crowds)
    pair = _draw(rng, early + (late - early) * np.clip((time - 2021) / 2, 0, 1), n)
    start, end = np.divmod(pair, len(zones))
    usual = pair_miles(zones).ravel()[pair] * np.exp(DETOUR * quirks()[2].ravel()[pair])
    # On one pair short distances vary most; a trip that ends where it began has any length.
    vary = np.where(start == end, 0.6, crowds[0]["vary"] / np.maximum(usual, 0.6) ** 0.6)
    miles = usual * np.exp(vary * rng.standard_t(4, n).clip(-6, 6) / 1.13)
    slow = slow[0] + (slow[1] - slow[0]) * farness(miles)
    slow += DELAY * quirks()[3].ravel()[pair] + np.interp(time, years.index, years["slow"])
    slow += zones["slow_from"].to_numpy()[start] + zones["slow_to"].to_numpy()[end]
    pace, logs = tables()["log_miles"], np.log(np.maximum(miles, 0.01))
    usual, luck = (
        np.interp(logs, pace.index, pace[f"{kind}_{which}"]) for which in ("log_minutes", "luck")
    )
    luck *= np.interp(time, years.index, years["luck"]) * rng.standard_t(5, n) / 1.1
    ride = {"street": kind == "street", "seconds": hour * 3600 + rng.integers(3600, size=n)}
    places = {"PULocationID": start + 1, "DOLocationID": end + 1, "trip_distance": miles.round(2)}
    return pd.DataFrame(ride | places | {"minutes": np.exp(usual + slow + luck)})


def _when(rng: Rng, kind: str, n: int, year: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw hours of the month, and say how slow (log) near and far trips are in them."""
    first, days = calendar.monthrange(year, number)
    weekend, hours = ((first + np.arange(days)) % 7 >= 5)[:, None], tables()["hour"]
    rate, near, far = (
        np.where(weekend, hours[f"{name}_weekend"], hours[f"{name}_weekday"])
        for name in (kind, "near", "far")
    )
    # Days differ by their weather, in demand and in pace, alike for both crowds.
    weather = np.random.default_rng([number, year]).normal(size=(2, days, 1))
    hour = _draw(rng, rate * np.exp(0.15 * weather[0]), n)
    return hour, (np.stack([near, far]) + 0.05 * weather[1]).reshape(2, -1)[:, hour]


def _give_up(rng: Rng, trips: pd.DataFrame, time: float) -> None:
    """End some hails before they begin: the meter runs for seconds, mostly at the kerb."""
    rows = _some(rng, trips["street"] * np.interp(time, (2021, 2023), (0.033, 0.026)))
    n = len(rows)
    trips.loc[rows, "minutes"] = rng.exponential(0.28, n).clip(max=0.98) * (rng.random(n) > 0.02)
    trips.loc[rows, "trip_distance"] = (rng.exponential(0.1, n) * (rng.random(n) > 0.62)).round(2)
    stay = rows[rng.random(n) < 0.84]
    trips.loc[stay, "DOLocationID"] = trips.loc[stay, "PULocationID"]


def _charge(rng: Rng, trips: pd.DataFrame, tariff: pd.Series) -> None:
    """Charge by the meter, by the dispatcher's price, or a lump sum that was negotiated."""
    n, street = len(trips), trips["street"]
    miles, minutes = trips["trip_distance"], trips["minutes"]
    trips["lump"] = lump = street & (rng.random(n) < np.where(minutes < 1, 0.43, 0.02))
    start, mile, minute, click = tariff[:4]
    # A meter counts miles or minutes, whichever run faster: about 4/5 of one, 2/3 of the other.
    clicks = (0.8 * mile * miles + 0.67 * minute * minutes - 0.6) / click + rng.normal(0, 0.5, n)
    called = tariff["call"] + tariff["call_mile"] * miles + tariff["call_minute"] * minutes
    called = (called + rng.normal(0, 5.5, n)).clip(2 * start)
    fare = called.where(~street, start + click * clicks.round().clip(0))
    trips["fare_amount"] = fare.where(~lump, rng.lognormal(np.log(6 * start), 0.6, n)).round(2)
    clock, metered = trips["seconds"] // 3600 % 24, street & ~lump
    busy = np.select([(clock >= 20) | (clock < 6), clock >= 16], tariff[["night", "rush"]], 0.0)
    trips["extra"] = np.where(street, busy * metered, 2.75 * (rng.random(n) < 0.3))
    trips["mta_tax"] = 0.5 * metered
    toll = rng.random(n) < np.interp(miles, (3, 6, 10, 16, 24), (0.01, 0.06, 0.2, 0.55, 0.75))
    trips["tolls_amount"] = toll * tariff["toll"]
    trips["improvement_surcharge"] = tariff["improvement"]
    south = tables()["zone"]["surcharge"].to_numpy()
    crosses = south[trips["PULocationID"] - 1] | south[trips["DOLocationID"] - 1]
    trips["congestion_surcharge"] = 2.75 * (street & (crosses == 1))


def _describe(rng: Rng, trips: pd.DataFrame, call_tips: float) -> None:
    """Say who rode and how they paid; only cards, and dispatchers, leave a trace of the tip."""
    n, street = len(trips), trips["street"]
    trips["VendorID"] = 2 - (rng.random(n) < np.where(street, 0.16, 0.01)).astype(np.int64)
    trips["RatecodeID"], trips["trip_type"] = 1.0 + 4 * trips["lump"], 1.0 + trips["lump"]
    people = [0.005, 0.87, 0.072, 0.013, 0.005, 0.022, 0.013]  # none to six
    trips["passenger_count"] = rng.choice(7, n, p=people).astype(float)
    trips["store_and_fwd_flag"] = np.where(rng.random(n) < 0.005, "Y", "N")
    # By card, in cash, for free, in dispute.
    trips["payment_type"] = pay = rng.choice([1.0, 2, 3, 4], n, p=[0.625, 0.366, 0.007, 0.002])
    tips = rng.random(n) < np.where(street, 0.8 * (pay == 1), call_tips)
    share = rng.choice([0.1, 0.2, 0.25, 0.3], n, p=[0.15, 0.6, 0.15, 0.1])
    trips["tip_amount"] = (tips * share * trips["fare_amount"]).round(2)


def _soil(rng: Rng, trips: pd.DataFrame) -> None:
    """Lose some distances, make others absurd, and leave some meters running."""
    street, minutes = trips["street"].to_numpy(), trips["minutes"].to_numpy(copy=True)
    lost = np.where(street, 0.028 * minutes / minutes[street].mean(), 0.02)  # of long rides first
    trips.loc[_some(rng, lost * (minutes >= 1)), "trip_distance"] = 0.0
    rows = rng.choice(np.flatnonzero(~street), rng.integers(28, 66), replace=False)
    absurd = 100 + rng.lognormal(np.log(9000), 1.6, len(rows))
    absurd[absurd > 245_000] /= 10  # the record is 244,152 miles
    absurd[0] = rng.uniform(90_000, 245_000)
    trips.loc[rows, "trip_distance"] = absurd.round(2)
    rows = _some(rng, 0.0025 * street)  # stopped when the day was over
    minutes[rows] = 1440 - rng.exponential(35, len(rows)).clip(max=1000)
    rows = _some(rng, 0.002 * street)  # stopped when somebody noticed
    minutes[rows] = np.exp(rng.uniform(np.log(120), np.log(1400), len(rows)))
    trips["minutes"] = minutes


def _date(rng: Rng, trips: pd.DataFrame, first: pd.Timestamp) -> None:
    """Write the times as clocks show them, a few in the month before or in 2009."""
    street, seconds = trips["street"].to_numpy(), trips["seconds"].to_numpy(copy=True)
    rows = _some(rng, street * 8 / street.sum())
    seconds[rows] = -rng.integers(1, 3 * 86400, len(rows))
    tick = np.where(street, 1, 60)  # a dispatcher's clock shows minutes
    pickup = first.to_datetime64() + (seconds // tick * tick).astype("m8[s]")
    rows = _some(rng, street * 1.5 / street.sum())
    pickup[rows] = np.datetime64("2009-01-01") + rng.integers(72000, size=len(rows)).astype("m8[s]")
    length = (trips["minutes"].to_numpy() * 60 / tick).round() * tick
    trips["lpep_pickup_datetime"] = pickup.astype("M8[us]")
    trips["lpep_dropoff_datetime"] = (pickup + length.astype("m8[s]")).astype("M8[us]")


def _publish(rng: Rng, trips: pd.DataFrame) -> pd.DataFrame:
    """Take some fares back, add up, and order rows and columns the way the real files do."""
    columns = tables()["column"]
    amounts = columns.index[columns["amount"] == 1]
    rows = _some(rng, trips["street"] * np.where(trips["minutes"] < 1, 0.05, 0.0015))
    trips.loc[rows, ["tip_amount", "payment_type"]] = (0.0, 3.0)  # type 3: no charge
    back = trips.loc[rows]
    trips = pd.concat([trips, back.assign(**-back[amounts])], ignore_index=True)
    trips["total_amount"] = trips[amounts].sum(axis=1).round(2)
    trips["ehail_fee"] = None
    trips.loc[~trips["street"], columns.index[columns["meter_only"] == 1]] = np.nan
    # In order of the day, more or less, and dispatched trips last.
    late = trips["seconds"] + rng.normal(0, 20_000, len(trips))
    order = np.lexsort([late, ~trips["street"]])
    return trips.iloc[order][columns.index].reset_index(drop=True)
