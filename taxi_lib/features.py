"""What a model sees of a trip, as scikit-learn transformers that live inside its pipeline."""

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

PAIR_COLUMNS = ["PU_DO", "trip_distance"]
ZONE_COLUMNS = ["PULocationID", "DOLocationID", "trip_distance"]


def add_pair(trips: pd.DataFrame) -> pd.DataFrame:
    """Return the trips with the pair of zones they join, as the text ``PU_DO``.

    Parameters
    ----------
    trips : pandas.DataFrame, shape (n, k)
        With whole-numbered ``PULocationID`` and ``DOLocationID``.

    Returns
    -------
    pandas.DataFrame, shape (n, k + 1)
        A copy; ``PU_DO`` is such as ``"74_75"``.
    """
    pair = trips["PULocationID"].astype(str) + "_" + trips["DOLocationID"].astype(str)
    return trips.assign(PU_DO=pair)


def count_unseen(train: pd.DataFrame, val: pd.DataFrame) -> int:
    """Return how many trips to be scored on join a pair of zones that training never met.

    Parameters
    ----------
    train, val : pandas.DataFrame, shape (n, k)
        With ``PU_DO``, as :func:`add_pair` makes it.
    """
    return int((~val["PU_DO"].isin(train["PU_DO"])).sum())


def keep_zeros() -> Pipeline:
    """Return what makes a sparse matrix of one column, and stores its zeros too.

    A sparse matrix usually leaves zeros out, and XGBoost takes what is left out for missing:
    a ride of 0 miles would become a ride of unknown length.

    Only functions of NumPy and SciPy are in it, so that a model with it can be loaded where there
    is no ``taxi_lib``. SciPy stores each value of a block that is put on a diagonal; the column is
    the only block.
    """
    return make_pipeline(
        FunctionTransformer(np.expand_dims, kw_args={"axis": 0}),  # one block after another
        FunctionTransformer(sparse.block_diag, kw_args={"format": "csr"}),
    )


def store_zeros(column: pd.DataFrame) -> sparse.csr_matrix:
    """Return what :func:`keep_zeros` does: models that were logged before it name this function.

    Parameters
    ----------
    column : pandas.DataFrame, shape (n, 1)
        Numbers.

    Returns
    -------
    scipy.sparse.csr_matrix, shape (n, 1)
        With n stored values.
    """
    return keep_zeros().fit_transform(column)


def encode_pairs() -> ColumnTransformer:
    """Return the course's features: the pair one-hot, and the distance as it is.

    The matrix is the one that the course's ``DictVectorizer`` makes, value for value:
    a column for each pair met in training, in the order of their texts, then the distance.
    A pair not met in training is all zeros.
    """
    return make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["PU_DO"]),
        (keep_zeros(), ["trip_distance"]),
        sparse_threshold=1.0,  # sparse also for a handful of trips
    )


def encode_zones() -> ColumnTransformer:
    """Return three numbers a trip: the two zones and the distance, for tree models."""
    return make_column_transformer(("passthrough", ZONE_COLUMNS))
