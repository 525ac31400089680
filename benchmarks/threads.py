"""Seconds to train the course's model beside a busy process, by how XGBoost's threads wait.

On two cores the threads of OpenMP spin while they wait for each other, and a third busy process
makes them wait long. ``GOMP_SPINCOUNT`` says when to stop spinning and give the core away; see
``taxi_lib.settings.environment``. Run it with nothing else going on:

    .venv/bin/python benchmarks/threads.py
"""

import os
import subprocess
import sys

TRAIN = """
import time
from taxi_lib import features, models
from taxi_lib.trips import data, sources
trips, _ = data.read_trips(sources.fetch_months("2021-01")[0])
trips = features.add_pair(trips)
begun = time.perf_counter()
models.course_model(n_estimators=30).fit(trips, trips["duration"])
print(time.perf_counter() - begun)
"""


def train(env: dict[str, str], busy: bool) -> float:
    """Return the seconds of a training in a process of its own, perhaps beside a busy one."""
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        command = [sys.executable, "-c", TRAIN]
        return float(subprocess.check_output(command, env=os.environ | env))
    finally:
        if neighbour:
            neighbour.kill()
            neighbour.wait()


def main() -> None:
    """Print seconds and the ratio to spinning for both ways, alone and beside a busy process."""
    train({}, busy=False)  # the first run reads or makes up the month
    for busy in (False, True):
        spins, gives_way = train({}, busy), train({"GOMP_SPINCOUNT": "1000"}, busy)
        where = "beside a busy process" if busy else "alone"
        print(f"{where}: spinning {spins:.1f} s, giving way {gives_way:.1f} s", end="")
        print(f" ({gives_way / spins:.2f} of it)")


if __name__ == "__main__":
    main()
