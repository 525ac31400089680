"""The checks of lesson 16: each answer gets the sentence that fits it."""

import itertools
import random
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from support.exercises import asked, cell, said
from taxi_lib.checks import lesson_16


def month(*longest: float, broken: int) -> pd.DataFrame:
    """Return 5,000 trips of 1 to 6 miles, but for some broken meters and the longest trips."""
    miles = np.linspace(1, 6, 5000)
    miles[: len(longest)] = longest
    miles[-broken:] = np.linspace(9_000, 90_000, broken)
    return pd.DataFrame({"trip_distance": np.random.default_rng(1).permutation(miles)})


# Five trips may be refused, so the third of the longest is the first that must not be.
VAL = month(45.52, 40.01, 30.2, 25.33, 20.0, 15.0, broken=3)
TRAIN = month(45.52, 35.02, 33.33, 25.33, 20.0, 15.0, broken=4)
MILES = VAL["trip_distance"]

LIMITS = {
    "right": ("right", "It refuses 5 of 5,000 trips; 3 of these", 30.2),
    "right as a NumPy number": ("right", "would have been 35.1", np.float64(30.2)),
    "as it was": ("wrong", "a lower limit would do", 100.0),
    "too low": ("wrong", "refuses 7 of 5,000 trips: more than one", 25.1),
    "not rounded": ("wrong", "to a tenth of a mile", float(MILES.quantile(0.999))),
    "one in a hundred": ("wrong", "one trip in a hundred", round(MILES.quantile(0.99), 1)),
    "one in ten thousand": ("wrong", "in ten thousand", MILES.quantile(0.9999)),
    "the training month's": ("wrong", "the training month", 35.1),
    "the training month's quantile": (
        "wrong",
        "the training month",
        round(TRAIN["trip_distance"].quantile(0.999), 1),
    ),
    "working meters only": ("wrong", "whose meters work", 20.0),
    "the mean": ("wrong", "a usual trip", round(MILES.mean(), 2)),
    "the median": ("wrong", "a usual trip", MILES.median()),
    "the longest": ("wrong", "none is refused", 90_000.0),
    "a trip of exactly the limit is refused": ("wrong", "exactly the limit", 30.3),
    "not a tenth": ("wrong", "to a tenth of a mile", 30.17),
    "a share": ("wrong", "more than one in a thousand", 0.001),
    "a text": ("wrong", "a number is asked for", "30.2 miles"),
    "untouched": ("not attempted", "check.hint(1)", ...),
}


@pytest.mark.parametrize("case", LIMITS)
def test_the_lowest_limit_that_refuses_one_trip_in_a_thousand(case: str):
    status, sentence, answer = LIMITS[case]
    box = said("16", 1, answer, TRAIN, VAL)
    assert box.status == status and sentence in box.text


def test_a_limit_is_rounded_up_so_that_no_trip_too_many_is_refused():
    val = month(45.52, 40.01, 30.11, 25.33, broken=3)
    assert said("16", 1, 30.2, TRAIN, val).status == "right"
    assert "more than one in a thousand" in said("16", 1, 30.1, TRAIN, val).text


@pytest.mark.parametrize("val", [VAL.head(900), VAL.rename(columns=str.upper), [30.2]])
def test_a_limit_needs_a_month_of_trips(val: object):
    assert said("16", 1, 30.2, TRAIN, val).status == "wrong"


def test_the_same_wrong_limit_is_explained_further():
    check = asked("16")
    first, second = (check.judge(1, 100.0, TRAIN, VAL) for _ in range(2))
    assert second.text.startswith(first.text) and "by tenths of a mile" in second.text


Gate = Callable[[pd.DataFrame, pd.Series, int], object]


def gains(squares: pd.DataFrame, days: pd.Series, seed: int, draws: int = 1000) -> np.ndarray:
    """Return the gains in RMSE of so many draws of days."""
    by_day = squares.groupby(days)
    sums, counts = by_day[["champion", "challenger"]].sum().to_numpy(), by_day.size().to_numpy()
    drawn = np.random.default_rng(seed).integers(len(counts), size=(draws, len(counts)))
    rmse = np.sqrt(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)[:, None])
    return rmse[:, 0] - rmse[:, 1]


def low(squares: pd.DataFrame, days: pd.Series, seed: int, draws: int = 1000) -> float:
    return float(np.quantile(gains(squares, days, seed, draws), 0.025))


def right(squares: pd.DataFrame, days: pd.Series, seed: int) -> bool:
    return low(squares, days, seed) > 0


def days_put_together(squares: pd.DataFrame, days: pd.Series, seed: int) -> bool:
    """Draw as somebody does who thinks of trips, not of sums."""
    rng, each = np.random.default_rng(seed), [day.to_numpy() for _, day in squares.groupby(days)]
    found = []
    for _ in range(1000):
        drawn = np.concatenate([each[n] for n in rng.integers(len(each), size=len(each))])
        champion, challenger = np.sqrt(drawn.mean(axis=0))
        found.append(champion - challenger)
    return np.quantile(found, 0.025) > 0


def trips_drawn(squares: pd.DataFrame, days: pd.Series, seed: int) -> bool:
    rng, values = np.random.default_rng(seed), squares.to_numpy()
    drawn = (values[rng.integers(len(values), size=len(values))] for _ in range(300))
    means = np.array([one.mean(axis=0) for one in drawn])
    return bool(np.quantile(means[:, 0] - means[:, 1], 0.025) > 0)


def too_many_days(squares: pd.DataFrame, days: pd.Series, seed: int) -> bool:
    by_day = squares.groupby(days).sum().to_numpy()
    drawn = np.random.default_rng(seed).integers(len(by_day), size=(300, len(squares)))
    sums = by_day[drawn].sum(axis=1)
    return bool(np.quantile(sums[:, 0] - sums[:, 1], 0.025) > 0)


def each_day_alike(squares: pd.DataFrame, days: pd.Series, seed: int) -> bool:
    by_day = squares.groupby(days).mean() ** 0.5
    gain = (by_day["champion"] - by_day["challenger"]).to_numpy()
    drawn = np.random.default_rng(seed).integers(len(gain), size=(1000, len(gain)))
    return bool(np.quantile(gain[drawn].mean(axis=1), 0.025) > 0)


def each_on_its_own_days(squares: pd.DataFrame, days: pd.Series, seed: int) -> bool:
    by_day, rng = squares.groupby(days), np.random.default_rng(seed)
    sums, counts = by_day.sum().to_numpy(), by_day.size().to_numpy()
    drawn = rng.integers(len(counts), size=(2, 1000, len(counts)))
    one, other = (sums[drawn[n], n].sum(axis=1) / counts[drawn[n]].sum(axis=1) for n in (0, 1))
    return bool(np.quantile(one - other, 0.025) > 0)


def two_sided(squares: pd.DataFrame, days: pd.Series, seed: int) -> bool:
    ends = np.quantile(gains(squares, days, seed), [0.025, 0.975])
    return not ends[0] <= 0 <= ends[1]


def of_my_own(squares: pd.DataFrame, days: pd.Series, seed: int) -> bool:
    """Ignore the arguments: the errors are those of the notebook."""
    mine = pd.DataFrame({"champion": [9.0, 9, 9], "challenger": [1.0, 1, 1]})
    return right(mine, pd.Series([1, 2, 3]), seed)


def without_a_return(squares: pd.DataFrame, days: pd.Series, seed: int) -> None:
    right(squares, days, seed)


def by_turns() -> Gate:
    """Return a gate that has learned an order of answers by heart."""
    answers = itertools.cycle([False, True])
    return lambda squares, days, seed: next(answers)


def as_before() -> Gate:
    """Return a gate that draws other days whenever it is called."""
    seeds = itertools.count()
    return lambda squares, days, seed: right(squares, days, next(seeds))


def quantile_at(share: float, draws: int = 2000) -> Gate:
    return lambda s, d, seed: bool(np.quantile(gains(s, d, seed, draws), share) > 0)


GATES: dict[str, tuple[str, object]] = {
    "right": ("not by other trips", right),
    "right, a NumPy truth": ("not by other trips", lambda s, d, seed: np.bool_(right(s, d, seed))),
    "right, day by day": ("not by other trips", days_put_together),
    "right, in squared minutes": (
        "not by other trips",
        lambda s, d, seed: low(s**1.0, d, seed, draws=5000) > 0,
    ),
    "the mean": ("may be luck", lambda s, *_: s["challenger"].mean() < s["champion"].mean()),
    "the upper end": ("may be luck", quantile_at(0.975)),
    "the middle": ("may be luck", quantile_at(0.5)),
    "one end with all of it": ("at *both* ends", quantile_at(0.05)),
    "too strict": ("zero is outside", quantile_at(0.005)),
    "twenty draws": ("depends on the seed", quantile_at(0.025, draws=20)),
    "fifty draws": ("depends on the seed", quantile_at(0.025, draws=50)),
    "trips": ("Two lucky days", trips_drawn),
    "too many days": ("as many days as the month", too_many_days),
    "each day alike": ("quiet days", each_day_alike),
    "each on its own days": ("on each single day", each_on_its_own_days),
    "two-sided": ("clearly worse, too", two_sided),
    "turned round": ("not for a better one", lambda s, d, seed: -gains(s, d, seed).max() > 0),
    "no loss is enough": ("is a gain of zero one?", lambda s, d, seed: low(s, d, seed) >= 0),
    "always yes": ("whatever it gets", lambda *_: True),
    "always no": ("stays shut", lambda *_: False),
    "its own errors": ("whatever it gets", of_my_own),
    "its own seed each time": ("the second time", as_before()),
    "a number": ("True or False is asked for", low),
    "nothing": ("True or False is asked for", without_a_return),
    "a truth": ("a function is asked for", True),
    "untouched": ("check.hint(2)", ...),
}


@pytest.fixture
def fixed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the check draw the same months, orders and seeds each time."""
    same = random.Random(getattr(request, "param", 1))
    monkeypatch.setattr(lesson_16, "SystemRandom", lambda: same)


@pytest.mark.usefixtures("fixed")
@pytest.mark.parametrize("case", GATES)
def test_a_gate_is_judged_by_what_it_lets_through(case: str):
    sentence, gate = GATES[case]
    check = asked("16")
    boxes = [check.judge(2, gate) for _ in range(2)]
    assert sentence in boxes[-1].text
    assert (boxes[0].status == "right") == case.startswith("right")


def test_a_gate_that_raises_is_shown_with_its_line():
    box = said("16", 2, cell("def gate(squares, days, seed):\n    return squares.rmse > 0\n"))
    assert box.status == "raised" and "Line 2 of your cell" in box.text


def test_an_empty_gate_is_not_an_attempt():
    box = said("16", 2, cell('def gate(squares, days, seed):\n    """Say it."""\n    ...\n'))
    assert box.status == "not attempted"


@pytest.mark.usefixtures("fixed")
@pytest.mark.parametrize("fixed", range(5), indirect=True)
def test_answers_learned_by_heart_do_not_open_the_gate():
    assert said("16", 2, by_turns()).status == "wrong"


def test_a_gate_does_not_pass_by_patching_what_the_check_computes_with(
    monkeypatch: pytest.MonkeyPatch,
):
    def gate(squares: pd.DataFrame, days: pd.Series, seed: int) -> bool:
        monkeypatch.setattr(np, "quantile", lambda *_: np.array(1.0))
        monkeypatch.setattr(np.random, "default_rng", lambda *_: np.random.RandomState(1))
        squares["challenger"] = 0.0  # a copy
        return True

    assert said("16", 2, gate).status == "wrong"
    assert said("16", 2, gate).status in ("wrong", "raised")  # the patch is still there


def test_a_gate_that_takes_its_time_is_not_called_fifty_times(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lesson_16, "_PATIENCE", 0.0)
    box = said("16", 2, right)
    assert box.status == "wrong" and "the sums and the number of trips of each day" in box.text


COLUMNS = ["PULocationID", "DOLocationID", "trip_distance", "pickup_datetime"]


def clock(change: str) -> Callable[[list[dict]], pd.DataFrame]:
    """Return a function that makes the time from ``sent``, the column of a request's texts."""
    source = f"""
        def as_the_model_knows_it(requests):
            trips = pd.DataFrame(requests)
            sent = trips["pickup_datetime"]
            utc = pd.to_datetime(sent, utc=True)
            trips["pickup_datetime"] = {change}
            return trips[COLUMNS]
        """
    return cell(source, pd=pd, datetime=datetime, ZoneInfo=ZoneInfo, COLUMNS=COLUMNS)


HERE = "utc.dt.tz_convert('America/New_York').dt.tz_localize(None)"
ONE_BY_ONE = (
    "[datetime.fromisoformat(one).astimezone(ZoneInfo('America/New_York')).replace(tzinfo=None)"
    " for one in sent]"
)
CUT = "pd.to_datetime(sent.str[:19])"
CLOCKS = {
    "right": ("training-serving skew", HERE),
    "right, one by one": ("training-serving skew", ONE_BY_ONE),
    "right, in seconds": ("training-serving skew", f"{HERE}.astype('M8[s]')"),
    "as it was": ("was not moved to New York's", "utc.dt.tz_localize(None)"),
    "cut off": ("was not moved to New York's", CUT),
    "five hours": ("in winter and in summer", "utc.dt.tz_localize(None) - pd.Timedelta(hours=5)"),
    "a zone without summer": (
        "in winter and in summer",
        "utc.dt.tz_convert('Etc/GMT+5').dt.tz_localize(None)",
    ),
    "five hours more": ("wrong direction", "utc.dt.tz_localize(None) + pd.Timedelta(hours=5)"),
    "from New York": (
        "wrong direction",
        f"{CUT}.dt.tz_localize('America/New_York').dt.tz_convert('UTC').dt.tz_localize(None)",
    ),
    "with its zone": ("still have a zone", "utc.dt.tz_convert('America/New_York')"),
    "with its zone, one by one": (
        "still have a zone",
        "pd.Series([one.to_pydatetime() for one in utc], dtype=object)",
    ),
    "the offset cut off": (
        "another offset",
        f"{CUT}.dt.tz_localize('UTC').dt.tz_convert('America/New_York').dt.tz_localize(None)",
    ),
    "another city": (
        "not those of New York's clock",
        "utc.dt.tz_convert('America/Chicago').dt.tz_localize(None)",
    ),
    "texts": ("no times of pandas", f"{HERE}.astype(str)"),
    "raises": ("mystery", "utc.dt.tz_convert('mystery')"),
}


@pytest.mark.parametrize("case", CLOCKS)
def test_requests_get_the_time_of_new_yorks_clock(case: str):
    sentence, change = CLOCKS[case]
    box = said("16", 3, clock(change))
    assert sentence in box.text and (box.status == "right") == case.startswith("right")
    assert (box.status == "raised") == (case == "raises")


TABLES: dict[str, tuple[str, Callable[[pd.DataFrame], object]]] = {
    "in the order of time": (
        "another order than the requests",
        lambda t: t.sort_values(COLUMNS[3]),
    ),
    "columns by name": ("in another order", lambda t: t[sorted(t)]),
    "a column more": ("a column more", lambda t: t.assign(hour=t[COLUMNS[3]].dt.hour)),
    "a column less": ("no column `trip_distance`", lambda t: t.drop(columns="trip_distance")),
    "the time as the index": ("no column `pickup_datetime`", lambda t: t.set_index(COLUMNS[3])),
    "a row less": ("19 rows", lambda t: t.tail(19)),
    "zones exchanged": (
        "Only the time should change",
        lambda t: t.assign(PULocationID=t["DOLocationID"]),
    ),
    "zones as texts": ("are numbers in the request", lambda t: t.astype({"PULocationID": str})),
    "no table": ("a DataFrame is asked for", lambda t: t.to_dict("records")),
}


@pytest.mark.parametrize("case", TABLES)
def test_all_but_the_time_stays_as_it_was_sent(case: str):
    sentence, change = TABLES[case]
    box = said("16", 3, lambda requests: change(clock(HERE)(requests)))
    assert box.status == "wrong" and sentence in box.text


def test_one_request_is_answered_as_well_as_many():
    box = said("16", 3, lambda requests: clock(HERE)(requests * (2 if len(requests) == 1 else 1)))
    assert box.status == "wrong" and "a single request" in box.text


@pytest.mark.parametrize("answer", [..., cell("def mended(requests):\n    ...\n")])
def test_a_clock_that_nobody_touched_is_not_an_attempt(answer: object):
    assert said("16", 3, answer).status == "not attempted"


def test_there_is_a_hint_for_each_exercise():
    assert set(lesson_16.HINTS) == {1, 2, 3}
