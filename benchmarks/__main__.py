"""Measure everything, or what is named: ``python -m benchmarks [NAME …] [--quick]``."""

import argparse
import subprocess
import sys

from benchmarks.paired import MEASURES


def main() -> None:
    """Measure one thing after the other, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}")
    parser.add_argument("--quick", action="store_true", help="only prove that it still runs")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(MEASURES):
        parser.error(f"{', '.join(unknown)} is not measured: choose from {', '.join(MEASURES)}")
    for name in asked.names or MEASURES:
        command = [sys.executable, "-m", f"benchmarks.{name}", *["--quick"] * asked.quick]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
