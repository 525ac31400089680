import doctest
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction import DictVectorizer

from support.months import five_trips, real_month_path
from taxi_lib import features, models
from taxi_lib.errors import DataError
from taxi_lib.trips import read_trips
from taxi_lib.trips.month_file import MonthFile


@pytest.fixture
def trips():
    return features.add_pair(five_trips()).assign(duration=[10.0, 20, 30, 40, 50])


def test_a_pair_is_the_text_of_its_zones(trips):
    assert trips["PU_DO"].tolist() == ["74_75", "74_75", "75_74", "41_42", "42_41"]


def test_the_examples_of_the_features_are_true():
    assert doctest.testmod(features) == (0, 5)


def test_the_matrix_is_the_one_of_the_courses_vectoriser(trips):
    course = DictVectorizer().fit_transform(trips[features.PAIR_COLUMNS].to_dict("records"))
    ours = features.encode_pairs().fit_transform(trips)
    assert (course != ours).nnz == 0
    assert course.nnz == ours.nnz == 10  # zero miles are stored: XGBoost would call them missing


def test_indices_are_short_enough_for_lasso(trips):
    assert features.encode_pairs().fit_transform(trips).indices.dtype == np.int32


def test_a_pair_never_met_is_all_zeros(trips):
    encoder = features.encode_pairs().fit(trips)
    row = encoder.transform(trips.head(1).assign(PU_DO="1_2", trip_distance=7.0)).toarray()
    assert row.tolist() == [[0, 0, 0, 0, 7]]


def test_the_naive_model_says_the_mean(trips):
    model = models.naive_model().fit(trips, trips["duration"])
    assert model.predict(trips).tolist() == [30.0] * 5
    assert models.rmse(model, trips) == pytest.approx(np.sqrt(200))


def test_the_course_model_predicts_from_trips(trips):
    model = models.course_model(n_estimators=5).fit(trips, trips["duration"])
    assert models.rmse(model, trips) < models.rmse(
        models.naive_model().fit(trips, trips["duration"]), trips
    )


def test_a_change_replaces_a_parameter_of_the_course():
    model = models.course_model(n_estimators=5)[-1]
    assert (model.n_estimators, model.max_depth) == (5, 30)


@pytest.fixture
def rides(trips):
    return features.describe_rides(trips.rename(columns={"lpep_pickup_datetime": PICKUP}))


PICKUP = "pickup_datetime"
MINUTES = pd.Series([10.0, 20, 30, 40, 50])


def test_rides_are_described_by_what_is_known_when_they_begin(trips, rides):
    features.check_known_at_pickup(rides)
    raw = trips.rename(columns={"lpep_pickup_datetime": PICKUP}).assign(duration=1.0)
    later = raw.assign(lpep_dropoff_datetime=raw[PICKUP] + pd.Timedelta("9h"))
    pd.testing.assert_frame_equal(features.describe_rides(later), rides)


def test_a_pick_up_at_a_full_minute_is_a_dispatched_trip(trips):
    raw = trips.rename(columns={"lpep_pickup_datetime": PICKUP})
    assert features.describe_rides(raw)["dispatched"].tolist() == [1] * 5
    raw[PICKUP] += pd.Timedelta(1, unit="s")
    assert features.describe_rides(raw)["dispatched"].tolist() == [0] * 5


@pytest.mark.parametrize("late", ["fare_amount", "tip_amount", "dropoff_datetime", "duration"])
def test_a_column_that_is_known_only_afterwards_is_refused_in_a_sentence(late):
    with pytest.raises(DataError, match=f"^Nobody knows {late} when a trip begins: leave it out"):
        features.check_known_at_pickup(["PULocationID", late])


def test_the_workbooks_model_learns_from_five_trips_and_the_same_each_time(rides):
    said = [models.fit_workbook_model(rides, MINUTES).predict(rides) for _ in range(2)]
    assert np.array_equal(*said)
    assert ((said[0] > 0) & (said[0] < 60)).all()


def test_the_workbooks_model_needs_nothing_of_ours_to_be_loaded(rides):
    assert b"taxi_lib" not in pickle.dumps(models.fit_workbook_model(rides, MINUTES))


def test_the_workbooks_model_answers_for_zones_that_it_never_met(rides):
    model = models.fit_workbook_model(rides, MINUTES)
    elsewhere = rides.head(1).assign(PULocationID=1, DOLocationID=2, pair=1002)
    assert 0 < model.predict(elsewhere)[0] < 60


def test_no_trip_counts_in_the_mean_and_the_pace_that_are_learned_from_it(rides):
    encoded = [
        features.encode_rides(rides, minutes, seed=42)
        for minutes in (MINUTES, MINUTES.add([30, 0, 0, 0, 0]))  # the first trip takes longer
    ]
    own = ["mean__pair", "pace__pair"]
    learned, longer = (columns[own].iloc[0].tolist() for columns, _ in encoded)
    assert learned == longer
    later, longer = (encoder.transform(rides)[own].iloc[0] for _, encoder in encoded)
    assert (later < longer).all()


def test_an_absurd_distance_is_to_the_workbooks_model_one_of_40_miles(rides):
    model = models.fit_workbook_model(rides, MINUTES)
    far, absurd = (model.predict(rides.assign(trip_distance=miles)) for miles in (40.0, 244_152.0))
    assert np.array_equal(far, absurd)


def month_of(name: str) -> pd.DataFrame:
    path = real_month_path(name)
    if not path:
        pytest.skip(f"needs the real month {name}")
    return read_trips(MonthFile(name, path, "local"))[0]


@pytest.mark.slow
@pytest.mark.parametrize(("year", "most"), [("2021", 5.33), ("2023", 4.33)])
def test_the_workbooks_model_keeps_its_error_on_real_months(year, most):
    train, val = month_of(f"{year}-01"), month_of(f"{year}-02")
    model = models.fit_workbook_model(features.describe_rides(train), train["duration"])
    assert models.rmse(model, features.describe_rides(val).assign(duration=val["duration"])) <= most
