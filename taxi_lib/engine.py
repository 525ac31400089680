"""papermill's engine for this workbook: a kernel of this environment, watched cell by cell."""

import asyncio
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Timer

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from traitlets.config import Config

from taxi_lib.masking import mask_all
from taxi_lib.processes import stop_marked


@dataclass(frozen=True)
class Limits:
    """How long a cell and a whole notebook may take, in seconds."""

    cell: float = 900
    notebook: float = 3600


@dataclass
class Kernel:
    """What a kernel is started with, and who is told what happens in it.

    Attributes
    ----------
    folder : pathlib.Path
        Its working directory.
    env : dict of str to str
        Its environment.
    mark : str
        Of its processes, in that environment; see :mod:`taxi_lib.processes`.
    on_cell : callable
        Is told each cell as it starts.
    on_text : callable
        Is told each text that a cell prints.
    secrets : dict of str to str
        Parameters by name that are assigned unseen.
    limits : Limits
        How long it may take.
    late : threading.Event
        Set once the notebook took too long and was stopped.
    """

    folder: Path
    env: dict[str, str]
    mark: str
    on_cell: Callable[..., None]
    on_text: Callable[[str], None]
    secrets: dict[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    late: Event = field(default_factory=Event)


class _Client(PapermillNotebookClient):
    """papermill's client, which hides secrets in every message before anything is done with it."""

    kernel: Kernel

    def process_message(self, msg: dict, cell: NotebookNode, cell_index: int) -> NotebookNode:
        if self.kernel.secrets:
            msg = msg | {"content": mask_all(msg["content"], self.kernel.secrets.values())}
        if msg["msg_type"] == "stream":
            self.kernel.on_text(msg["content"]["text"])
        return super().process_message(msg, cell, cell_index)

    async def run(self, env: dict[str, str]) -> None:
        """Execute the cells up to the first that fails, as papermill does.

        papermill's own way leaves an event loop open in each thread, and two threads that have
        got it from a third fail with "This event loop is already running".
        """
        self.reset_execution_trackers()
        async with self.async_setup_kernel(env=env):
            for index, cell in enumerate(self.nb.cells):
                try:
                    self.nb_man.cell_start(cell, index)
                    await self.async_execute_cell(cell, index)
                except CellExecutionError as error:
                    self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                    break
                finally:
                    self.nb_man.cell_complete(cell, cell_index=index)
            self.set_widgets_metadata()

    async def assign_secrets(self, cell: NotebookNode, **_: object) -> None:
        if "injected-parameters" in cell.metadata.get("tags", []):
            for name, value in self.kernel.secrets.items():
                self.kc.execute(f"{name} = {value!r}", silent=True, store_history=False)


class _LessonEngine(Engine):
    """papermill's engine, with an environment and a folder of its own for each kernel."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, *, kernel: Kernel, **_: object
    ) -> None:
        def too_late() -> None:
            kernel.late.set()
            stop_marked(kernel.mark)

        timer = Timer(kernel.limits.notebook, too_late)
        timer.daemon = True
        # Socket files that only this user may open, instead of open ports.
        with tempfile.TemporaryDirectory(prefix="kernel-", ignore_cleanup_errors=True) as scratch:
            client = _Client(
                nb_man,
                km=_manager(scratch),
                log=_quiet(),
                kernel_name=kernel_name,
                startup_timeout=120,
                timeout=kernel.limits.cell,
                on_cell_start=kernel.on_cell,
                resources={"metadata": {"path": str(kernel.folder)}},
                # A kernel that is told to stop complains, into the page of a lesson that ran it.
                extra_arguments=["--log-level=CRITICAL"],
            )
            client.kernel, client.owns_km = kernel, True
            client.on_cell_executed = client.assign_secrets
            timer.start()
            try:
                asyncio.run(client.run(kernel.env | _own_folders(scratch, kernel.env)))
            finally:
                timer.cancel()
                stop_marked(kernel.mark)  # and what its cells have started and left


def register() -> str:
    """Make the engine known to papermill; its name there."""
    papermill_engines.register("lesson", _LessonEngine)
    return "lesson"


def _manager(scratch: str) -> AsyncKernelManager:
    """Return the manager of a kernel of this very environment, whatever kernels are installed."""
    where = {
        "transport": "ipc",
        "ip": f"{scratch}/kernel",
        "connection_file": f"{scratch}/kernel.json",
    }
    ours = KernelSpecManager(kernel_dirs=[])
    config = Config({"KernelManager": where})
    return AsyncKernelManager(
        kernel_name="python3", kernel_spec_manager=ours, config=config, log=_quiet()
    )


def _quiet() -> logging.Logger:
    """Return a log that nobody sees: what goes wrong is told by the runner, in its own words."""
    log = logging.getLogger(__name__)
    log.setLevel(logging.CRITICAL + 1)
    return log


def _own_folders(scratch: str, env: dict[str, str]) -> dict[str, str]:
    """Return where a kernel keeps what it would write into a home, which may not be writable."""
    folders = {"IPYTHONDIR": f"{scratch}/ipython", "JUPYTER_RUNTIME_DIR": scratch}
    try:
        Path(env.get("HOME") or Path.home(), ".cache").mkdir(exist_ok=True)
    except OSError:
        folders["MPLCONFIGDIR"] = str(Path(tempfile.gettempdir()) / f"matplotlib-{os.getuid()}")
    return folders
