"""Run one notebook: papermill executes it, and its evidence is kept whatever happens."""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from types import MappingProxyType

import nbformat
import papermill
from nbformat import NotebookNode

from taxi_lib.atomic_files import unwritable, write_text
from taxi_lib.errors import TaxiError
from taxi_lib.results import Value, read_results
from taxi_lib.runner import failures
from taxi_lib.runner.cell_progress import CellProgress
from taxi_lib.runner.console import printable
from taxi_lib.runner.contracts import Contract, read_contract
from taxi_lib.runner.html.page import write_page
from taxi_lib.runner.kernel import engine
from taxi_lib.runner.kernel.errors import BESIDE
from taxi_lib.runner.kernel.launch import LEFT_OUT
from taxi_lib.runner.masking import mask, mask_all, resolve_secret
from taxi_lib.runner.notebook_file import read_notebook
from taxi_lib.runner.notebook_run import NotebookRun, archive_attempt
from taxi_lib.runner.result_files import keep_files
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
    notes: Iterable[str] = (),
    tags: Mapping[str, str] = MappingProxyType({}),
) -> NotebookRun:
    """Execute a notebook with checked parameters and keep its evidence.

    A failed cell, a dead kernel or a broken promise raises nothing: the result says so.
    The log begins with the ``notes``; every run that the notebook begins in MLflow has the
    ``tags``.
    ``on_progress`` is called as each cell starts, with a line (``"06 · cell 7/23 · Train"``) and
    the share of the cells that are done; ``on_text`` is called with what the cells print.
    """
    started = time.monotonic()
    folder = context.folder
    try:
        if folder.resolve() == contract.path.resolve().parent:
            raise TaxiError(f"{folder} holds the notebook itself: choose another folder to run in.")
        folder.mkdir(parents=True, exist_ok=True)
        archive_attempt(folder, contract.name)
        attempt = _Attempt(
            contract, parameters, context, on_progress, on_text, tuple(notes), dict(tags)
        )
        run = attempt.run()
    except (TaxiError, OSError) as error:
        reason = unwritable(folder, error) if isinstance(error, OSError) else error
        run = NotebookRun(contract.name, "failed", error=str(reason))
    return replace(run, seconds=round(time.monotonic() - started, 2))


@dataclass
class _Attempt:
    """One execution of one notebook."""

    contract: Contract
    parameters: dict[str, Value]
    context: RunContext
    on_progress: OnProgress
    on_text: OnText
    notes: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)
    failed_at: int | None = None
    is_retryable: bool = False

    def __post_init__(self) -> None:
        references = self.contract.references(self.parameters)
        self.parameters = self.parameters | references
        self.secrets = {name: resolve_secret(name, where) for name, where in references.items()}
        start = f"{self.context.folder / self.contract.name}"  # a name may have dots in it
        self.output, self.page = Path(f"{start}.ipynb"), Path(f"{start}.html")
        self.log, self.partial = Path(f"{start}.log"), Path(f"{start}.part.ipynb")
        self.works_in = self.context.folder
        if self.contract.gives_files:
            self.works_in = self.context.folder / self.contract.name
            self.works_in.mkdir()
        if self.context.work_beside:
            self.works_in = self.contract.path.parent

    def run(self) -> NotebookRun:
        source, results = self._source(), {}
        name, title = self.contract.name, self.contract.title
        with self.log.open("w", encoding="utf-8", errors="backslashreplace", buffering=1) as log:
            log.writelines(f"{line}\n" for line in (*self.notes, *self._warnings(source)))
            self.progress = CellProgress(name, title, source, log, self.on_progress, self.on_text)
            error = self._execute(source)
            failed_cell = self.progress.source if error else None
            notebook = self._keep()  # before the end of the log, which may fill the disk
            self.progress.settle()
            if notebook:
                results, fault = self._finish(notebook)
                error = error or fault
            if error:
                error = printable(mask(error, self.secrets.values()))
                log.write(f"FAILED: {error}\n")
        return NotebookRun(
            name,
            "failed" if error else "completed",
            output=_existing(self.output),
            html=_existing(self.page),
            log=_existing(self.log),
            results=results,
            error=error,
            cell=failed_cell,
            is_retryable=self.is_retryable,
            reads=self.reads,
            made=self.made,
        )

    def _source(self) -> NotebookNode:
        path = self.contract.path
        notebook = read_notebook(path)
        if read_contract(path, notebook).terms != self.contract.terms:
            raise TaxiError(
                f"{path.name} takes or promises something else than when the run began: "
                "run it again."
            )
        return notebook

    def _warnings(self, source: NotebookNode) -> Iterator[str]:
        yield from failures.shadow_warnings(source.cells, self.contract.path.parent)
        if left_out := [name for name in LEFT_OUT if self.context.env.get(name)]:
            yield f"The kernel runs without {', '.join(left_out)} in its environment."

    def _execute(self, source: NotebookNode) -> str | None:
        """Execute to a temporary file; return what went wrong, if anything."""
        session = self._session()
        try:
            papermill.execute_notebook(
                source,
                re.sub("([{}])", r"\1\1", str(self.partial)),  # braces would be placeholders
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
            reason = failures.explain(exception, self.context.cell_seconds)
            reason = failures.name_shadow(reason, self.contract.path.parent)
            self.failed_at = self.progress.index
            tagged = "retry" in self.progress.tags
            self.is_retryable = tagged or failures.is_retryable(exception)
            return f"{self.progress.place}: {reason}"
        finally:
            self.reads = session.reads
        return None

    def _session(self) -> Session:
        beside = self.contract.path.parent
        env = {name: v for name, v in self.context.env.items() if name not in LEFT_OUT}
        tag = run_tag(env, self.contract.name, token_hex(4))
        # MLflow puts the tag on every run that it begins: see live_run.close_tracked.
        env |= {BESIDE: str(beside), "MLFLOW_RUN_CONTEXT": json.dumps({RUN_TAG: tag} | self.tags)}
        return Session(
            context=self.context,
            folder=self.works_in,
            env=env,
            run_tag=tag,
            on_cell=self.progress.cell,
            on_text=self.progress.text,
            secrets=self.secrets,
        )

    def _keep(self) -> NotebookNode | None:
        """Move the executed notebook to its name if it is whole, and return it."""
        try:
            notebook = nbformat.read(self.partial, as_version=4)
        except (OSError, ValueError, nbformat.reader.NotJSONError):
            self.partial.unlink(missing_ok=True)  # nothing, or half a file on a full disk
            return None
        notebook.metadata.papermill["input_path"] = str(self.contract.path)
        if self.failed_at is not None:
            failures.mark_failed_cell(notebook, self.failed_at)
        for cell in (cell for cell in notebook.cells if "outputs" in cell):
            for output in (output for output in cell.outputs if "text" in output):
                output.text = shortened(settled(output.text))  # the log has all of it
            cell.outputs = mask_all(cell.outputs, self.secrets.values())
        text = nbformat.writes(notebook)
        try:
            write_text(self.output, text)
        except TaxiError:
            self.partial.unlink()  # makes room on a full disk
            write_text(self.output, text)
        self.partial.unlink(missing_ok=True)
        return notebook

    def _finish(self, notebook: NotebookNode) -> tuple[dict[str, Value], str | None]:
        """Write the page; return the results, and what is wrong with them or the page, if any."""
        try:
            write_page(notebook, self.page, self.contract.path.parent)
            results = read_results(notebook)
        except TaxiError:
            raise
        except Exception as error:  # nbconvert raises many types for odd outputs
            return {}, f"its page or its results: {type(error).__name__}: {error}"
        if failures.is_unfinished(notebook):
            return results, f"{self.progress.place}: {failures.ENDED_EARLY}"
        try:
            self.contract.check_results(results)
            folder = self.context.folder
            results, self.made = keep_files(self.contract, results, self.works_in, folder)
        except TaxiError as error:
            return results, f"its results: {error}"
        return results, None


def _existing(path: Path) -> str | None:
    return str(path) if path.exists() else None
