"""papermill's engine for this workbook: a kernel of this environment, watched cell by cell."""

import asyncio
import os
import tempfile
from contextlib import suppress
from threading import Timer
from typing import Any

from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines

from taxi_lib.kernels import Kernel, manager, own_folders, quiet
from taxi_lib.masking import mask_all
from taxi_lib.notebooks import is_injected
from taxi_lib.processes import MARK, stop_marked

KERNEL = "taxi_lib.kernel_startup.Kernel"


class CellFailedError(Exception):
    """A cell failed.

    Attributes
    ----------
    index : int
        Of the cell, in the notebook that was run.
    failure : dict
        What went wrong: see :func:`taxi_lib.cell_errors.describe`.
    """

    def __init__(self, index: int, failure: dict[str, Any]) -> None:
        super().__init__(index, failure)
        self.index, self.failure = index, failure


class ExpectedErrorsError(Exception):
    """All cells were run, and some raised what they are tagged to raise."""


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
        """Execute the cells up to the first that fails.

        papermill's own way leaves an event loop open in each thread, and two threads that have
        got it from a third fail with "This event loop is already running".
        It also takes every error that it finds in the notebook for a failure, tagged or not.
        The supervisor of the kernel reads from the leash: it stops the notebook at its end.

        Raises
        ------
        CellFailedError
            With the cell that failed.
        ExpectedErrorsError
            When errors that were expected are all that went wrong.
        """
        self.reset_execution_trackers()
        failed: CellFailedError | None = None
        async with self.async_setup_kernel(env=env, stdin=leash):
            for index, cell in enumerate(self.nb.cells):
                try:
                    self.nb_man.cell_start(cell, index)
                    await self._run_cell(cell, index)
                except CellFailedError as error:
                    self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                    failed = error
                    break
                finally:
                    self.nb_man.cell_complete(cell, cell_index=index)
            self.set_widgets_metadata()
        if failed:
            raise failed
        if any(map(_errors, self.nb.cells)):
            raise ExpectedErrorsError

    async def _run_cell(self, cell: NotebookNode, index: int) -> None:
        """Execute one cell; what it is tagged to raise is no failure, leaving early always is."""
        tags = cell.metadata.get("tags", [])
        self.reply: dict[str, Any] = {}
        with suppress(CellExecutionError):
            await self.async_execute_cell(cell, index)
        failure = _failure(self.reply, _errors(cell))
        self.kernel.reads |= self.reply.get("reads") or {}
        ends = [p for p in self.reply.get("payload") or [] if p.get("source") == "ask_exit"]
        if any(not end.get("keepkernel") for end in ends) and _has_code(self.nb.cells[index + 1 :]):
            raise CellFailedError(index, {"name": "SystemExit"})
        if failure and ("raises-exception" not in tags or failure["name"] == "SystemExit"):
            raise CellFailedError(index, failure)

    async def hear(
        self, cell: NotebookNode, execute_reply: dict[str, Any] | None, **_: object
    ) -> None:
        """Keep the kernel's reply to a cell, and assign the secrets after the parameters."""
        self.reply = (execute_reply or {}).get("content", {})
        if is_injected(cell):
            for name, value in self.kernel.secrets.items():
                self.kc.execute(f"{name} = {value!r}", silent=True, store_history=False)


def _errors(cell: NotebookNode) -> list[NotebookNode]:
    return [o for o in cell.get("outputs", []) if o.output_type == "error"]


def _failure(reply: dict[str, Any], shown: list[NotebookNode]) -> dict[str, Any] | None:
    """Return what went wrong in a cell: as the kernel says, or as it was shown, as %tb does."""
    if reply.get("failure"):
        return reply["failure"]
    error = reply if reply.get("status") == "error" else next(iter(shown), None)
    return error and {"name": error.get("ename", "Error"), "text": error.get("evalue", "")}


def _has_code(cells: list[NotebookNode]) -> bool:
    return any(cell.cell_type == "code" and cell.source.strip() for cell in cells)


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
                extra_arguments=["--log-level=CRITICAL", f"--IPKernelApp.kernel_class={KERNEL}"],
            )
            client.kernel, client.owns_km = kernel, True
            client.on_cell_executed = client.hear
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
