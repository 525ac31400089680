"""Seconds of a walkthrough: one by one, side by side, and again with nothing changed.

Run it with nothing else going on; name lessons, or leave them out for a few that train models:

    .venv/bin/python benchmarks/walkthrough.py 01 02 03

All twelve lessons on two cores took 401 s one by one, 267 s side by side (0.67 of it), with the
same results to the last digit, and 0.8 s again.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory


def walk(runs: Path, lessons: list[str], *options: str) -> dict:
    """Run some lessons; the summary."""
    command = [sys.executable, "-m", "taxi_lib", "run", *lessons, *options]
    env = os.environ | {"TAXI_RUNS_DIR": str(runs)}
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return json.loads((runs / "latest" / "summary.json").read_text())


def main(lessons: list[str]) -> None:
    """Print seconds and ratios, and whether the results are the same."""
    with TemporaryDirectory() as folder:
        ways = (["--jobs", "1"], ["--force"], [])
        one, beside, again = (walk(Path(folder), lessons, *way) for way in ways)
    ratio = beside["seconds"] / one["seconds"]
    print(f"one by one {one['seconds']:.0f} s, side by side {beside['seconds']:.0f} s ", end="")
    print(f"({ratio:.2f} of it), again {again['seconds']:.1f} s")
    results = [[run["results"] for run in report["notebooks"]] for report in (one, beside, again)]
    print("results are", "the same" if results[0] == results[1] == results[2] else "NOT the same")


if __name__ == "__main__":
    main(sys.argv[1:] or ["01", "02", "03"])
