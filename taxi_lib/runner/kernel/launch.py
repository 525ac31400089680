"""How a kernel is started, and where it keeps its files."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets.config import Config

from taxi_lib.errors import TaxiError

_SHORT = ("/tmp", "/var/tmp", "/dev/shm")
_LONGEST = 93  # bytes of a folder for sockets: their paths are longer, and macOS takes 103
PIPE = "TAXI_PIPE_{}"  # the variable with the number of a pipe's end
PACKER = "taxi_lib.runner.kernel.streams.pack"
OPTIONS = [
    # A kernel that has to stop complains, even into the page of a lesson that runs kernels.
    "--log-level=CRITICAL",
    f"--Session.packer={PACKER}",
    "--IPKernelApp.outstream_class=taxi_lib.runner.kernel.streams.OutStream",
    "--IPKernelApp.kernel_class=taxi_lib.runner.kernel.startup.Kernel",
]
# Variables that would change in silence what a notebook does: asserts are skipped, a program runs
# before the first cell, figures are not shown.
LEFT_OUT = ("PYTHONOPTIMIZE", "PYTHONSTARTUP", "MPLBACKEND")


def manager(scratch: str, run_tag: str) -> AsyncKernelManager:
    """Return the manager of a kernel of this environment, whatever other kernels are installed.

    The kernel is a child of the reaper: see :mod:`taxi_lib.runner.kernel.reaper`.
    """
    where = {"connection_file": f"{scratch}/kernel.json"}
    if _is_short(scratch):  # otherwise it listens on ports, and requests need its key
        where |= {"transport": "ipc", "ip": f"{scratch}/kernel"}
    ours = KernelSpecManager(kernel_dirs=[])
    config = Config({"KernelManager": where, "Session": {"packer": PACKER}})
    found = AsyncKernelManager(
        kernel_name="python3", kernel_spec_manager=ours, config=config, log=quiet()
    )
    reaper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("reaper.py")), run_tag]
    # -P: the kernel imports none of its own modules from the working directory.
    python, *rest = found.kernel_spec.argv
    found.kernel_spec.argv = [*reaper, python, "-P", *rest]
    return found


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Yield a folder for a kernel's files and sockets, which only this user may open."""
    places = list(_SHORT)
    with suppress(OSError):  # there may be no usual place that can be written to
        places.insert(0, tempfile.gettempdir())
    # Places with short names come first, for the sake of the sockets.
    for place in sorted(places, key=lambda place: not _is_short(f"{place}/kernel-12345678")):
        try:
            made = TemporaryDirectory(prefix="kernel-", dir=place, ignore_cleanup_errors=True)
        except OSError:
            continue
        with made as folder:
            yield folder
        return
    raise TaxiError(
        f"A kernel's files can be written neither to {' nor to '.join(dict.fromkeys(places))}: "
        "set TMPDIR to a folder that you may write to."
    )


def _is_short(folder: str) -> bool:
    return len(os.fsencode(folder)) <= _LONGEST


@contextmanager
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Yield the two ends of a pipe, to read from and to write to, and close them."""
    output, entry = os.pipe()
    with os.fdopen(output, "rb", 0) as reader, os.fdopen(entry, "wb", 0) as writer:
        yield reader, writer


def quiet() -> logging.Logger:
    """Return a log that nobody sees: the runner reports what goes wrong."""
    log = logging.getLogger(__name__)
    log.setLevel(logging.CRITICAL + 1)
    return log


def own_folders(scratch: str, env: dict[str, str]) -> dict[str, str]:
    """Return the variables that name a kernel's folders. Its home may not be writable."""
    folders = {"IPYTHONDIR": f"{scratch}/ipython", "JUPYTER_RUNTIME_DIR": scratch}
    folders["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # no advice about the debugger at the start
    try:
        Path(env.get("HOME") or Path.home(), ".cache").mkdir(exist_ok=True)
    except OSError:
        folders["MPLCONFIGDIR"] = str(Path(tempfile.gettempdir()) / f"matplotlib-{os.getuid()}")
    return folders
