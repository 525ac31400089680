"""Two ways to do the same work, measured in turn, so that a busy moment falls on both."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import psutil

from taxi_lib import settings
from taxi_lib.atomic_files import write_text

MEASURES = [
    *("data_path", "training", "walkthrough", "overhead", "each_value", "serving"),
    *("databases", "scaling"),
]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    what, against : str
        Our way, and the one that it is compared with.
    ours, theirs : list of float
        What each round measured, in `unit`.
    compared : {"ratio", "difference", "value"}
        What the bound is on: ours divided by theirs, ours less theirs, or ours alone.
    bound : float, optional
        What that may be at most.
    unit : str
        Of what was measured.
    """

    what: str
    against: str
    ours: list[float]
    theirs: list[float]
    compared: Literal["ratio", "difference", "value"] = "ratio"
    bound: float | None = None
    unit: str = "s"

    @property
    def value(self) -> float:
        """The median over the rounds of what the bound is on."""
        pairs = list(zip(self.ours, self.theirs, strict=True))
        if self.compared == "ratio":
            return statistics.median(ours / theirs for ours, theirs in pairs)
        if self.compared == "difference":
            return statistics.median(ours - theirs for ours, theirs in pairs)
        return statistics.median(self.ours)

    @property
    def is_kept(self) -> bool:
        """Whether the value is within its bound; also when there is none."""
        return self.bound is None or self.value <= self.bound

    @property
    def medians(self) -> tuple[float, float]:
        """The medians of ours and theirs."""
        return statistics.median(self.ours), statistics.median(self.theirs)


@dataclass(frozen=True)
class Spent:
    """What a program took: wall seconds, and the most memory it had, in MB; what it printed."""

    seconds: float
    memory: float
    printed: str


def in_turn(rounds: int, *ways: Callable[[], float]) -> list[list[float]]:
    """Return what each way measured of itself in each round; the ways take turns."""
    measured = [[way() for way in ways] for _ in range(rounds)]
    return [list(column) for column in zip(*measured, strict=True)]


def seconds(work: Callable[[], object]) -> float:
    """Return the wall seconds of some work."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def program(arguments: Iterable[object], **env: str) -> Spent:
    """Run Python with some arguments and return what it took; stop if it fails.

    The memory is that of the program or of the largest one that it waited for. It is not less
    than what this process has, so whoever asks for it imports nothing large.
    """
    command = [sys.executable, *map(str, arguments)]
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with process.stdout as stdout:
        printed = stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{printed}\n{' '.join(command)[:200]}: exit status {process.returncode}")
    kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return Spent(time.perf_counter() - begun, kilobytes / 1024, printed)


@contextmanager
def own_workspace() -> Iterator[Path]:
    """Yield a new folder for runs, with stores of its own, that the programs of a block use."""
    before = dict(os.environ)
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        for name in ("MLFLOW_TRACKING_URI", "_MLFLOW_SERVER_ARTIFACT_ROOT", "PREFECT_HOME"):
            os.environ.pop(name, None)
        os.environ["TAXI_RUNS_DIR"] = folder
        settings.use_workspace()
        try:
            yield Path(folder)
        finally:
            os.environ.clear()
            os.environ.update(before)


def results_file(name: str) -> Path:
    """Return where the last results of a measure are kept."""
    return settings.runs_dir() / "benchmarks" / f"{name}.json"


def main(measure: Callable[[bool], list[Row]]) -> None:
    """Measure, print the rows, and keep them; ``--quick`` only proves that it runs."""
    name, quick = Path(sys.argv[0]).stem, "--quick" in sys.argv[1:]
    settings.use_workspace()
    about = {"when": datetime.now(UTC).isoformat(timespec="minutes"), **_machine()}
    print(f"{name}: the machine is {about['busy']:.0f} % busy with other things", flush=True)
    rows = measure(quick)
    for row in rows:  # the bounds are for the whole work
        print(" ", as_line(replace(row, bound=None) if quick else row), flush=True)
    if not quick:
        keep(name, about, rows)


def keep(name: str, about: dict[str, Any], rows: list[Row]) -> None:
    """Keep what was measured, and where and when."""
    results_file(name).parent.mkdir(parents=True, exist_ok=True)
    content = about | {"rows": [asdict(row) for row in rows]}
    write_text(results_file(name), json.dumps(content, indent=1))


def as_line(row: Row) -> str:
    """Return a row as the terminal shows it."""
    ours, theirs = row.medians
    bound = "" if row.bound is None else f", at most {row.bound:.3g}"
    return (
        f"{row.what}: {ours:.3g} {row.unit}; {row.against}: {theirs:.3g} {row.unit}; "
        f"{row.compared} {row.value:.3g}{bound}{'' if row.is_kept else ': MISSED'}"
    )


def _machine() -> dict[str, Any]:
    return {
        "busy": psutil.cpu_percent(interval=1),
        "machine": f"{psutil.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GB, Python {platform.python_version()}",
    }
