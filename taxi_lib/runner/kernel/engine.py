"""papermill's engine for this workbook: a kernel of this environment, watched cell by cell."""

import asyncio
import os
from codecs import getincrementaldecoder
from contextlib import suppress
from threading import Timer
from typing import Any, BinaryIO

from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines

from taxi_lib.runner.kernel.launch import (
    OPTIONS,
    PIPE,
    manager,
    own_folders,
    pipe,
    quiet,
    scratch_folder,
)
from taxi_lib.runner.kernel.outputs import KeptOutputs
from taxi_lib.runner.masking import Veil, mask_all
from taxi_lib.runner.notebook_file import is_injected
from taxi_lib.runner.run_context import Session
from taxi_lib.services.processes import RUN_TAG, stop_tagged

_SHOWN = ("display_data", "update_display_data", "execute_result", "error")
_SHOWN += ("comm_open", "comm_msg")  # of widgets


class CellFailedError(Exception):
    """A cell failed.

    Attributes
    ----------
    index : int
        Of the cell, in the notebook that was run.
    failure : dict
        What went wrong: see :func:`taxi_lib.runner.kernel.errors.describe`.
    """

    def __init__(self, index: int, failure: dict[str, Any]) -> None:
        super().__init__(index, failure)
        self.index, self.failure = index, failure


class ExpectedErrorsError(Exception):
    """All cells were run, and some raised what they are tagged to raise."""


class _Client(PapermillNotebookClient):
    """papermill's client, which hides secrets in every message before anything is done with it."""

    session: Session

    def listen_to(self, session: Session, voices: tuple[BinaryIO, ...]) -> None:
        """Take a kernel to run cells in, and where its standard output and error come out."""
        self.session, self.voices, self.owns_km = session, voices, True
        self.kept = KeptOutputs()
        for voice in voices:
            os.set_blocking(voice.fileno(), False)
        self.decoder = getincrementaldecoder("utf-8")("backslashreplace")
        self.last: dict[str, dict] = {}
        # Secrets may come in pieces: in each stream, and in the log, where they come together.
        self.veils = {name: Veil(session.secrets.values()) for name in ("stdout", "stderr", "pipe")}
        self.log_veil = Veil(session.secrets.values())

    def process_message(self, msg: dict, cell: NotebookNode, cell_index: int) -> object:
        kind = msg["msg_type"]
        if kind == "stream":
            name, self.last[name] = msg["content"]["name"], msg
            text = self.veils[name].through(msg["content"]["text"])
            return self._take(msg, text, cell, cell_index)
        for name, last in self.last.items():
            self._take(last, self.veils[name].rest(), cell, cell_index)
        self.last = {}
        if self.session.secrets and kind in _SHOWN:
            msg = msg | {"content": mask_all(msg["content"], self.session.secrets.values())}
        return super().process_message(msg, cell, cell_index)

    def _take(self, msg: dict, text: str, cell: NotebookNode, cell_index: int) -> object:
        if not text:
            return None
        self._tell(text)
        msg = msg | {"content": msg["content"] | {"text": text}}
        return super().process_message(msg, cell, cell_index)

    def output(
        self, outs: list[NotebookNode], msg: dict, display_id: str | None, cell_index: int
    ) -> NotebookNode | None:
        """Add to a cell's outputs what has to be one of its own."""
        hooked = self.output_hook_stack[msg["parent_header"].get("msg_id")]
        there = [] if self.clear_before_next_output else outs
        if hooked or not self.kept.merge(there, msg, cell_index):
            return super().output(outs, msg, display_id, cell_index)
        if msg["msg_type"] != "stream":  # the notebook does not keep it
            self._tell(f"{msg['content']['data'].get('text/plain', '')}\n")
        return None

    def _tell(self, text: str) -> None:
        if text := self.log_veil.through(text):
            self.session.on_text(text)

    def _tell_rest(self) -> None:
        self._tell(self.veils["pipe"].rest())
        if text := self.log_veil.rest():
            self.session.on_text(text)

    def _listen(self, now: bool) -> None:
        """Begin or stop to tell what a kernel writes past its messages.

        While it runs cells, it reads that itself.
        """
        loop = asyncio.get_running_loop()
        for voice in self.voices:
            if now:
                loop.add_reader(voice, self._hear, voice)
            else:
                loop.remove_reader(voice)
                self._hear(voice)
        self._tell_rest()

    def _hear(self, voice: BinaryIO) -> None:
        while said := voice.read(1 << 16):
            self._tell(self.veils["pipe"].through(self.decoder.decode(said)))

    async def run(self, **start: object) -> None:
        """Execute the cells up to the first that fails.

        papermill's own way leaves an event loop open in each thread, and two threads that have
        got it from a third fail with "This event loop is already running".
        It also takes every error that it finds in the notebook for a failure, tagged or not.

        Parameters
        ----------
        **start : object
            What the kernel is started with: its environment, its standard input and output.

        Raises
        ------
        CellFailedError
            With the cell that failed.
        ExpectedErrorsError
            When errors that were expected are all that went wrong.
        """
        self.reset_execution_trackers()
        self._listen(True)
        try:
            async with self.async_setup_kernel(**start):
                self._listen(False)
                try:
                    failed = await self._run_cells()
                finally:
                    self._listen(True)
        finally:
            self._listen(False)
        if failed:
            raise failed
        if any(map(_errors, self.nb.cells)):
            raise ExpectedErrorsError

    async def _run_cells(self) -> CellFailedError | None:
        failed = None
        for index, cell in enumerate(self.nb.cells):
            try:
                self.nb_man.cell_start(cell, index)
                await self._run_cell(cell, index)
            except CellFailedError as error:
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                failed = error
                break
            finally:
                self._tell_rest()
                self.nb_man.cell_complete(cell, cell_index=index)
        self.set_widgets_metadata()
        return failed

    async def _run_cell(self, cell: NotebookNode, index: int) -> None:
        """Execute one cell; what it is tagged to raise is no failure, leaving early always is."""
        tags = cell.metadata.get("tags", [])
        self.reply: dict[str, Any] = {}
        with suppress(CellExecutionError):
            await self.async_execute_cell(cell, index)
        failure = _failure(self.reply, _errors(cell))
        self.session.reads |= self.reply.get("reads") or {}
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
            for name, value in self.session.secrets.items():
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


class _LessonEngine(Engine):
    """papermill's engine, with an environment and a folder of its own for each kernel."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, *, session: Session, **_: object
    ) -> None:
        def too_late() -> None:
            session.late.set()
            leash.close()

        timer = Timer(session.context.notebook_seconds, too_late)
        timer.daemon = True
        with (
            scratch_folder() as scratch,
            pipe() as (held, leash),
            pipe() as (out, stdout),
            pipe() as (err, stderr),
        ):
            client = _Client(
                nb_man,
                km=manager(scratch, session.run_tag),
                log=quiet(),
                kernel_name=kernel_name,
                startup_timeout=120,
                timeout=session.context.cell_seconds,
                # What a cell has put out may arrive long after its end.
                iopub_timeout=max(60, int(session.context.cell_seconds)),
                on_cell_start=session.on_cell,
                resources={"metadata": {"path": str(session.folder)}},
                extra_arguments=OPTIONS,
            )
            client.listen_to(session, (out, err))
            client.on_cell_executed = client.hear
            # The reaper has no run tag: what stops all tagged processes must spare it.
            env = {name: value for name, value in session.env.items() if name != RUN_TAG}
            env |= own_folders(scratch, session.env)
            ends = {"stdout": str(out.fileno()), "stderr": str(err.fileno())}
            env |= {PIPE.format(name): number for name, number in ends.items()}
            timer.start()
            try:
                # The reaper ends the notebook when nobody holds the leash any longer.
                start = {"env": env, "stdin": held, "stdout": stdout, "stderr": stderr}
                asyncio.run(client.run(**start, pass_fds=(out.fileno(), err.fileno())))
            finally:
                timer.cancel()
                leash.close()
                stop_tagged(session.run_tag)  # in case somebody has killed the reaper


def register() -> str:
    """Make the engine known to papermill; its name there."""
    papermill_engines.register("lesson", _LessonEngine)
    return "lesson"
