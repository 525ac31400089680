"""Make `taxi_lib/trips/synthetic_zones.csv` from real months.

    python tools/calibrate_synthetic.py FOLDER

FOLDER holds `green_tripdata_2021-*.parquet` and `green_tripdata_2023-*.parquet`. Only aggregates
are kept: four small tables with an empty line between them.
"""

import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize, root
from scipy.sparse.csgraph import shortest_path
from sklearn.linear_model import Ridge

from taxi_lib.trips import synthetic

# Before the first year and after the last, their own figures are used.
# Share of dispatched trips on 1 January: counted for 2021 and 2023, the others guessed from the
# sizes of the files (a row without a meter takes half the bytes). Slow: log of the minutes a mile
# takes, against the average. Luck: how much trips vary, against the average. Then thousands of
# rows in the published file of each month (guessed from June 2024 on); until March 2020 there were
# 200,000 and many more, of which 100,000 are enough to learn from.
YEARS = """year dispatched slow luck 1 2 3 4 5 6 7 8 9 10 11 12
2019 0.10 0.02 1.00 100 100 100 100 100 100 100 100 100 100 100 100
2020 0.25 0.00 1.00 100 100 100 36 57 63 72 81 88 95 89 83
2021 0.47 -0.04 1.04 77 65 84 87 88 87 84 83 96 111 108 100
2022 0.15 0.02 1.00 62 69 79 76 77 74 64 66 69 69 62 72
2023 0.068 0.02 1.00 68 65 72 65 69 66 61 61 65 66 64 64
2024 0.045 0.02 1.00 57 54 57 56 61 55 52 52 54 56 52 54
2025 0.045 0.02 1.00 50 50 50 50 50 50 50 50 50 50 50 50"""
# Dollars per start, mile, minute and click of the meter, at night, in the rush hour, for
# improvement, for the usual toll; a dispatcher's start, mile and minute, and the share of his
# rides with a tip. The meter's are the official ones, the dispatcher's were fitted.
TARIFFS = """tariff start mile minute click night rush improvement toll call call_mile call_minute \
call_tips
2009 2.5 2.5 0.5 0.5 0.5 1.0 0.3 6.12 13.5 1.8 0.1 0.25
2023 3.0 3.5 0.7 0.7 1.0 2.5 1.0 6.55 6.6 2.5 0.2 0.85"""
COLUMNS = """VendorID lpep_pickup_datetime lpep_dropoff_datetime store_and_fwd_flag RatecodeID
PULocationID DOLocationID passenger_count trip_distance fare_amount extra mta_tax tip_amount
tolls_amount ehail_fee improvement_surcharge total_amount payment_type trip_type
congestion_surcharge"""
METER_ONLY = """store_and_fwd_flag RatecodeID passenger_count payment_type trip_type
congestion_surcharge"""
AMOUNTS = """fare_amount extra mta_tax tip_amount tolls_amount improvement_surcharge
congestion_surcharge"""
# Per crowd, chosen so that as many pairs of zones are seen, and vary as much, as in the real
# months: spread of the logarithm of a pair's popularity, and of the miles on one pair of one mile.
PAIRS = {
    "street": {"favour": 0.85, "vary": 0.35},
    "dispatched": {"favour": 0.95, "vary": 0.5},
}
FIT = {"decay": 1.0, "reach": 1.0, "home": -0.5}  # where the search for the other numbers starts
ZONES = np.arange(1, 266)
KNOTS = np.array([0.1, 0.25, 0.5, 0.8, 1.2, 1.8, 2.7, 4, 6, 9, 13, 18, 26, 40])
FROM, TO = "PULocationID", "DOLocationID"


def read(folder: Path) -> pd.DataFrame:
    """All trips of 2021 and 2023, with the columns that the fits below need."""
    files = sorted(p for year in (2021, 2023) for p in folder.glob(f"green_tripdata_{year}-*"))
    frames = [pd.read_parquet(path).assign(month=path.stem[-7:]) for path in files]
    trips = pd.concat([f.drop(columns="ehail_fee") for f in frames], ignore_index=True)
    pickup = trips["lpep_pickup_datetime"]
    trips["minutes"] = (trips["lpep_dropoff_datetime"] - pickup).dt.total_seconds() / 60
    trips["hour"] = pickup.dt.hour
    trips["weekend"] = pickup.dt.day_of_week >= 5
    trips["date"] = pickup.dt.date
    trips["kind"] = np.where(trips["passenger_count"].isna(), "dispatched", "street")
    trips["year"] = trips["month"].str[:4]
    return trips


def rides(trips: pd.DataFrame) -> pd.DataFrame:
    """Return the trips that look like rides: the dirt is made separately."""
    ok = trips["minutes"].between(0.8, 180) & trips["trip_distance"].between(0.1, 60)
    return trips[ok]


def place_zones(trips: pd.DataFrame) -> pd.DataFrame:
    """Put every zone on a map on which distances are the miles driven (a scaling in 2-D)."""
    pairs = trips.groupby([FROM, TO])["trip_distance"].agg(["median", "size"]).reset_index()
    i, j = pairs[FROM].to_numpy() - 1, pairs[TO].to_numpy() - 1
    miles, weight = pairs["median"].to_numpy(), np.sqrt(pairs["size"].to_numpy())
    n = len(ZONES)

    # Classical scaling of the shortest paths is where the search starts.
    graph = np.full((n, n), np.inf)
    solid = (pairs["size"] >= 3).to_numpy() & (i != j)
    graph[i[solid], j[solid]] = miles[solid]
    graph = np.minimum(graph, graph.T)
    paths = shortest_path(np.where(np.isfinite(graph), graph, 0), directed=False)
    paths = np.where(np.isfinite(paths), paths, 20.0)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-centre @ paths**2 @ centre / 2)
    start = np.c_[vectors[:, -2:] * np.sqrt(values[-2:]), np.full(n, 1.0)]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        place = flat.reshape(n, 3)  # x, y and the zone's own size
        step = place[i, :2] - place[j, :2]
        square = (step**2).sum(1) + (place[i, 2] ** 2 + place[j, 2] ** 2) / 2
        error = 0.5 * np.log(square) - np.log(miles)
        push = (weight * error / square)[:, None]
        slope = np.zeros_like(place)
        np.add.at(slope, i, push * np.c_[2 * step, place[i, 2]])
        np.add.at(slope, j, push * np.c_[-2 * step, place[j, 2]])
        spare = place[:, 2] - 1  # a zone without trips of its own is about a mile wide
        slope[:, 2] += 0.2 * spare
        return (weight * error**2).sum() + 0.1 * (spare**2).sum(), slope.ravel()

    best = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 3000})
    place = best.x.reshape(n, 3)
    return pd.DataFrame({"x": place[:, 0], "y": place[:, 1], "size": np.abs(place[:, 2])}).round(2)


def count_zones(trips: pd.DataFrame) -> pd.DataFrame:
    """Share of the pick-ups and drop-offs in each zone, in millionths, per kind and year."""
    shares = {}
    for (kind, year), group in trips.groupby(["kind", "year"]):
        for way, column in (("from", FROM), ("to", TO)):
            share = group[column].value_counts(normalize=True).reindex(ZONES, fill_value=0)
            shares[f"{kind}_{year}_{way}"] = (share * 1e6).round().astype(int).to_numpy()
    return pd.DataFrame(shares)


def surcharged(trips: pd.DataFrame) -> np.ndarray:
    """1 for the zones whose trips pay the congestion surcharge (Manhattan below 96th Street)."""
    paid = trips["congestion_surcharge"].gt(0)[trips["kind"] == "street"]
    share = paid.groupby(trips[TO]).mean().reindex(ZONES, fill_value=0)
    return (share > 0.5).astype(int).to_numpy()


def fit_pace(trips: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Fit log minutes = curve of the miles + hour + zones + month, and the luck that is left."""
    logs = np.log(trips["trip_distance"].to_numpy())
    curve = np.array([np.interp(logs, np.log(KNOTS), row) for row in np.eye(len(KNOTS))]).T
    street = (trips["kind"] == "street").to_numpy()[:, None]
    far = synthetic.farness(trips["trip_distance"].to_numpy())[:, None]
    clock = (trips["hour"] + 24 * trips["weekend"]).to_numpy()[:, None] == np.arange(48)
    blocks = [curve * street, curve * ~street, clock * (1 - far), clock * far]
    for column, values in ((FROM, ZONES), (TO, ZONES), ("month", trips["month"].unique())):
        blocks.append(trips[column].to_numpy()[:, None] == np.asarray(values))
    design, target = np.hstack(blocks).astype(np.float32), np.log(trips["minutes"].to_numpy())
    model = Ridge(3.0, fit_intercept=False).fit(design, target)
    ends = np.cumsum([block.shape[1] for block in blocks])[:-1]
    by_street, by_call, near, far, start, end, month = np.split(model.coef_, ends)

    # Hours count against the average hour; what that leaves out goes into the curve.
    share = clock.mean(axis=0)
    base = month.mean() + np.interp(synthetic.farness(KNOTS), [0, 1], [near @ share, far @ share])
    near, far = near - near @ share, far - far @ share
    luck = pd.Series(target - model.predict(design))
    band = np.abs(np.log(KNOTS) - logs[:, None]).argmin(1)
    spread = luck.groupby([trips["kind"].to_numpy(), band]).quantile([0.16, 0.84]).unstack()
    spread = ((spread[0.84] - spread[0.16]) / 2).unstack(0)
    own = np.sqrt(spread**2 - synthetic.DELAY**2)  # without what is particular to the pair
    pace = {
        "log_miles": np.log(KNOTS),
        "street_log_minutes": by_street + base,
        "dispatched_log_minutes": by_call + base,
        "street_luck": own["street"].to_numpy(),
        "dispatched_luck": own["dispatched"].to_numpy(),
    }
    hours = {"near_weekday": near[:24], "near_weekend": near[24:]}
    hours |= {"far_weekday": far[:24], "far_weekend": far[24:]}
    zones = {"slow_from": start, "slow_to": end}
    return tuple(pd.DataFrame(table).round(3) for table in (pace, zones, hours))


def fit_rhythm(trips: pd.DataFrame) -> pd.DataFrame:
    """Pick-ups per hour, relative to that kind's mean hour, on weekdays and at weekends."""
    columns = {}
    for kind, group in trips.groupby("kind"):
        days = group.groupby("weekend")["date"].nunique()
        rate = (
            group.groupby(["weekend", "hour"])
            .size()
            .unstack("hour", fill_value=0)
            .div(days, axis=0)
        )
        for weekend, name in ((False, "weekday"), (True, "weekend")):
            columns[f"{kind}_{name}"] = (rate.loc[weekend] / rate.to_numpy().mean()).to_numpy()
    return pd.DataFrame(columns).round(3)


def fit_gravity(trips: pd.DataFrame, zones: pd.DataFrame) -> pd.DataFrame:
    """Fit how demand falls with the miles, so that three averages of the trips come out right."""
    miles = synthetic.pair_miles(zones)
    traits = np.stack([np.log(miles), miles / 10, np.eye(len(ZONES))])

    def miss(trial: np.ndarray, crowd: pd.Series, want: np.ndarray) -> np.ndarray:
        crowd[list(FIT)] = trial
        return (synthetic.pair_shares(zones, crowd) * traits).sum((1, 2)) - want

    crowds = []
    for (kind, year), group in trips.groupby(["kind", "year"]):
        want = traits[:, group[FROM] - 1, group[TO] - 1].mean(axis=1)
        want[0] = np.log(group["trip_distance"]).mean()
        if kind == "dispatched":  # luck lengthens the average trip by about 2 percent
            want[1] = group["trip_distance"].mean() / 10 / 1.02
        crowd = pd.Series(PAIRS[kind] | FIT, name=f"{kind}_{year}")
        root(miss, list(FIT.values()), args=(crowd, want))
        crowds.append(crowd)
    return pd.DataFrame(crowds).round(3).reset_index(names="crowd")


def describe_columns() -> pd.DataFrame:
    """List the columns of the raw file: which only a meter knows, which add up to the total."""
    columns = pd.Series(COLUMNS.split(), name="column")
    return pd.DataFrame(
        {
            "column": columns,
            "meter_only": columns.isin(METER_ONLY.split()).astype(int),
            "amount": columns.isin(AMOUNTS.split()).astype(int),
        }
    )


def main(folder: Path) -> None:
    """Measure, and write the tables one after the other."""
    trips = read(folder)
    clean = rides(trips)
    pace, slow, clock = fit_pace(clean)
    zones = pd.concat([pd.Series(ZONES, name="zone"), place_zones(clean), slow], axis=1)
    zones["surcharge"] = surcharged(trips)
    zones = pd.concat([zones, count_zones(trips[trips["minutes"].between(0.8, 180)])], axis=1)
    hours = pd.concat([pd.Series(range(24), name="hour"), fit_rhythm(trips), clock], axis=1)
    gravity = fit_gravity(clean, zones.set_index("zone"))
    given = [pd.read_csv(io.StringIO(text), sep=" ") for text in (YEARS, TARIFFS)]
    tables = [*given, describe_columns(), zones, hours, pace, gravity]
    text = "\n".join(table.to_csv(index=False, lineterminator="\n") for table in tables)
    synthetic.TABLES.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
