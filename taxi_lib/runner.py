"""Run one notebook: papermill executes it, and the evidence is kept whatever happens."""

import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from traitlets.config import Config

from taxi_lib.contracts import Contract
from taxi_lib.pages import write_page
from taxi_lib.results import Value, read_results

Progress = Callable[[str], None]


@dataclass(frozen=True)
class NotebookRun:
    """What came of running one notebook.

    Attributes
    ----------
    name : str
        The notebook.
    status : {"completed", "cached", "failed", "skipped"}
        Taken from what was executed, not from papermill, which calls a killed run complete.
    seconds : float
        Wall time.
    output, html : str or None
        The executed notebook and its HTML copy, kept also when it failed.
    results : dict
        What the notebook reported.
    error : str or None
        One sentence: cell and error.
    """

    name: str
    status: Literal["completed", "cached", "failed", "skipped"]
    seconds: float = 0.0
    output: str | None = None
    html: str | None = None
    results: dict[str, Value] = field(default_factory=dict)
    error: str | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the run as the summary holds it."""
        return asdict(self)


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
            on_cell=_narrate(contract, progress),
        )
        return _unfinished(partial)
    except Exception as exception:
        return _explain(exception)
    finally:
        if partial.exists():
            partial.replace(output)


def _narrate(contract: Contract, progress: Progress) -> Callable[..., None]:
    """Return a hook that tells the cell's number and the section it stands in."""
    number, section = contract.name.split("_")[0], contract.title
    sections = []
    for cell in nbformat.read(contract.path, as_version=4).cells:
        headings = [line for line in cell.source.splitlines() if line.startswith("## ")]
        if cell.cell_type == "markdown" and headings:
            section = headings[-1].removeprefix("## ")
        sections.append(section)
    total = len(sections)

    def tell(cell: nbformat.NotebookNode, cell_index: int) -> None:
        if cell.cell_type == "code":
            place = min(cell_index, total - 1)  # papermill may have put one cell in
            progress(f"{number} · cell {place + 1}/{total} · {sections[place]}")

    return tell


def _explain(exception: Exception) -> str:
    """Return in one sentence which cell failed and how."""
    if isinstance(exception, papermill.PapermillExecutionError):
        where = f"cell {exception.cell_index + 1}: {exception.ename}"
        return f"{where}: {exception.evalue or _failing_line(exception.traceback)}"
    if isinstance(exception, DeadKernelError):
        return "the kernel died (out of memory, or killed)"
    if isinstance(exception, CellTimeoutError):
        return "a cell took too long and was stopped"
    return f"{type(exception).__name__}: {exception}"


def _failing_line(traceback: list[str]) -> str:
    """Return the line of the cell that raised: an assert without a message says nothing else."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(traceback))
    arrow = re.search(r"^-+> +\d+ (.*)$", plain, flags=re.MULTILINE)
    return arrow[1].strip() if arrow else ""


def _unfinished(path: Path) -> str | None:
    """Return what tells that a run stopped early without an error, as ``sys.exit(0)`` does."""
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells, start=1):
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            return f"cell {number} was never run: an earlier cell ended the kernel"
    return None
