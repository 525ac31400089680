import doctest

import numpy as np
import pytest
from sklearn.feature_extraction import DictVectorizer

from support.months import five_trips
from taxi_lib import features, models


@pytest.fixture
def trips():
    return features.add_pair(five_trips()).assign(duration=[10.0, 20, 30, 40, 50])


def test_a_pair_is_the_text_of_its_zones(trips):
    assert trips["PU_DO"].tolist() == ["74_75", "74_75", "75_74", "41_42", "42_41"]


def test_the_example_of_a_pair_is_true():
    assert doctest.testmod(features) == (0, 2)


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
