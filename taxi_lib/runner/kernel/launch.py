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
_LONGEST = 100  # bytes of a socket's path without its ending: Linux takes 107 in all, macOS 103
PIPE = "TAXI_PIPE_{}"  # the variable with the number of a pipe's end
PACKER = "taxi_lib.runner.kernel.streams.pack"
OPTIONS = [
    # A kernel that is told to stop complains, into the page of a lesson that ran it.
    "--log-level=CRITICAL",
    f"--Session.packer={PACKER}",
    "--IPKernelApp.outstream_class=taxi_lib.runner.kernel.streams.OutStream",
    "--IPKernelApp.kernel_class=taxi_lib.runner.kernel.startup.Kernel",
]
# What would change in silence what a notebook does: asserts are skipped, a program of yours runs
# before the first cell, figures are not shown.
LEFT_OUT = ("PYTHONOPTIMIZE", "PYTHONSTARTUP", "MPLBACKEND")


def manager(scratch: str, run_tag: str) -> AsyncKernelManager:
    """Return the manager of a kernel of this very environment, whatever kernels are installed.

    The kernel is the child of a process that ends with it all that it started: see
    :mod:`taxi_lib.runner.kernel.reaper`.
    """
    where = {"connection_file": f"{scratch}/kernel.json"}
    if _is_short(scratch):  # else it listens on this machine, and answers who knows its key
        where |= {"transport": "ipc", "ip": _sockets(scratch)}
    ours = KernelSpecManager(kernel_dirs=[])
    config = Config({"KernelManager": where, "Session": {"packer": PACKER}})
    found = AsyncKernelManager(
        kernel_name="python3", kernel_spec_manager=ours, config=config, log=quiet()
    )
    reaper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("reaper.py")), run_tag]
    # -P: no module that lies in the working directory is taken for one that the kernel needs.
    python, *rest = found.kernel_spec.argv
    found.kernel_spec.argv = [*reaper, python, "-P", *rest]
    return found


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Yield a folder for a kernel's files, its sockets among them; only this user may open it.

    Raises
    ------
    TaxiError
        When there is no folder to make it in.
    """
    # Where sockets have short names comes first; sorting keeps the order else.
    for place in sorted(_places(), key=lambda place: not _is_short(f"{place}/kernel-12345678")):
        try:
            made = TemporaryDirectory(prefix="kernel-", dir=place, ignore_cleanup_errors=True)
        except OSError:
            continue
        with made as folder:
            yield folder
        return
    raise TaxiError(
        f"A kernel's files can be written neither to {' nor to '.join(_places())}: "
        "set TMPDIR to a folder that you may write to."
    )


def _places() -> list[str]:
    """Return where temporary folders may be made: where they belong, then where names are short."""
    with suppress(OSError):  # there is none, or none that can be written to
        return list(dict.fromkeys([tempfile.gettempdir(), *_SHORT]))
    return list(_SHORT)


def _is_short(scratch: str) -> bool:
    return len(os.fsencode(_sockets(scratch))) <= _LONGEST


def _sockets(scratch: str) -> str:
    return f"{scratch}/kernel"


@contextmanager
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Yield the end of a pipe from which to read, and the one to write to; close both."""
    end, beginning = os.pipe()
    with os.fdopen(end, "rb", 0) as reader, os.fdopen(beginning, "wb", 0) as writer:
        yield reader, writer


def quiet() -> logging.Logger:
    """Return a log that nobody sees: what goes wrong is told by the runner, in its own words."""
    log = logging.getLogger(__name__)
    log.setLevel(logging.CRITICAL + 1)
    return log


def own_folders(scratch: str, env: dict[str, str]) -> dict[str, str]:
    """Return where a kernel keeps what it would write into a home, which may not be writable."""
    folders = {"IPYTHONDIR": f"{scratch}/ipython", "JUPYTER_RUNTIME_DIR": scratch}
    folders["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # it starts with advice about its debugger
    try:
        Path(env.get("HOME") or Path.home(), ".cache").mkdir(exist_ok=True)
    except OSError:
        folders["MPLCONFIGDIR"] = str(Path(tempfile.gettempdir()) / f"matplotlib-{os.getuid()}")
    return folders
