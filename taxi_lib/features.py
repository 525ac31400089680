"""The features of a trip, as scikit-learn transformers that are part of a model's pipeline."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, TargetEncoder

from taxi_lib.errors import DataError

PAIR_COLUMNS = ["PU_DO", "trip_distance"]
ZONE_COLUMNS = ["PULocationID", "DOLocationID", "trip_distance"]
PLACES = ["PULocationID", "DOLocationID", "pair"]
# The same places, but hailed and dispatched trips apart.
PLACES_BY_KIND = [f"{place}_kind" for place in PLACES]
RIDE_COLUMNS = [*PLACES, *PLACES_BY_KIND, "trip_distance", "hour", "weekday", "dispatched"]
MOST_MILES = 40  # about the longest way through the city; a few meters record thousands
# A taxi knows these only when the passenger has arrived. Not so the distance, although the meter
# records it then, too: a route planner says nearly the same before the trip begins.
KNOWN_AFTERWARDS = frozenset(
    {
        *("duration", "dropoff_datetime", "lpep_dropoff_datetime", "payment_type"),
        *("fare_amount", "tip_amount", "tolls_amount", "total_amount"),
        *("extra", "mta_tax", "improvement_surcharge", "congestion_surcharge"),
    }
)


def add_pair(trips: pd.DataFrame) -> pd.DataFrame:
    """Return the trips with their pair of zones, as the text ``PU_DO``.

    Parameters
    ----------
    trips : pandas.DataFrame, shape (n, k)
        With whole-numbered ``PULocationID`` and ``DOLocationID``.

    Returns
    -------
    pandas.DataFrame, shape (n, k + 1)
        A copy with the new column.

    Examples
    --------
    >>> trips = pd.DataFrame({"PULocationID": [74], "DOLocationID": [75]})
    >>> add_pair(trips)["PU_DO"].tolist()
    ['74_75']
    """
    pair = trips["PULocationID"].astype(str) + "_" + trips["DOLocationID"].astype(str)
    return trips.assign(PU_DO=pair)


def count_unseen(train: pd.DataFrame, val: pd.DataFrame) -> int:
    """Return how many validation trips have a ``PU_DO`` that no training trip has."""
    return int((~val["PU_DO"].isin(train["PU_DO"])).sum())


def keep_zeros() -> Pipeline:
    """Return a transformer from one column to a sparse matrix that stores its zeros.

    Sparse matrices usually leave zeros out, and XGBoost treats values that are left out as
    missing: a trip of 0 miles would become a trip of unknown length.

    It consists of functions of NumPy and SciPy only, so that models with it can be loaded without
    ``taxi_lib``. :func:`scipy.sparse.block_diag` stores every value of the blocks that it puts on
    a diagonal; here the column is the only block.
    """
    return make_pipeline(
        FunctionTransformer(np.expand_dims, kw_args={"axis": 0}),  # a list of one block
        FunctionTransformer(sparse.block_diag, kw_args={"format": "csr"}),
    )


def store_zeros(column: pd.DataFrame) -> sparse.csr_matrix:
    """Return a column as a sparse matrix with its zeros, for models of an earlier version."""
    return keep_zeros().fit_transform(column)


def encode_pairs() -> ColumnTransformer:
    """Return the course's features: the pair one-hot encoded, and the distance.

    The matrix equals that of the course's ``DictVectorizer``, value for value: a column for each
    pair in the training trips, in alphabetical order, then the distance. Other pairs are all zeros.
    """
    return make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["PU_DO"]),
        (keep_zeros(), ["trip_distance"]),
        sparse_threshold=1.0,  # also for a few trips
    )


def encode_zones() -> ColumnTransformer:
    """Return three numbers for tree models: the two zones and the distance."""
    return make_column_transformer(("passthrough", ZONE_COLUMNS))


def describe_rides(trips: pd.DataFrame) -> pd.DataFrame:
    """Return what the workbook's own model takes: numbers that are known when a trip begins.

    Parameters
    ----------
    trips : pandas.DataFrame, shape (n, k)
        With ``PULocationID``, ``DOLocationID``, ``trip_distance`` (miles) and ``pickup_datetime``.

    Returns
    -------
    pandas.DataFrame, shape (n, 10)
        ``RIDE_COLUMNS``: the two zones and their ``pair``; the same three with the kind of trip
        in their last digit; the miles; ``hour`` (0 to 24, with fraction), ``weekday`` (Monday is
        0) and ``dispatched`` (1, or 0 for a trip hailed in the street).

    Examples
    --------
    >>> trip = {"PULocationID": 74, "DOLocationID": 75, "trip_distance": 1.5}
    >>> trips = pd.DataFrame([trip | {"pickup_datetime": pd.Timestamp("2021-01-05 08:30")}])
    >>> describe_rides(trips)[["pair", "pair_kind", "hour", "dispatched"]].values.tolist()
    [[74075.0, 740751.0, 8.5, 1.0]]
    """
    start = trips["pickup_datetime"].dt
    # A meter in a cab starts at any second. The companies that dispatch record whole minutes.
    rides = trips[ZONE_COLUMNS].assign(
        pair=1000 * trips["PULocationID"] + trips["DOLocationID"],
        hour=start.hour + start.minute / 60,
        weekday=start.day_of_week,
        dispatched=(start.second == 0).astype(int),
    )
    for place, by_kind in zip(PLACES, PLACES_BY_KIND, strict=True):
        rides[by_kind] = 10 * rides[place] + rides["dispatched"]
    return rides[RIDE_COLUMNS].astype(float)


def check_known_at_pickup(columns: Iterable[str]) -> None:
    """Refuse columns that are filled in only when a trip has ended.

    Raises
    ------
    DataError
        When one of them is such a column: a model would score well with it, and be of no use.
    """
    if late := [column for column in columns if column in KNOWN_AFTERWARDS]:
        raise DataError(
            f"Nobody knows {', '.join(late)} when a trip begins: leave it out of the features."
        )


def clip_miles() -> FunctionTransformer:
    """Return a transformer that moves distances to between 0 and 40 miles."""
    return FunctionTransformer(
        np.clip, kw_args={"a_min": 0, "a_max": MOST_MILES}, feature_names_out="one-to-one"
    )


def encode_rides(
    rides: pd.DataFrame, minutes: pd.Series, seed: int
) -> tuple[pd.DataFrame, ColumnTransformer]:
    """Add to each trip the mean minutes of its places, and the minutes that a mile takes there.

    Parameters
    ----------
    rides : pandas.DataFrame, shape (n, 10)
        The columns of :func:`describe_rides`, of the trips to learn from.
    minutes : pandas.Series, shape (n,)
        How long they took.
    seed : int
        Decides which trips are in the same part.

    Returns
    -------
    pandas.DataFrame, shape (n, 16)
        To train with. The means are cross-fitted: no trip counts in its own. Names begin with
        ``mean__``, ``pace__`` (logarithms of minutes per mile), ``miles__`` and ``same__``.
    sklearn.compose.ColumnTransformer
        Fitted, for all other trips: there every trip learned from counts. A place never met counts
        as an average one.
    """
    parts = KFold(5, shuffle=True, random_state=seed)  # a month's file is not in random order
    # Told what the target is: it would take whole minutes for classes.
    mean, pace = (TargetEncoder(target_type="continuous", cv=parts) for _ in range(2))
    per_mile = minutes / rides["trip_distance"].clip(0.5, MOST_MILES)
    paces = pace.fit_transform(rides[PLACES], np.log(per_mile))
    encoder = ColumnTransformer(
        [
            ("mean", mean, [*PLACES, *PLACES_BY_KIND]),
            # A pipeline would fit it to the minutes of a trip, as it does with all its steps.
            ("pace", FrozenEstimator(pace), PLACES),
            ("miles", clip_miles(), ["trip_distance"]),
            ("same", "passthrough", [*PLACES, "hour", "weekday", "dispatched"]),
        ]
    )
    columns = encoder.set_output(transform="pandas").fit_transform(rides, minutes)
    columns[[f"pace__{place}" for place in PLACES]] = paces
    return columns, encoder
