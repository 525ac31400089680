"""The models of the lessons, pipelines that predict minutes from trips, and their score."""

from collections.abc import Iterator

import pandas as pd
from sklearn.base import RegressorMixin
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyRegressor
from sklearn.metrics import root_mean_squared_error
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder
from xgboost import XGBRegressor

from taxi_lib.errors import DataError
from taxi_lib.features import encode_pairs, encode_rides, encode_zones

# The course found these by a search.
COURSE_PARAMETERS: dict[str, float | int | str] = {
    "learning_rate": 0.09585355369315604,
    "max_depth": 30,
    "min_child_weight": 1.060597050922164,
    "objective": "reg:squarederror",
    "reg_alpha": 0.018060244040060163,
    "reg_lambda": 0.011658731377413597,
    "random_state": 42,
    "n_estimators": 100,
    # XGBoost's default when the course was recorded; today that is "hist".
    "tree_method": "exact",
}


def with_pairs(estimator: RegressorMixin) -> Pipeline:
    """Return a pipeline of the course's features (one-hot pair, distance) and an estimator."""
    return make_pipeline(encode_pairs(), estimator)


def with_zones(estimator: RegressorMixin) -> Pipeline:
    """Return a pipeline of three plain numbers (two zones, distance) and an estimator."""
    return make_pipeline(encode_zones(), estimator)


def course_model(**changes: float | int | str) -> Pipeline:
    """Return the course's XGBoost, unfitted, with some of its parameters replaced."""
    return with_pairs(XGBRegressor(**COURSE_PARAMETERS | changes))


# Compared on January (of 2021 and of 2023): trained up to the 22nd, scored on the rest. There they
# differ little. The scores of February were in sight meanwhile, and no setting was chosen by them.
WORKBOOK_PARAMETERS: dict[str, float | int | str] = {
    "learning_rate": 0.12,
    "max_depth": 9,
    "min_child_weight": 30,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "n_estimators": 100,
    "tree_method": "hist",
}


def fit_workbook_model(
    rides: pd.DataFrame, minutes: pd.Series, seed: int = 42, **changes: float | int | str
) -> Pipeline:
    """Return the workbook's own model, trained.

    It knows how long trips from a zone, to a zone and between two zones take, and how long a mile
    takes there. XGBoost makes the rest of it. A zone never met counts as an average one.

    All its parts are scikit-learn's, NumPy's and XGBoost's, so that it can be loaded without
    ``taxi_lib``. To train it again, call this function: a pipeline has one target for all its
    steps, and here one step has learned another, minutes per mile.

    Parameters
    ----------
    rides : pandas.DataFrame, shape (n, k)
        With the columns of :func:`features.describe_rides`.
    minutes : pandas.Series, shape (n,)
        How long the trips took.
    seed : int
        Decides which trips are encoded together, and what each tree gets to see.
    **changes
        Replace some of ``WORKBOOK_PARAMETERS``.
    """
    columns, encoder = encode_rides(rides, minutes, seed)
    boosted = XGBRegressor(**WORKBOOK_PARAMETERS | changes, random_state=seed)
    return make_pipeline(encoder, boosted.fit(columns, minutes))


def naive_model() -> Pipeline:
    """Return the baseline, which predicts the mean duration for every trip."""
    return with_zones(DummyRegressor(strategy="mean"))


def rmse(model: Pipeline, trips: pd.DataFrame) -> float:
    """Return the root mean squared error of a fitted model, in minutes.

    Parameters
    ----------
    model : sklearn.pipeline.Pipeline
        Fitted.
    trips : pandas.DataFrame, shape (n, k)
        The columns that the model needs, and ``duration`` in minutes.

    Raises
    ------
    DataError
        When no trip has a value that a one-hot encoder of the model knows from training: such
        trips are all zeros to the model, and their score would mean nothing.
    """
    for encoder in _encoders(model):
        _check_seen(encoder, trips)
    return float(root_mean_squared_error(trips["duration"], model.predict(trips)))


def _encoders(part: object) -> Iterator[OneHotEncoder]:
    """Yield the one-hot encoders in a fitted pipeline, also in nested ones."""
    if isinstance(part, OneHotEncoder):
        yield part
    elif isinstance(part, Pipeline | ColumnTransformer):
        named = part.named_steps if isinstance(part, Pipeline) else part.named_transformers_
        for inner in named.values():
            yield from _encoders(inner)


def _check_seen(encoder: OneHotEncoder, trips: pd.DataFrame) -> None:
    # An encoder knows the names of its columns only if it was fitted to a frame.
    columns = list(getattr(encoder, "feature_names_in_", []))
    if trips.empty or not columns or not set(columns) <= set(trips):
        return
    met = [set(values) for values in encoder.categories_]
    # One known value is enough, and usually among the first.
    known = zip(columns, met, strict=True)
    if not any(value in seen for column, seen in known for value in trips[column]):
        raise DataError(
            f"None of the {len(trips):,} trips has a {' or '.join(columns)} that the model met in "
            f"training ({trips[columns[0]].iloc[0]!r} is new to it): score it on trips between "
            "the zones that it was trained on."
        )
