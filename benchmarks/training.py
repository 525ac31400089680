"""The workbook's model against the course's: seconds and error; and how training shares a core."""

import subprocess
import sys
import time
from functools import partial

from benchmarks.paired import Row, in_turn, main, program
from taxi_lib import features, models
from taxi_lib.trips import data, sources

MONTHS = {"2021-01": "2021-02", "2023-01": "2023-02"}
BOUNDS = {"2021-01": 5.33, "2023-01": 4.33}
# Trains the course's model as a program of its own, because XGBoost's threads read how to wait
# when the program starts.
TRAIN = """
import time
from taxi_lib import features, models
from taxi_lib.trips import data, sources
trips = features.add_pair(data.read_trips(sources.fetch_months("2021-01")[0])[0])
begun = time.perf_counter()
models.course_model(n_estimators={rounds}).fit(trips, trips["duration"])
print(time.perf_counter() - begun)
"""


def compare_models(month: str, later: str, quick: bool) -> list[Row]:
    """Train both models on a month, one after the other, and score them on the next one."""
    files = sources.fetch_months(month, later)
    train, val = (data.read_trips(file)[0] for file in files)
    rounds = {"n_estimators": 5} if quick else {}
    ways = {
        "ours": (partial(models.fit_workbook_model, **rounds), features.describe_rides),
        "theirs": (models.course_model(**rounds).fit, features.add_pair),
    }
    errors: dict[str, float] = {}

    def trained(way: str) -> float:
        fit, describe = ways[way]
        begun = time.perf_counter()
        model = fit(describe(train), train["duration"])
        seconds = time.perf_counter() - begun
        errors[way] = models.rmse(model, describe(val).assign(duration=val["duration"]))
        return seconds

    spent = in_turn(1 if quick else 3, *(lambda way=way: trained(way) for way in ways))
    bound = None if quick or not files[0].is_real else BOUNDS[month]
    where = f"{month} ({files[0].source})"
    scores = ([errors[way]] for way in ways)
    return [
        Row(f"train the workbook's model on {where}", "the course's model", *spent, bound=0.1),
        Row(f"its RMSE on {later}", "the course's model", *scores, "value", bound, "min"),
    ]


def beside_a_busy_process(quick: bool) -> Row:
    """Compare threads that give the core away (``GOMP_SPINCOUNT``) with those that spin."""
    command = ["-c", TRAIN.format(rounds=1 if quick else 30)]

    def trained(spin_count: str) -> float:
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            return float(program(command, GOMP_SPINCOUNT=spin_count).printed.splitlines()[-1])
        finally:
            neighbour.kill()
            neighbour.wait()

    # The second count is what OpenMP's library takes when the variable is not set.
    counts = ("1000", "300000")
    spent = in_turn(1 if quick else 3, *(lambda count=count: trained(count) for count in counts))
    return Row("train beside a busy process, giving way", "threads that spin", *spent, bound=1)


def measure(quick: bool) -> list[Row]:
    """Compare the models on each pair of months, and the two ways to wait."""
    months = list(MONTHS.items())[: 1 if quick else None]
    rows = [row for pair in months for row in compare_models(*pair, quick)]
    return [*rows, beside_a_busy_process(quick)]


if __name__ == "__main__":
    main(measure)
