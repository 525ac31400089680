"""The past runs of one notebook: when, how long, and with which results."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median

from taxi_lib import settings
from taxi_lib.errors import TaxiError
from taxi_lib.runner import past_runs, run_folder
from taxi_lib.runner.each_value import is_number, short
from taxi_lib.runner.evidence import Evidence, read_run

_BARS = "▁▂▃▄▅▆▇█"


def history(name: str, beside: Path | None = None) -> list[tuple[Path, Evidence]]:
    """Return the past runs of a notebook, the oldest first, each with its run's folder.

    Parameters
    ----------
    name : str
        The notebook.
    beside : pathlib.Path, optional
        The folder that it lies in, if it is no lesson.

    Returns
    -------
    list of tuple of pathlib.Path and Evidence
        A run over several values is in it once for each value.

    Raises
    ------
    TaxiError
        When no run has it.
    """
    found = [
        (folder, each)
        for folder in reversed(list(_runs_of(beside)))
        for each in read_run(folder).values()
        if each.name.rpartition("/")[2] == name
    ]
    if not found:
        raise TaxiError(f"No run in {settings.runs_dir()} has {name}: run it first.")
    return found


def _runs_of(beside: Path | None) -> Iterator[Path]:
    """Yield the runs of the lessons, or of a folder of notebooks, the newest first."""
    wanted = str(beside) if beside else None
    for folder in past_runs.past_runs():
        report = run_folder.read(folder)
        if report and report["request"].get("folder") == wanted:
            yield folder


def rows(runs: list[tuple[Path, Evidence]]) -> list[dict[str, str]]:
    """Return a row for each run: when it ended, its status, its seconds and its results."""
    names = dict.fromkeys(n for _, each in runs for n, v in each.results.items() if is_number(v))
    return [
        {
            "ended": each.ended.replace("T", " ")[:16] or folder.name[:16].replace("T", " "),
            "value": each.name.rpartition("/")[0],
            "status": each.status,
            "seconds": f"{each.seconds:.1f}",
            **{name: short(each.results.get(name)) for name in names},
        }
        for folder, each in runs
    ]


def trends(runs: list[tuple[Path, Evidence]]) -> dict[str, str]:
    """Return small bars for the seconds of what was executed, and for each numeric result."""
    executed = [each.seconds for _, each in runs if each.status == "completed"]
    found = {"seconds": sparkline(executed)}
    for name in dict.fromkeys(n for _, each in runs for n in each.results):
        values = [each.results.get(name) for _, each in runs]
        found[name] = sparkline([float(v) for v in values if is_number(v)])
    return {name: bars for name, bars in found.items() if bars}


def sparkline(values: list[float], most: int = 40) -> str:
    """Return a bar for each of the last values, between the smallest and the largest.

    Examples
    --------
    >>> sparkline([1.0, 2.0, 8.0])
    '▁▂█'
    """
    values = values[-most:]
    if len(values) < 2:
        return ""
    low, span = min(values), max(values) - min(values)
    if not span:
        return _BARS[3] * len(values)
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in values)


def usual_seconds(path: Path, most: int = 5) -> float | None:
    """Return the median seconds of the last runs that executed a notebook; None without any."""
    seconds: list[float] = []
    checkout = settings.checkout()  # the lessons are there, if they are anywhere
    lessons = checkout / "notebooks" if checkout else None
    beside = None if path.parent == lessons else path.parent
    for folder in islice(_runs_of(beside), 20):  # no more are read
        report = run_folder.read(folder) or {"notebooks": []}
        seconds += [
            run["seconds"]
            for run in report["notebooks"]
            if run["name"].rpartition("/")[2] == path.stem and run["status"] == "completed"
        ]
    return median(seconds[:most]) if seconds else None
