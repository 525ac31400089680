"""Run a program for as long as somebody uses it; see :mod:`taxi_lib.services.shared_process`.

python -m taxi_lib.services.supervisor LOCK_FILE program argument …
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from taxi_lib.services.shared_process import lock_alone, stop_all


def main(lock_file: str, *arguments: str) -> int:
    """Supervise a program until it ends, or nobody holds the lock file; return its exit status."""
    signals = []
    # Also SIGINT: a shell lets programs that it starts in the background ignore it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.append(number))
    with Path(lock_file).open("r+") as file, TemporaryDirectory(prefix="shared-") as scratch:
        # A Prefect worker leaves empty folders among the temporary files.
        child = subprocess.Popen(arguments, env=os.environ | {"TMPDIR": scratch})
        try:
            while child.poll() is None and not signals and not lock_alone(file):
                time.sleep(0.25)
        finally:
            stop_all(Path(lock_file))
    return child.returncode or 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
