"""What went wrong in a notebook, in words."""

import re

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

ENDED_EARLY = "it ended the kernel, and nothing after that was run"
DIED = "the kernel died (out of memory, or killed)"
# What a second try may help against: a kernel that died, a store that others are using.
_PASSING = re.compile(
    r": (" + re.escape(DIED) + r"$|RuntimeError: Kernel (died before|didn't respond)"
    r"|\w*(OperationalError|MlflowException): .*database is locked)"
)


def may_pass(error: str) -> bool:
    """Tell whether a failure may be gone at the next try."""
    return bool(_PASSING.search(error))


def explain(exception: Exception, late: bool, seconds: float) -> str:
    """Return in a sentence why a notebook stopped.

    Parameters
    ----------
    exception : Exception
        What papermill or nbclient raised.
    late : bool
        Whether the notebook was stopped because it took too long.
    seconds : float
        The limit that was exceeded, if one was.
    """
    if late:
        return f"the notebook took longer than {seconds:g} seconds and was stopped"
    if isinstance(exception, PapermillExecutionError):
        if exception.ename == "SystemExit":
            return ENDED_EARLY
        value = exception.evalue or _failing_line(exception.traceback)
        return f"{exception.ename}: {value}" if value else exception.ename
    if isinstance(exception, CellTimeoutError):
        return f"it took longer than {seconds:g} seconds and was stopped"
    if isinstance(exception, DeadKernelError):
        return DIED
    return f"{type(exception).__name__}: {exception}"


def _failing_line(traceback: list[str]) -> str:
    """Return the line of the cell that raised: an assert without a message says nothing else."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(traceback))
    arrow = re.search(r"^-+> +\d+ (.*)$", plain, flags=re.MULTILINE)
    return arrow[1].strip() if arrow else ""


def unfinished(notebook: nbformat.NotebookNode) -> bool:
    """Tell whether a run stopped early without an error, as ``sys.exit(0)`` does."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    if any(output.get("ename") == "SystemExit" for output in outputs):
        return True
    code = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    run = [c for c in code if "skip-execution" not in c.metadata.get("tags", [])]
    return not all(cell.execution_count for cell in run)
