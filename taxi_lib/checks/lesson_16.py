"""Lesson 16: a limit that refuses few trips, a gate that luck does not open, and a clock in UTC."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from random import SystemRandom
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from taxi_lib.checks.answers import UnreadableError, function, number, shown, table, truth
from taxi_lib.checks.verdicts import Right, Wrong

HINTS = {
    1: [
        "How many trips has `val`, and how many of them may be refused?",
        "Sort the distances, the longest first. Between which two trips of that list is the limit?",
        '`(val["trip_distance"] > limit).sum()` says how many trips a limit refuses.',
    ],
    2: [
        "The lesson has all the parts: the sums and the number of trips of each day, the days that "
        "are drawn, and the gain of each draw. Which of these names become arguments?",
        "The gain is positive where the champion's error is the larger one.",
        "A gain that may as well be zero is no reason for a change: compare the *lower* end of "
        "the interval with zero.",
    ],
    3: [
        "A passenger in New York gets in at five past eight on a winter morning. What does the "
        "request say, and what does your table say?",
        "pandas has a method that moves times to another zone, and one that drops the zone. In "
        "which order are they needed?",
        "`.dt.tz_convert(...)` takes the name of a zone; `.dt.tz_localize(None)` drops the zone.",
    ],
}


def q1(limit: object, train: object, val: object) -> Right | Wrong:
    """Judge the lowest limit, in tenths of a mile, that refuses at most one trip in a thousand."""
    said, learned, miles = number(limit), _miles(train), _miles(val)
    right = _lowest_limit(miles)
    refused = int((miles > said).sum())
    if abs(said - right) < 1e-6:
        return Right(
            f"It refuses {refused} of {len(miles):,} trips; {(miles > 100).sum()} of these are of "
            "more than 100 miles, which only a broken meter records in an hour. By the training "
            f"month the limit would have been {_lowest_limit(learned)}. So write down where a "
            "limit comes from, and look again when the service refuses more than it used to."
        )
    for mistakes, tolerance, wrong in _mistaken_limits(miles, learned):
        if any(abs(said - mistake) <= tolerance for mistake in mistakes):
            return wrong
    if abs(said - right) < 1 and abs(10 * said - round(10 * said)) > 1e-6:
        return Wrong("The limit is asked for to a tenth of a mile.", "Round it up, or down?")
    if refused > len(miles) // 1000:
        return Wrong(
            f"This limit refuses {refused:,} of {len(miles):,} trips: more than one in a thousand.",
            "How many may be refused? The next longer trip has to be within the limit.",
        )
    return Wrong(
        f"This limit refuses {refused} of {len(miles):,} trips, which is few enough, but a lower "
        "limit would do.",
        "Go down by tenths of a mile, as long as at most one trip in a thousand is refused.",
    )


def _miles(month: object) -> np.ndarray:
    """Return the distances of a month's trips."""
    trips = table(month)
    if "trip_distance" not in trips or len(trips) < 1000:
        raise UnreadableError("The second and third arguments are the months, `train` and `val`.")
    return trips["trip_distance"].to_numpy(copy=True)


def _lowest_limit(miles: np.ndarray) -> float:
    """Return the lowest limit in tenths that at most one of a thousand trips is longer than."""
    longest_within = np.sort(miles)[-1 - len(miles) // 1000]
    return float(np.ceil(round(10 * longest_within, 6)) / 10)


def _limits(miles: np.ndarray) -> list[float]:
    """Return the lowest limit of other trips, and what a quantile says in its place."""
    quantile = float(np.quantile(miles, 0.999))
    return [_lowest_limit(miles), quantile, round(quantile, 1), float(np.ceil(10 * quantile) / 10)]


_Mistake = tuple[list[float], float, Wrong]


def _mistaken_limits(miles: np.ndarray, learned: np.ndarray) -> Iterator[_Mistake]:
    """Yield limits that people find, how far off an answer may be, and what to say about them."""
    right, sound = _lowest_limit(miles), miles[miles <= 100]
    month = "That is the limit of the training month. Which month is asked about?"
    yield _limits(learned), 0.006, Wrong(month)
    whole = "That refuses one trip in a thousand of those whose meters work."
    more = "A trip of 9,000 miles is refused, too: it is one of the thousand."
    yield _limits(sound), 0.006, Wrong(whole, more)
    too_exact = "The limit is asked for to a tenth of a mile, and may refuse no trip too many."
    more = "Should it be rounded up or down?"
    yield [float(np.quantile(miles, 0.999))], 0.006, Wrong(too_exact, more)
    for share, words in ((0.9, "ten"), (0.99, "a hundred"), (0.9999, "ten thousand")):
        other = float(np.quantile(miles, share))
        tolerance = 0.11 if share < 0.999 else 0.01 * other
        yield [other], tolerance, Wrong(f"That refuses about one trip in {words}.")
    usual = "That is the length of a usual trip. How many trips would be refused?"
    yield [float(miles.mean()), float(np.median(miles))], 0.06, Wrong(usual)
    longest = "With the longest trip of the month as the limit, none is refused."
    yield [float(miles.max())], 0.06, Wrong(longest, "A limit may refuse a few: how many?")
    if (miles == right).any():
        exactly = "A trip of exactly the limit is answered; only longer ones are refused."
        yield [right + 0.1], 1e-6, Wrong(exactly)


_PATIENCE = 1.0  # seconds of the processor for a call; there are about fifty


class _Errors(NamedTuple):
    """The squared errors of a made-up month, and what a gate should say about them."""

    squares: pd.DataFrame  # minutes²; columns champion and challenger, a row for each trip
    days: pd.Series  # the date of each trip


def q2(gate: object) -> Right | Wrong:
    """Judge a gate by what it says about errors that are made up, in an order that is drawn."""
    answer, rng = function(gate), np.random.default_rng(SystemRandom().getrandbits(64))
    clear, close = _clear_cases(rng), _close_cases(rng)
    said = _ask(answer, clear, {name: 3 if name in ("chance", "lucky") else 1 for name in clear})
    if wrong := _misjudged(said):
        return wrong
    said = _ask(answer, close, {"hardly": 12, "just": 3})
    if wrong := _misjudged_ends(said["hardly"], said["just"]):
        return wrong
    if not _same_again(answer, close["open"]):
        return Wrong(
            "The same errors and the same seed get another answer the second time.",
            "Which random numbers depend on `seed`?",
        )
    return Right(
        "All trips of a stormy day are slow together, so next month may differ by other days, not "
        "by other trips. A gate that draws trips takes two lucky days for certainty, and one that "
        "looks at the mean alone changes the model every second month for nothing."
    )


def _ask(
    gate: Callable[..., object], cases: dict[str, _Errors], times: dict[str, int]
) -> dict[str, list[bool]]:
    """Return what a gate says about each case, as often as asked, each time with another seed.

    The order is drawn anew: a gate cannot know which case it gets.
    """
    chance = SystemRandom()
    calls = [name for name, count in times.items() for _ in range(count)]
    chance.shuffle(calls)
    said: dict[str, list[bool]] = {name: [] for name in times}
    for name in calls:
        said[name].append(_call(gate, cases[name], chance.randrange(2**31)))
    return said


def _call(gate: Callable[..., object], errors: _Errors, seed: int) -> bool:
    begin = time.process_time()
    said = truth(gate(errors.squares.copy(), errors.days.copy(), seed))
    took = time.process_time() - begin
    if took > _PATIENCE:
        raise UnreadableError(
            f"A call took {took:.1f} seconds for {len(errors.squares):,} trips, and the check "
            "makes about fifty. A draw needs only the sums and the number of trips of each day."
        )
    return said


def _same_again(gate: Callable[..., object], errors: _Errors) -> bool:
    """Return whether the same seed gives the same answer, where it depends on the seed."""
    seeds = [SystemRandom().randrange(2**31) for _ in range(12)]
    return all(_call(gate, errors, seed) == _call(gate, errors, seed) for seed in seeds)


def _clear_cases(rng: np.random.Generator) -> dict[str, _Errors]:
    """Make up months about which there is no doubt."""
    days = int(rng.integers(28, 32))
    quiet = np.arange(days) % 4 == 0
    lucky = np.where(np.arange(days) < 2, 44.0, -2.0)  # without one of the two it is a loss
    return {
        "same": _errors(rng, np.zeros(days), noise=0),
        "better": _errors(rng, np.full(days, 20.0)),
        "worse": _errors(rng, np.full(days, -20.0)),
        "chance": _even(rng, days, 0.25),
        "lucky": _errors(rng, lucky, trips=150),
        "steadily": _errors(rng, np.full(days, 2.0), noise=1, weather=100),
        "quiet days": _errors(rng, np.where(quiet, 40.0, -2.0), trips=np.where(quiet, 5, 60)),
    }


def _close_cases(rng: np.random.Generator) -> dict[str, _Errors]:
    """Make up months at the edge of the interval, where one seed may decide."""
    days = int(rng.integers(28, 32))
    without_gain = {"hardly": 0.04, "just": 0.012, "open": 0.025}
    return {name: _even(rng, days, share) for name, share in without_gain.items()}


def _errors(
    rng: np.random.Generator,
    gains: np.ndarray,
    trips: int | np.ndarray = 30,
    noise: float = 5,
    weather: float = 10,
) -> _Errors:
    """Make up a month in which the challenger gains so much on each day, in minutes².

    Its trips are in no order, and their labels do not count from zero, as in a cleaned month.
    """
    first = pd.Timestamp(2020, int(rng.integers(1, 13)), 1)
    day = rng.permutation(np.repeat(np.arange(len(gains)), trips))
    labels = rng.choice(10 * len(day), len(day), replace=False)
    champion = 100 + rng.uniform(0, weather, len(gains))[day] + rng.exponential(20, len(day))
    gain = (gains[day] + rng.normal(0, noise, len(day))).clip(-100, 100)
    squares = pd.DataFrame({"champion": champion, "challenger": champion - gain}, index=labels)
    dates = pd.Series((first + pd.to_timedelta(day, "D")).date, labels, name="pickup_datetime")
    return _Errors(squares, dates)


def _even(rng: np.random.Generator, days: int, without: float) -> _Errors:
    """Make up a month of equal days in which this share of the draws of days has no gain."""
    squares, dates = _errors(rng, np.zeros(days), noise=20)
    by_day = (squares["champion"] - squares["challenger"]).groupby(dates).mean().to_numpy()
    drawn = by_day[rng.integers(days, size=(20_000, days))].mean(axis=1)
    edge = np.quantile(drawn, without)  # each day has as many trips, so all draws move with it
    return _Errors(squares.assign(challenger=squares["challenger"] + edge), dates)


_FEW = Wrong(
    "The answer depends on the seed, also where there is hardly a doubt.",
    "How many times does it draw? The ends of an interval need many more draws than its middle.",
)


def _misjudged(said: dict[str, list[bool]]) -> Wrong | None:
    """Return what is wrong with a gate's answers in the clear cases; the plainest fault first."""
    yes = {name: all(answers) for name, answers in said.items()}
    if wrong := _misjudged_sign(yes["better"], yes["worse"], yes["same"]):
        return wrong
    if yes["chance"]:
        return Wrong(
            "Where one draw in four has no gain at all, the gate opens every time.",
            "A mean that is a little better may be luck. Which end of the interval decides? And "
            "has each draw as many days as the month?",
        )
    if yes["lucky"]:
        return Wrong(
            "Two lucky days of a month are the whole gain, and the gate takes it for certain.",
            "What is drawn, and how many of it? All trips of a day come together or not at all.",
        )
    if yes["quiet days"]:
        return Wrong(
            "The challenger is better on a few quiet days and worse on the busy ones. Over all "
            "trips it is worse, and the gate opens.",
            "A day counts as much as it has trips: add up first, and divide by all trips then.",
        )
    if not yes["steadily"]:
        return Wrong(
            "The challenger is a bit better on each single day, and the gate is not sure of it.",
            "Days differ a lot, from one draw to the next, too. Are both scored on the same draw?",
        )
    return _FEW if any(said["chance"] + said["lucky"]) else None


def _misjudged_sign(better: bool, worse: bool, same: bool) -> Wrong | None:
    """Return what is wrong when the gate takes worse for better, or none for some."""
    if worse and not better:
        return Wrong(
            "The gate opens for a challenger that is worse, and not for a better one.",
            "A gain is what the champion's error is larger by.",
        )
    if not better:
        return Wrong(
            "The challenger is clearly better on every day, and the gate stays shut.",
            "Does it use its arguments and nothing else? The check brings errors of its own.",
        )
    if worse and same:
        return Wrong(
            "The gate opens, whatever it gets.",
            "Does it look at `squares` and `days`, or at other names of the notebook?",
        )
    if worse:
        return Wrong(
            "The gate opens for a challenger that is clearly worse, too.",
            "A difference that is not luck can be a loss. On which side of zero is the interval?",
        )
    if same:
        return Wrong(
            "Both are off by the same on every trip, and the gate opens.",
            "A change needs a reason: is a gain of zero one?",
        )
    return None


def _misjudged_ends(hardly: list[bool], just: list[bool]) -> Wrong | None:
    """Return what is wrong with where the interval ends, if anything is."""
    if sum(hardly) > 0.9 * len(hardly):  # with few draws, it is open now and then
        return Wrong(
            "Where four draws in a hundred have no gain, zero is inside of the 95 % interval.",
            "What is left out, 5 %, is at *both* ends: how much is it at the lower one?",
        )
    if not any(just):
        return Wrong(
            "Where one draw in a hundred has no gain, zero is outside of the 95 % interval.",
            "How much is left out at the lower end?",
        )
    return _FEW if sum(hardly) > 1 or not all(just) else None


_NEW_YORK = ZoneInfo("America/New_York")
_COLUMNS = ["PULocationID", "DOLocationID", "trip_distance", "pickup_datetime"]


def q3(as_the_model_knows_it: object) -> Right | Wrong:
    """Judge a function that makes the model's table from requests, by New York's clock."""
    answer, moments = function(as_the_model_knows_it), _moments()
    requests = [_request(n, *moment) for n, moment in enumerate(moments, start=1)]
    trips = table(answer([dict(request) for request in requests]))
    wrong = _other_table(trips, requests) or _other_times(trips["pickup_datetime"], moments)
    if wrong:
        return wrong
    if len(alone := table(answer([dict(requests[0])]))) != 1:
        return Wrong(f"For a single request the table has {len(alone)} rows.")
    return Right(
        "With the fault, nothing failed: each request got an answer, and the model's score was as "
        "good as ever, because the months have New York's time. Only the passengers got the "
        "minutes of another hour: both requests of the exercise came at 8:05 in New York, and the "
        "model saw 13:05. This is training-serving skew: two pieces of code make the same "
        "columns. Test the service with requests as they arrive, or let one piece do both."
    )


def _moments() -> list[tuple[datetime, timezone]]:
    """Draw moments of a winter and a summer, in no order, each with the zone of its request."""
    chance = SystemRandom()
    first = [datetime(chance.randint(2021, 2026), month, 1, tzinfo=UTC) for month in (1, 7)]
    minutes = chance.sample(range(30 * 24 * 60), 10)  # of a month
    found = [begin + timedelta(minutes=minute) for begin in first for minute in minutes]
    zones = [UTC] * 7 + [timezone(timedelta(hours=hours)) for hours in (1, -5, 5.5)]
    asked = list(zip(found, zones * 2, strict=True))
    chance.shuffle(asked)
    return asked


def _request(number: int, moment: datetime, zone: timezone) -> dict:
    """Return a request as an app sends it; its distance says which one it is."""
    text = moment.astimezone(zone).isoformat().replace("+00:00", "Z")
    zones = {"PULocationID": 7 * number + 1, "DOLocationID": 265 - 5 * number}
    # Not in the order of the request's number, so that sorted trips are noticed.
    miles = number * 37 % 101 / 4
    return zones | {"trip_distance": miles, "pickup_datetime": text, "dispatched": number % 2}


def _other_table(trips: pd.DataFrame, requests: list[dict]) -> Wrong | None:
    """Return what is wrong with a table, apart from its times."""
    if wrong := _other_columns(list(trips)):
        return wrong
    if len(trips) != len(requests):
        return Wrong(f"{len(requests)} requests have become {len(trips)} rows.")
    sent, rest = pd.DataFrame(requests)[_COLUMNS[:3]], trips[_COLUMNS[:3]]
    if not all(map(pd.api.types.is_numeric_dtype, rest.dtypes)):
        return Wrong("The zones and the distance are numbers in the request, and should stay so.")
    if np.array_equal(rest.to_numpy(), sent.to_numpy()):
        return None
    given, asked = rest["trip_distance"].tolist(), sent["trip_distance"].tolist()
    if given != asked and sorted(given) == sorted(asked):
        return Wrong(
            "The rows are in another order than the requests.",
            "The service gives the first prediction to the first one who asked.",
        )
    return Wrong("Only the time should change: zones or distances are not those of the requests.")


def _other_columns(names: list[str]) -> Wrong | None:
    if missing := [name for name in _COLUMNS if name not in names]:
        return Wrong(f"The table has no column `{missing[0]}`.")
    if more := [name for name in names if name not in _COLUMNS]:
        return Wrong(f"The table has a column more than was asked for: {shown(more[0])}.")
    if names != _COLUMNS:
        return Wrong(
            "The columns are the right ones, but in another order.",
            "A model that was fitted on plain numbers would take a zone for a distance.",
        )
    return None


def _other_times(column: pd.Series, moments: list[tuple[datetime, timezone]]) -> Wrong | None:
    """Return what is wrong with the times, if anything is."""
    if isinstance(column.dtype, pd.DatetimeTZDtype) or getattr(column.iloc[0], "tzinfo", None):
        return Wrong(
            "The times still have a zone; the model's have none.",
            "The zone can be dropped as soon as the hours are right.",
        )
    if not pd.api.types.is_datetime64_dtype(column):
        return Wrong(f"The times are no times of pandas: the first one is {shown(column.iloc[0])}.")
    said = column.to_numpy().astype("M8[s]")
    utc = np.array([moment.replace(tzinfo=None) for moment, _ in moments], "M8[s]")
    behind = np.array([-moment.astimezone(_NEW_YORK).utcoffset() for moment, _ in moments], "m8[s]")
    if (said == utc - behind).all():
        return None
    with_z = np.array([zone is UTC for _, zone in moments])
    return _misread((said - utc)[with_z], behind[with_z])


def _misread(moved: np.ndarray, behind: np.ndarray) -> Wrong:
    """Return what is wrong with times that were moved from UTC by so much, of requests with Z."""
    right, none = moved == -behind, np.timedelta64(0, "s")
    if right.all():
        return Wrong(
            "Times that end in `Z` are right. Those of apps that send another offset, such as "
            "`+01:00`, are not.",
            "The offset says how far the app's clock is from UTC. Has it been cut off?",
        )
    if (moved == none).all():
        return Wrong(
            "The zone is gone, but the clock was not moved to New York's.",
            "Dropping a zone does not move the clock. What has to come before?",
        )
    if (moved > none).all():
        return Wrong(
            "The clock was moved in the wrong direction: New York is behind UTC, not ahead of it.",
            "What is the zone of the time in the request, and into which one is it to be moved?",
        )
    if len(np.unique(moved)) == 1:
        return Wrong(
            "The clock is moved by the same number of hours in winter and in summer.",
            "New York changes its clocks twice a year. Who knows when? A zone with a name does.",
        )
    return Wrong(
        f"{(~right).sum()} of {len(right)} times are not those of New York's clock.",
        "Compare a few of them by hand, one in January and one in July.",
    )
