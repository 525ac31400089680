"""Runs a minute of several workers at once: Prefect's server on PostgreSQL, and on SQLite.

Each worker is a process that runs one small flow after another. A process for each run, as
Prefect's own workers start it, takes seconds of a core, which would hide what the database takes.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.paired import Row, in_turn, main, own_workspace
from taxi_lib.services import postgres_server
from taxi_lib.services.prefect_local import shared_server

WORKER = """
import sys
from prefect import flow, task

@task
def add_one(n: int) -> int:
    return n + 1

@flow
def small(n: int) -> int:
    return sum(add_one(n) for _ in range(3))

small(0)
print("ready", flush=True)
sys.stdin.read()  # until all the others are ready, too
for n in range(int(sys.argv[1])):
    small(n)
"""
COUNTS, RUNS, ROUNDS = (1, 2, 4, 8), 24, 3


@dataclass(frozen=True)
class Server:
    """A Prefect server: the address of its API, and the file with what it printed."""

    api: str
    log: Path

    def runs_a_minute(self, workers: int, runs: int) -> float:
        """Let workers share some runs, all at once; return how many they do in a minute."""
        command = [sys.executable, "-c", WORKER, str(runs // workers)]
        env = os.environ | {"PREFECT_API_URL": self.api}
        pipe = subprocess.PIPE
        with ExitStack() as open_pipes:
            started = [
                open_pipes.enter_context(
                    subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe)
                )
                for _ in range(workers)
            ]
            for worker in started:
                worker.stdout.readline()
            begun = time.perf_counter()
            for worker in started:
                worker.stdin.close()  # go
            codes = [worker.wait() for worker in started]
            seconds = time.perf_counter() - begun
        if any(codes):
            sys.exit(f"A worker on {self.log.parent.name} ended with exit status {max(codes)}.")
        return 60 * runs / seconds

    def locked(self) -> float:
        """Return how often the server has found its database locked."""
        return float(self.log.read_text("utf-8", "replace").count("database is locked"))


@contextmanager
def server(home: Path, database: str = "") -> Iterator[Server]:
    """Start a Prefect server with a home and a database of its own."""
    os.environ["PREFECT_HOME"] = str(home)  # own_workspace puts it back
    with shared_server(database=database) as api:
        (log,) = home.glob("server*.log")
        yield Server(api, log)


def measure(quick: bool) -> list[Row]:
    """Let 1, 2, 4 and 8 workers share the same runs, on one database and on the other in turn."""
    counts, runs, rounds = ((2,), 2, 1) if quick else (COUNTS, RUNS, ROUNDS)
    with own_workspace() as base, postgres_server("prefect") as postgres, ExitStack() as running:
        address = postgres.url("prefect", "asyncpg")
        light = running.enter_context(server(base / "SQLite"))
        real = running.enter_context(server(base / "PostgreSQL", address))
        rows = [_compare(real, light, count, runs, rounds) for count in counts]
        locked = ([real.locked()], [light.locked()])
    what = ("'database is locked' in PostgreSQL's server", "in SQLite's")
    return [*rows, Row(*what, *locked, "difference", unit="times")]


def _compare(real: Server, light: Server, workers: int, runs: int, rounds: int) -> Row:
    ways = (partial(each.runs_a_minute, workers, runs) for each in (real, light))
    what = f"flow runs a minute on PostgreSQL, {workers} at once"
    return Row(what, "on SQLite", *in_turn(rounds, *ways), unit="runs/min")


if __name__ == "__main__":
    main(measure)
