"""Run one notebook: papermill executes it, and the evidence is kept whatever happens."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from secrets import token_hex

import nbformat
import papermill

from taxi_lib.atomic_files import unwritable, write_text
from taxi_lib.errors import TaxiError
from taxi_lib.results import Value, read_results
from taxi_lib.runner import failures, shadowed_modules
from taxi_lib.runner.cell_progress import Narrator
from taxi_lib.runner.console import printable
from taxi_lib.runner.contracts import Contract, read_contract
from taxi_lib.runner.html.page import write_page
from taxi_lib.runner.kernel import engine
from taxi_lib.runner.kernel.errors import BESIDE
from taxi_lib.runner.kernel.launch import LEFT_OUT
from taxi_lib.runner.masking import mask, mask_all, reveal
from taxi_lib.runner.notebook_run import NotebookRun, archive_attempt
from taxi_lib.runner.run_context import RunContext, Session
from taxi_lib.runner.screen import settled, shortened
from taxi_lib.services.processes import RUN_TAG, run_tag

OnProgress = Callable[[str, float], None]
OnText = Callable[[str], None]


def run_notebook(
    contract: Contract,
    parameters: dict[str, Value],
    context: RunContext,
    on_progress: OnProgress = lambda line, done: None,
    on_text: OnText = lambda text: None,
) -> NotebookRun:
    """Execute a notebook with checked parameters and keep what came of it.

    Parameters
    ----------
    contract : Contract
        The notebook, from :func:`taxi_lib.runner.contracts.find_notebooks`.
    parameters : dict
        Values that its contract has checked.
    context : RunContext
        Where its files go, its environment, how long it may take.
    on_progress : callable
        Called as each cell starts, with a line (``"06 · cell 7/23 · Train"``) and the share of
        the cells that are done.
    on_text : callable
        Called with what the cells print.

    Returns
    -------
    NotebookRun
        Also when a cell failed, the kernel died, or the notebook broke its promise.
    """
    started = time.monotonic()
    folder = context.folder
    run = NotebookRun(contract.name, "failed")
    try:
        if folder.resolve() == contract.path.resolve().parent:
            raise TaxiError(f"{folder} holds the notebook itself: choose another folder to run in.")
        folder.mkdir(parents=True, exist_ok=True)
        archive_attempt(folder, contract.name)
        run = _Attempt(contract, parameters, context, on_progress, on_text).run()
    except (TaxiError, OSError) as error:
        told = unwritable(folder, error) if isinstance(error, OSError) else error
        run = replace(run, error=str(told))
    return replace(run, seconds=round(time.monotonic() - started, 2))


class _Attempt:
    """One execution of one notebook."""

    def __init__(
        self,
        contract: Contract,
        parameters: dict[str, Value],
        context: RunContext,
        on_progress: OnProgress,
        on_text: OnText,
    ) -> None:
        self.contract, self.context = contract, context
        self.on_progress, self.on_text = on_progress, on_text
        references = contract.references(parameters)
        self.parameters = parameters | references
        self.secrets = {name: reveal(name, where) for name, where in references.items()}
        self.output, self.page, self.log, self.partial = (
            context.folder / f"{contract.name}{ending}"  # a name may have dots of its own
            for ending in (".ipynb", ".html", ".log", ".part.ipynb")
        )

    def run(self) -> NotebookRun:
        if read_contract(self.contract.path).terms != self.contract.terms:
            raise TaxiError(
                f"{self.contract.path.name} takes or promises something else than when the run "
                "began: run it again."
            )
        with self.log.open("w", encoding="utf-8", errors="backslashreplace", buffering=1) as log:
            self.narrator = Narrator(self.contract, log, self.on_progress, self.on_text)
            if left_out := [name for name in LEFT_OUT if self.context.env.get(name)]:
                log.write(f"The kernel runs without {', '.join(left_out)} in its environment.\n")
            self.reads: dict[str, str] = {}
            self.failed_at: int | None = None
            self.is_retryable = False
            error = self._execute()
            failed_cell = self.narrator.source if error else None
            notebook, results = self._keep(), {}  # first: a full disk may not take the log's end
            self.narrator.settle()
            if notebook:
                results, fault = self._evidence(notebook)
                error = error or fault
            if error:
                error = printable(mask(error, self.secrets.values()))
                log.write(f"FAILED: {error}\n")
        files = (str(p) if p.exists() else None for p in (self.output, self.page, self.log))
        status = "failed" if error else "completed"
        told = (results, error, failed_cell, self.is_retryable)
        return NotebookRun(self.contract.name, status, 0.0, *files, *told, reads=self.reads)

    def _execute(self) -> str | None:
        """Execute to a temporary file; return what went wrong, if anything."""
        given, beside = self.context.env, self.contract.path.parent
        env = {name: value for name, value in given.items() if name not in LEFT_OUT}
        tag = run_tag(env, self.contract.name, token_hex(4))
        # MLflow puts the tag on every run that it begins: see live_run.close_tracked.
        env |= {BESIDE: str(beside), "MLFLOW_RUN_CONTEXT": json.dumps({RUN_TAG: tag})}
        session = Session(
            context=self.context,
            folder=beside if self.context.work_beside else self.context.folder,
            env=env,
            run_tag=tag,
            on_cell=self.narrator.cell,
            on_text=self.narrator.text,
            secrets=self.secrets,
        )
        try:
            papermill.execute_notebook(
                self.narrator.notebook,
                re.sub("([{}])", r"\1\1", str(self.partial)),  # it takes braces for placeholders
                self.parameters,
                engine_name=engine.register(),
                kernel_name="python3",
                language="python",
                progress_bar=False,
                session=session,
            )
        except engine.ExpectedErrorsError:
            return None
        except Exception as exception:
            late = session.late.is_set()
            seconds = self.context.notebook_seconds if late else self.context.cell_seconds
            told = failures.explain(exception, late, seconds)
            told = shadowed_modules.explained(told, self.contract.path.parent)
            self.failed_at = self.narrator.index
            asked = "retry" in self.narrator.tags
            self.is_retryable = asked or (not late and failures.is_retryable(exception))
            return f"{self.narrator.place}: {told}"
        finally:
            self.reads = session.reads
        return None

    def _keep(self) -> nbformat.NotebookNode | None:
        """Move the executed notebook to its name if it is whole; None when there is none."""
        try:
            notebook = nbformat.read(self.partial, as_version=4)
        except (OSError, ValueError, nbformat.reader.NotJSONError):
            self.partial.unlink(missing_ok=True)  # cut short: a page of half a file helps nobody
            return None
        notebook.metadata.papermill["input_path"] = str(self.contract.path)
        if self.failed_at is not None:
            failures.point_to(notebook, self.failed_at)
        for cell in notebook.cells:
            if "outputs" in cell:
                cell.outputs = mask_all(_shortened(cell.outputs), self.secrets.values())
        try:
            write_text(self.output, nbformat.writes(notebook))
        except TaxiError:
            self.partial.unlink()  # on a full disk this makes room for its own successor
            write_text(self.output, nbformat.writes(notebook))
        self.partial.unlink(missing_ok=True)
        return notebook

    def _evidence(self, notebook: nbformat.NotebookNode) -> tuple[dict[str, Value], str | None]:
        """Return what was reported, and what is wrong with it or with the page, if anything."""
        results: dict[str, Value] = {}
        try:
            write_page(notebook, self.page, self.contract.path.parent)
            results = read_results(self.output)
            return results, self._broken_promise(notebook, results)
        except TaxiError:
            raise
        except Exception as error:  # whatever a notebook's outputs may do to nbconvert
            return results, f"its page or its results: {type(error).__name__}: {error}"

    def _broken_promise(
        self, notebook: nbformat.NotebookNode, results: dict[str, Value]
    ) -> str | None:
        if failures.unfinished(notebook):
            return f"{self.narrator.place}: {failures.ENDED_EARLY}"
        try:
            self.contract.check_results(results)
        except TaxiError as error:
            return f"its results: {error}"
        return None


def _shortened(outputs: list) -> list:
    """Cut what no browser could show; the log has all of it."""
    for output in outputs:
        if "text" in output:
            output["text"] = shortened(settled(output["text"]))
    return outputs
