"""Run one notebook: papermill executes it, and the evidence is kept whatever happens."""

import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from traitlets.config import Config

from taxi_lib.contracts import Contract
from taxi_lib.pages import write_page
from taxi_lib.results import NotebookRun, Value, read_results

Progress = Callable[[str], None]
_ENDED_EARLY = "it ended the kernel, and the cells after it were never run"


class _LessonEngine(Engine):
    """papermill's engine, with an environment and a folder of its own for each kernel."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        *,
        folder: Path,
        env: dict[str, str],
        on_cell: Callable[..., None],
        **_: object,
    ) -> None:
        # Socket files that only this user may open, instead of open ports.
        with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
            manager = {"transport": "ipc", "ip": f"{sockets}/kernel"}
            client = PapermillNotebookClient(
                nb_man,
                kernel_name=kernel_name,
                startup_timeout=120,
                on_cell_start=on_cell,
                resources={"metadata": {"path": str(folder)}},
                config=Config({"KernelManager": manager}),
                # A kernel that is told to stop complains, into the page of a lesson that ran it.
                extra_arguments=["--log-level=CRITICAL"],
            )
            client.execute(env=env)


def run_notebook(
    contract: Contract,
    parameters: dict[str, Value],
    folder: Path,
    env: dict[str, str],
    progress: Progress = lambda line: None,
) -> NotebookRun:
    """Execute a notebook with checked parameters and keep what came of it.

    Parameters
    ----------
    contract : Contract
        The notebook, from :func:`taxi_lib.contracts.find_notebooks`.
    parameters : dict
        Values that its contract has checked.
    folder : pathlib.Path
        Where the executed notebook and its HTML copy go; also the kernel's working directory.
    env : dict of str to str
        The kernel's environment.
    progress : callable
        Is told each cell as it starts: ``"06 · cell 7/23 · Train"``.

    Returns
    -------
    NotebookRun
        Also when a cell failed or the kernel died; an interruption passes through.
    """
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    output, page = folder / f"{contract.name}.ipynb", folder / f"{contract.name}.html"
    for stale in (output, page):
        stale.unlink(missing_ok=True)  # of an earlier run in the same folder
    error = _execute(contract, parameters, output, env, progress)
    if output.exists():
        write_page(output, page)
    return NotebookRun(
        name=contract.name,
        status="failed" if error else "completed",
        seconds=round(time.monotonic() - started, 2),
        output=str(output) if output.exists() else None,
        html=str(page) if page.exists() else None,
        results=read_results(output) if output.exists() else {},
        error=error,
    )


def _execute(
    contract: Contract,
    parameters: dict[str, Value],
    output: Path,
    env: dict[str, str],
    progress: Progress,
) -> str | None:
    """Execute to a temporary file, then move it; return what went wrong, if anything."""
    partial = output.with_suffix(".part.ipynb")
    narrator = _Narrator(contract, progress)
    papermill_engines.register("lesson", _LessonEngine)
    try:
        papermill.execute_notebook(
            contract.path,
            # papermill takes braces in a path for placeholders
            str(partial).replace("{", "{{").replace("}", "}}"),
            parameters,
            engine_name="lesson",
            kernel_name="python3",
            language="python",
            progress_bar=False,
            folder=output.parent,
            env=env,
            on_cell=narrator,
        )
        return f"{narrator.place}: {_ENDED_EARLY}" if _unfinished(partial) else None
    except Exception as exception:
        return f"{narrator.place}: {_explain(exception)}"
    finally:
        if partial.exists():
            partial.replace(output)


class _Narrator:
    """Tell each cell as it starts, by its number in the lesson and the section it stands in."""

    def __init__(self, contract: Contract, progress: Progress) -> None:
        self.progress, self.lesson = progress, contract.name.split("_")[0]
        self.place = "before the first cell"
        self.places, section = {}, contract.title
        cells = nbformat.read(contract.path, as_version=4).cells
        for number, cell in enumerate(cells, start=1):
            headings = [line for line in cell.source.splitlines() if line.startswith("## ")]
            if cell.cell_type == "markdown" and headings:
                section = headings[-1].removeprefix("## ")
            self.places[cell.id] = f"cell {number}/{len(cells)} · {section}"

    def __call__(self, cell: nbformat.NotebookNode, cell_index: int) -> None:
        if cell.cell_type == "code":
            # papermill puts in one cell that the lesson does not have
            self.place = self.places.get(cell.id, "the parameters as given")
            self.progress(f"{self.lesson} · {self.place}")


def _explain(exception: Exception) -> str:
    """Return in one sentence how a cell failed."""
    if isinstance(exception, papermill.PapermillExecutionError):
        told = exception.evalue or _failing_line(exception.traceback)
        return f"{exception.ename}: {told}"
    if isinstance(exception, DeadKernelError):
        return "the kernel died (out of memory, or killed)"
    return f"{type(exception).__name__}: {exception}"


def _failing_line(traceback: list[str]) -> str:
    """Return the line of the cell that raised: an assert without a message says nothing else."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(traceback))
    arrow = re.search(r"^-+> +\d+ (.*)$", plain, flags=re.MULTILINE)
    return arrow[1].strip() if arrow else ""


def _unfinished(path: Path) -> bool:
    """Tell whether a run stopped early without an error, as ``sys.exit(0)`` does."""
    code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    return not all(cell.execution_count for cell in code if cell.source.strip())
