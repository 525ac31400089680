"""Seconds that a run costs beside its notebooks, against nbclient and papermill in the same run.

Run it with nothing else going on:

    .venv/bin/python benchmarks/overhead.py

Each figure is the median of three runs: wall time, and the CPU seconds of the command and of what
ended with it. Prefect's server ends later; to start it takes 4 to 5 seconds of CPU. The notebooks
print one number each.

Seconds on two idle cores, CPU seconds in brackets: nbclient 1.4 (0.9) for one notebook and 3.2
(2.2) for four, papermill 1.4 (1.3) and 3.3 (2.5), ``run`` 7.2 (3.7) and 10.3 (5.3), most of it the
start of Prefect's server; 0.4 (0.4) when nothing has changed, 0.8 (1.0) for a month that cannot be
had, 0.5 (0.5) for ``list``.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

TAXI = ["-m", "taxi_lib"]
NBCLIENT = """
import sys, nbformat, nbclient
for path in sys.argv[1:]:
    nbclient.NotebookClient(nbformat.read(path, 4), kernel_name="python3").execute()
"""
PAPERMILL = """
import sys, papermill
for path in sys.argv[1:]:
    papermill.execute_notebook(path, path + ".out", kernel_name="python3", progress_bar=False)
"""


def write_notebooks(folder: Path, count: int) -> list[str]:
    """Write some trivial notebooks; return their paths."""
    folder.mkdir()
    paths = [str(folder / f"{number:02d}_print.ipynb") for number in range(1, count + 1)]
    for number, path in enumerate(paths):
        cells = [new_markdown_cell("# 1. Print"), new_code_cell(f"print({number})")]
        nbformat.write(new_notebook(cells=cells), path)
    return paths


def measure(what: str, arguments: list[str], env: dict[str, str], status: int = 0) -> None:
    """Print the median wall and CPU seconds of a command."""
    walls, cpus = [], []
    for _ in range(3):
        begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=os.environ | env, capture_output=True, check=False)
        if done.returncode != status:
            sys.exit(f"{what}: exit status {done.returncode}\n{done.stderr.decode()}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - begun)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    wall, cpu = statistics.median(walls), statistics.median(cpus)
    print(f"{what:<44} {wall:5.1f} s   {cpu:5.1f} s of CPU", flush=True)


def main() -> None:
    """Print a line for each way to run one and four notebooks, and for what runs nothing."""
    with TemporaryDirectory(prefix="bench-") as base:
        one = write_notebooks(Path(base, "one"), 1)
        four = write_notebooks(Path(base, "four"), 4)
        Path(base, "data").mkdir()
        env = {"TAXI_RUNS_DIR": f"{base}/runs", "TAXI_DATA_DIR": f"{base}/data"}
        run = [*TAXI, "run", "--jobs", "1", "--folder"]
        subprocess.run([sys.executable, *run, f"{base}/four"], env=os.environ | env, check=True)
        for name, paths in (("one notebook", one), ("four notebooks", four)):
            folder = str(Path(paths[0]).parent)
            measure(f"nbclient, {name}", ["-c", NBCLIENT, *paths], env)
            measure(f"papermill, {name}", ["-c", PAPERMILL, *paths], env)
            for output in Path(folder).glob("*.out"):
                output.unlink()
            measure(f"run, {name}", [*run, folder, "--force"], env)
        measure("run, four notebooks, nothing changed", [*run, f"{base}/four"], env)
        missing = [*TAXI, "run", "01", "--source", "local"]
        measure("run, a month that cannot be had", missing, env, status=2)
        measure("list", [*TAXI, "list"], env)
        measure("python -c pass", ["-c", "pass"], env)


if __name__ == "__main__":
    main()
