"""Seconds to import what the lessons use, by whether it was compiled when it was installed.

``make setup`` compiles, and so does pip. Where it was not done and ``PYTHONDONTWRITEBYTECODE`` is
set, as in many containers, every kernel compiles again whatever it imports:

    .venv/bin/python benchmarks/imports.py
"""

import os
import statistics
import subprocess
import sys
from tempfile import TemporaryDirectory

MODULES = ["pandas", "sklearn.linear_model", "xgboost", "mlflow", "prefect", "seaborn"]
TIMED = "import time; begun = time.perf_counter(); import {}; print(time.perf_counter() - begun)"


def seconds(module: str, env: dict[str, str]) -> float:
    """Return the median seconds of importing a module in three fresh processes."""
    command = [sys.executable, "-c", TIMED.format(module)]
    runs = [subprocess.check_output(command, env=os.environ | env) for _ in range(3)]
    return statistics.median(map(float, runs))


def main() -> None:
    """Print seconds and the ratio for each module."""
    with TemporaryDirectory() as nowhere:
        uncompiled = {"PYTHONPYCACHEPREFIX": nowhere, "PYTHONDONTWRITEBYTECODE": "1"}
        for module in MODULES:
            without, compiled = seconds(module, uncompiled), seconds(module, {})
            print(f"{module}: {without:.2f} s, compiled {compiled:.2f} s", end="")
            print(f" ({compiled / without:.2f} of it)")


if __name__ == "__main__":
    main()
