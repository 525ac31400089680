"""papermill's engine for this workbook: a kernel of this environment, watched cell by cell."""

import asyncio
import os
import tempfile
from threading import Timer

from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines

from taxi_lib.kernels import Kernel, manager, own_folders, quiet
from taxi_lib.masking import mask_all
from taxi_lib.notebooks import is_injected
from taxi_lib.processes import MARK, stop_marked


class _Client(PapermillNotebookClient):
    """papermill's client, which hides secrets in every message before anything is done with it."""

    kernel: Kernel
    held: dict | None = None

    def process_message(self, msg: dict, cell: NotebookNode, cell_index: int) -> object:
        kind, secrets = msg["msg_type"], self.kernel.secrets.values()
        if not secrets:
            return self._take(msg, cell, cell_index)
        if kind == "stream":
            return self._hold(msg, cell, cell_index)
        if self.held:
            last, self.held = self.held, None
            self._take(self._masked(last), cell, cell_index)
        shown = ("display_data", "update_display_data", "execute_result", "error", "comm_msg")
        return self._take(self._masked(msg) if kind in shown else msg, cell, cell_index)

    def _hold(self, msg: dict, cell: NotebookNode, cell_index: int) -> None:
        """Keep back a line that is not complete: a secret may come in pieces."""
        text = msg["content"]["text"]
        if self.held and self.held["content"]["name"] == msg["content"]["name"]:
            text = self.held["content"]["text"] + text
        elif self.held:
            self._take(self._masked(self.held), cell, cell_index)
        whole, newline, rest = text.rpartition("\n")
        self.held = _with_text(msg, rest) if rest else None
        if newline:
            self._take(self._masked(_with_text(msg, whole + newline)), cell, cell_index)

    def _take(self, msg: dict, cell: NotebookNode, cell_index: int) -> object:
        if msg["msg_type"] == "stream":
            self.kernel.on_text(msg["content"]["text"])
        return super().process_message(msg, cell, cell_index)

    def _masked(self, msg: dict) -> dict:
        return msg | {"content": mask_all(msg["content"], self.kernel.secrets.values())}

    async def run(self, env: dict[str, str], leash: int) -> None:
        """Execute the cells up to the first that fails, as papermill does.

        papermill's own way leaves an event loop open in each thread, and two threads that have
        got it from a third fail with "This event loop is already running".
        The supervisor of the kernel reads from the leash: it stops the notebook at its end.
        """
        self.reset_execution_trackers()
        async with self.async_setup_kernel(env=env, stdin=leash):
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
        if is_injected(cell):
            for name, value in self.kernel.secrets.items():
                self.kc.execute(f"{name} = {value!r}", silent=True, store_history=False)


def _with_text(msg: dict, text: str) -> dict:
    return msg | {"content": msg["content"] | {"text": text}}


class _LessonEngine(Engine):
    """papermill's engine, with an environment and a folder of its own for each kernel."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, *, kernel: Kernel, **_: object
    ) -> None:
        end, begin = os.pipe()
        held, leash = os.fdopen(end, "rb"), os.fdopen(begin, "wb")

        def too_late() -> None:
            kernel.late.set()
            leash.close()

        timer = Timer(kernel.limits.notebook, too_late)
        timer.daemon = True
        # Socket files that only this user may open, instead of open ports.
        with tempfile.TemporaryDirectory(prefix="kernel-", ignore_cleanup_errors=True) as scratch:
            client = _Client(
                nb_man,
                km=manager(scratch, kernel.mark),
                log=quiet(),
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
                # Who looks for what bears the mark must not find the supervisor, which finds more.
                env = {name: value for name, value in kernel.env.items() if name != MARK}
                env |= own_folders(scratch, kernel.env)
                asyncio.run(client.run(env, held.fileno()))
            finally:
                timer.cancel()
                leash.close()
                held.close()
                stop_marked(kernel.mark)  # should somebody have killed its supervisor


def register() -> str:
    """Make the engine known to papermill; its name there."""
    papermill_engines.register("lesson", _LessonEngine)
    return "lesson"
