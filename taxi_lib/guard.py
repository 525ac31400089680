"""What stops a run's kernels when the run itself was killed: a process that outlives it.

It waits for the end of its standard input. The operating system closes that however the run ends,
also when it was killed and could see to nothing.

    python -m taxi_lib.guard MARK
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taxi_lib.processes import scratch_prefix, stop_marked


@contextmanager
def guarded(mark: str) -> Iterator[None]:
    """Stop all that bears a mark when the block ends, or when this process dies in it."""
    guard = subprocess.Popen(
        [sys.executable, "-m", __spec__.name, mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the terminal is not for it
    )
    try:
        yield
    finally:
        stop_marked(mark)
        guard.communicate()  # it sees that we are done, and ends


if __name__ == "__main__":
    sys.stdin.buffer.read()
    stop_marked(sys.argv[1])
    for left in Path(tempfile.gettempdir()).glob(f"{scratch_prefix(sys.argv[1])}*"):
        shutil.rmtree(left, ignore_errors=True)
