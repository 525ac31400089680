"""What single lessons promise beyond what all have in common."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

# Run the code of a notebook, and print a variable of it.
RUN = """
import json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    cells = [cell for cell in json.load(file)["cells"] if cell["cell_type"] == "code"]
scope = {}
for cell in cells:
    exec("".join(cell["source"]), scope)
    if sys.argv[2] in scope:
        break
print(json.dumps(scope[sys.argv[2]]))
"""


@pytest.mark.slow
def test_lesson_1_gives_the_same_digits_with_one_thread_and_with_two(runs_dir: Path):
    """Its solver stops early, at a point that depends on the order of sums."""
    lesson = next((ROOT / "notebooks").glob("01_*.ipynb"))
    found = []
    for threads in ("1", "2"):
        env = os.environ | {"OMP_NUM_THREADS": threads, "MPLBACKEND": "Agg"}
        env.pop("OPENBLAS_NUM_THREADS", None)
        command = [sys.executable, "-c", RUN, str(lesson), "linear_rmse"]
        run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        found.append(json.loads(run.stdout.splitlines()[-1]))
    assert found[0] == found[1]
