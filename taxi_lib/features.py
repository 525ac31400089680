"""The features of a trip, as scikit-learn transformers that are part of a model's pipeline."""

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

PAIR_COLUMNS = ["PU_DO", "trip_distance"]
ZONE_COLUMNS = ["PULocationID", "DOLocationID", "trip_distance"]


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
