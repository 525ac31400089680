"""The models of the lessons: pipelines from a frame of trips to minutes, and their score."""

import pandas as pd
from sklearn.base import RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.metrics import root_mean_squared_error
from sklearn.pipeline import Pipeline, make_pipeline
from xgboost import XGBRegressor

from taxi_lib.features import encode_pairs, encode_zones

# Found by the course with a search of its own, and kept to the last digit.
COURSE_PARAMETERS: dict[str, float | int | str] = {
    "learning_rate": 0.09585355369315604,
    "max_depth": 30,
    "min_child_weight": 1.060597050922164,
    "objective": "reg:squarederror",
    "reg_alpha": 0.018060244040060163,
    "reg_lambda": 0.011658731377413597,
    "random_state": 42,
    "n_estimators": 100,
    # What XGBoost chose by itself when the course was recorded; today it would be "hist".
    "tree_method": "exact",
}


def with_pairs(estimator: RegressorMixin) -> Pipeline:
    """Return a pipeline of the course's features (one-hot pair, distance) and an estimator."""
    return make_pipeline(encode_pairs(), estimator)


def with_zones(estimator: RegressorMixin) -> Pipeline:
    """Return a pipeline of three plain numbers (two zones, distance) and an estimator."""
    return make_pipeline(encode_zones(), estimator)


def course_model(**changes: float | int | str) -> Pipeline:
    """Return the course's XGBoost, unfitted.

    Parameters
    ----------
    **changes : float, int or str
        XGBoost parameters that replace those of :data:`COURSE_PARAMETERS`.
    """
    return with_pairs(XGBRegressor(**COURSE_PARAMETERS | changes))


def naive_model() -> Pipeline:
    """Return the baseline that says the mean duration to every trip."""
    return with_zones(DummyRegressor(strategy="mean"))


def rmse(model: Pipeline, trips: pd.DataFrame) -> float:
    """Return the root mean squared error of a fitted model, in minutes.

    Parameters
    ----------
    model : sklearn.pipeline.Pipeline
        Fitted.
    trips : pandas.DataFrame, shape (n, k)
        The columns that the model needs, and ``duration`` in minutes.
    """
    return float(root_mean_squared_error(trips["duration"], model.predict(trips)))
