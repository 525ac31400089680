"""papermill's engine of the runner: a kernel of this environment, watched cell by cell."""

import asyncio
import atexit
import os
from codecs import getincrementaldecoder
from contextlib import suppress
from typing import Any, BinaryIO

from jupyter_client.client import KernelClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines

from taxi_lib.runner.kernel import launch
from taxi_lib.runner.kernel.outputs import KeptOutputs
from taxi_lib.runner.masking import StreamMask, mask_all
from taxi_lib.runner.notebook_file import is_injected
from taxi_lib.runner.run_context import Session
from taxi_lib.services.processes import RUN_TAG, stop_tagged


class CellFailedError(Exception):
    """A cell failed; ``failure`` is from :func:`taxi_lib.runner.kernel.errors.describe`."""

    def __init__(self, failure: dict[str, Any]) -> None:
        super().__init__(failure)
        self.failure = failure


class KernelNotStartedError(DeadKernelError):
    """A kernel died before it answered, or did not answer in time."""


class NotebookTimeoutError(Exception):
    """A notebook took too long and was stopped."""


class ExpectedErrorsError(Exception):
    """All cells were run, and some raised what they are tagged to raise."""


class _Client(PapermillNotebookClient):
    """papermill's client, which masks secrets in every message before it is used.

    The kernel keeps its files in ``scratch``. Its standard output and error come out of ``pipes``.
    """

    def __init__(
        self,
        nb_man: NotebookExecutionManager,
        session: Session,
        scratch: str,
        pipes: tuple[BinaryIO, ...],
    ) -> None:
        seconds = session.context.cell_seconds
        super().__init__(
            nb_man,
            km=launch.manager(scratch, session.run_tag),
            log=launch.quiet(),
            startup_timeout=120,
            timeout=seconds,
            iopub_timeout=max(60, int(seconds)),  # output may arrive long after its cell has ended
            on_cell_start=session.on_cell,
            on_cell_executed=self._on_cell_executed,
            resources={"metadata": {"path": str(session.folder)}},
            extra_arguments=launch.OPTIONS,
        )
        self.session, self.pipes, self.owns_km = session, pipes, True
        self.kept, self.is_late = KeptOutputs(), False
        for pipe in pipes:
            os.set_blocking(pipe.fileno(), False)
        self.decoder = getincrementaldecoder("utf-8")("backslashreplace")
        self.last: dict[str, dict] = {}
        # A secret may come in pieces in each stream, and in the log, where the streams meet.
        self.secrets = session.secrets.values()
        self.masks = {name: StreamMask(self.secrets) for name in ("stdout", "stderr", "pipe")}
        self.log_mask = StreamMask(self.secrets)

    async def async_start_new_kernel_client(self) -> KernelClient:
        try:
            return await super().async_start_new_kernel_client()
        except RuntimeError as error:
            raise KernelNotStartedError(f"the kernel did not start ({error})") from error

    def process_message(self, msg: dict, cell: NotebookNode, cell_index: int) -> object:
        if msg["msg_type"] == "stream":
            name, self.last[name] = msg["content"]["name"], msg
            text = self.masks[name].feed(msg["content"]["text"])
            return self._process_text(msg, text, cell, cell_index)
        for name, last in self.last.items():
            self._process_text(last, self.masks[name].flush(), cell, cell_index)
        self.last = {}
        if self.secrets:
            msg = msg | {"content": mask_all(msg["content"], self.secrets)}
        return super().process_message(msg, cell, cell_index)

    def _process_text(self, msg: dict, text: str, cell: NotebookNode, cell_index: int) -> object:
        if not text:
            return None
        self._report(text)
        msg = msg | {"content": msg["content"] | {"text": text}}
        return super().process_message(msg, cell, cell_index)

    def output(
        self, outs: list[NotebookNode], msg: dict, display_id: str | None, cell_index: int
    ) -> NotebookNode | None:
        """Add a message to a cell's outputs, to the output before it where that is possible."""
        hooked = self.output_hook_stack[msg["parent_header"].get("msg_id")]
        earlier = [] if self.clear_before_next_output else outs
        if hooked or not self.kept.merge(earlier, msg, cell_index):
            return super().output(outs, msg, display_id, cell_index)
        if msg["msg_type"] != "stream":  # the notebook does not keep it
            self._report(f"{msg['content']['data'].get('text/plain', '')}\n")
        return None

    def _report(self, text: str) -> None:
        if text := self.log_mask.feed(text):
            self.session.on_text(text)

    def _report_rest(self) -> None:
        self._report(self.masks["pipe"].flush())
        if text := self.log_mask.flush():
            self.session.on_text(text)

    def _watch_pipes(self) -> None:
        """Log what a kernel writes past its messages. While it runs cells, it does so itself."""
        for pipe in self.pipes:
            asyncio.get_running_loop().add_reader(pipe, self._read, pipe)

    def _leave_pipes(self) -> None:
        for pipe in self.pipes:
            asyncio.get_running_loop().remove_reader(pipe)
            self._read(pipe)
        self._report_rest()

    def _read(self, pipe: BinaryIO) -> None:
        while data := pipe.read(1 << 16):
            self._report(self.masks["pipe"].feed(self.decoder.decode(data)))

    async def run(self, leash: BinaryIO, **start: object) -> None:
        """Start the kernel and execute the cells up to the first that fails.

        The reaper ends the kernel when its leash is closed, at the latest when time is up.

        papermill's own ``execute`` leaves an event loop open in each thread, two threads can fail
        with "This event loop is already running", and it takes every error in the notebook for a
        failure, whatever the cell's tags. Here only a failed cell is a CellFailedError.
        """

        def stop() -> None:
            self.is_late = True
            leash.close()

        asyncio.get_running_loop().call_later(self.session.context.notebook_seconds, stop)
        self.reset_execution_trackers()
        self._watch_pipes()
        try:
            async with self.async_setup_kernel(**start):
                self._leave_pipes()
                try:
                    await self._run_cells()
                finally:
                    self._watch_pipes()
        finally:
            self._leave_pipes()
            # nbclient does this only after a good start, and at exit fails over the missing kernel.
            atexit.unregister(self._cleanup_kernel)
        if any(map(_errors, self.nb.cells)):
            raise ExpectedErrorsError

    async def _run_cells(self) -> None:
        try:
            for index, cell in enumerate(self.nb.cells):
                try:
                    self.nb_man.cell_start(cell, index)
                    await self._run_cell(cell, index)
                except CellFailedError as error:
                    self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                    raise
                finally:
                    self._report_rest()
                    self.nb_man.cell_complete(cell, cell_index=index)
        finally:
            self.set_widgets_metadata()

    async def _run_cell(self, cell: NotebookNode, index: int) -> None:
        """Execute one cell. An error that it is tagged to raise is no failure, an early end is."""
        tags = cell.metadata.get("tags", [])
        self.reply: dict[str, Any] = {}
        with suppress(CellExecutionError):
            await self.async_execute_cell(cell, index)
        failure = _failure(self.reply, _errors(cell))
        self.session.reads |= self.reply.get("reads") or {}
        ends = [p for p in self.reply.get("payload") or [] if p.get("source") == "ask_exit"]
        if any(not end.get("keepkernel") for end in ends) and _has_code(self.nb.cells[index + 1 :]):
            raise CellFailedError({"name": "SystemExit"})
        if failure and ("raises-exception" not in tags or failure["name"] == "SystemExit"):
            raise CellFailedError(failure)

    async def _on_cell_executed(
        self, cell: NotebookNode, execute_reply: dict[str, Any] | None, **_: object
    ) -> None:
        """Keep the kernel's reply to a cell, and assign the secrets after the parameters."""
        self.reply = (execute_reply or {}).get("content", {})
        if is_injected(cell):
            for name, value in self.session.secrets.items():
                self.kc.execute(f"{name} = {value!r}", silent=True, store_history=False)


def _errors(cell: NotebookNode) -> list[NotebookNode]:
    return [o for o in cell.get("outputs", []) if o.output_type == "error"]


def _failure(reply: dict[str, Any], shown: list[NotebookNode]) -> dict[str, Any] | None:
    """Return a cell's error as the kernel describes it, or as it was shown, as by ``%tb``."""
    if reply.get("failure"):
        return reply["failure"]
    error = reply if reply.get("status") == "error" else next(iter(shown), None)
    return error and {"name": error.get("ename", "Error"), "text": error.get("evalue", "")}


def _has_code(cells: list[NotebookNode]) -> bool:
    return any(cell.cell_type == "code" and cell.source.strip() for cell in cells)


class _Engine(Engine):
    """papermill's engine, with an environment and a folder for each kernel."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, *, session: Session, **_: object
    ) -> None:
        with (
            launch.scratch_folder() as scratch,
            launch.pipe() as (held, leash),
            launch.pipe() as (out, stdout),
            launch.pipe() as (err, stderr),
        ):
            client = _Client(nb_man, session, scratch, (out, err))
            # The reaper has no run tag: what stops all tagged processes must spare it.
            env = {name: value for name, value in session.env.items() if name != RUN_TAG}
            env |= launch.own_folders(scratch, session.env)
            ends = {"stdout": out.fileno(), "stderr": err.fileno()}
            env |= {launch.PIPE.format(name): str(number) for name, number in ends.items()}
            start = {"env": env, "stdin": held, "stdout": stdout, "stderr": stderr}
            try:
                asyncio.run(client.run(leash, **start, pass_fds=tuple(ends.values())))
            except Exception as error:
                if not client.is_late or isinstance(error, ExpectedErrorsError):
                    raise
                limit = f"{session.context.notebook_seconds:g} seconds"
                reason = f"the notebook took longer than {limit} and was stopped"
                raise NotebookTimeoutError(reason) from error
            finally:
                leash.close()
                stop_tagged(session.run_tag)  # in case somebody has killed the reaper


def register() -> str:
    """Register the engine with papermill and return its name there."""
    papermill_engines.register("runner", _Engine)
    return "runner"
