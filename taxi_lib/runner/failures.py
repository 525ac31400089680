"""What went wrong in a notebook, in words; and whether a second try may help."""

import re
from typing import Any

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.execute import ERROR_ANCHOR_MSG, ERROR_MARKER_TAG, ERROR_MESSAGE_TEMPLATE

from taxi_lib.runner.kernel.engine import CellFailedError

ENDED_EARLY = "it ended the kernel, and nothing after that was run"
DIED = "the kernel died (out of memory, or killed)"
# Types whose names say that a connection failed or took too long, whichever library they are of.
_PASSING = {
    *("ConnectionError", "TimeoutError", "Timeout", "gaierror"),  # Python's, requests', botocore's
    *("MaxRetryError", "NewConnectionError", "ProtocolError", "IncompleteRead"),  # urllib3's
    *("TransportError", "ClientConnectionError"),  # httpx's, aiohttp's
}
_STORES = {"OperationalError", "MlflowException"}


def is_retryable(exception: Exception) -> bool:
    """Tell whether a failure may be gone at the next try.

    A kernel that died, a connection that failed, a store that others are using: told by the type
    of the exception, of those that it derives from, and of those that it was raised from.
    """
    if isinstance(exception, CellFailedError):
        failure = exception.failure
        types = {name.rpartition(".")[2] for name in failure.get("types", [])}
        busy = types & _STORES and "database is locked" in failure.get("text", "")
        return bool(types & _PASSING or busy)
    started = re.match("Kernel (died before|didn't respond)", str(exception))
    return isinstance(exception, DeadKernelError) or bool(started)


def explain(exception: Exception, late: bool, seconds: float) -> str:
    """Return in a sentence why a notebook stopped.

    Parameters
    ----------
    exception : Exception
        What the engine, papermill or nbclient raised.
    late : bool
        Whether the notebook was stopped because it took too long.
    seconds : float
        The limit that was exceeded, if one was.
    """
    if late:
        return f"the notebook took longer than {seconds:g} seconds and was stopped"
    if isinstance(exception, CellFailedError):
        return _of_a_cell(exception.failure)
    if isinstance(exception, CellTimeoutError) and "IOPub" in str(exception):
        return f"it ended, but what it printed did not arrive within {max(60, seconds):g} seconds"
    if isinstance(exception, CellTimeoutError):
        return f"it took longer than {seconds:g} seconds and was stopped"
    if isinstance(exception, DeadKernelError):
        return DIED
    return f"{type(exception).__name__}: {exception}"


def _of_a_cell(failure: dict[str, Any]) -> str:
    name, text = failure["name"], failure.get("text", "").strip().partition("\n")[0]
    if name == "SystemExit":
        reason = f"{name}: {text}; " if text not in ("", "0", "None") else ""
        return reason + ENDED_EARLY
    text = text or failure.get("line", "")
    return (f"{name}: {text}" if text else name) + _lies_beside(failure.get("beside", []))


def _lies_beside(names: list[str]) -> str:
    if not names:
        return ""
    lie = "lies" if len(names) == 1 else "lie"
    return (
        f" ({', '.join(names)} {lie} beside the notebook, which works in the folder of its run: "
        "take the path as a parameter of type Path, or run with --work-beside)"
    )


def point_to(notebook: nbformat.NotebookNode, index: int) -> None:
    """Put papermill's marks into an executed notebook: at its top, and before the failed cell."""
    count = notebook.cells[index].get("execution_count")
    for place, text in ((index, ERROR_ANCHOR_MSG), (0, ERROR_MESSAGE_TEMPLATE % count)):
        cell = nbformat.v4.new_markdown_cell(text, metadata={"tags": [ERROR_MARKER_TAG]})
        notebook.cells.insert(place, cell)


def unfinished(notebook: nbformat.NotebookNode) -> bool:
    """Tell whether a run stopped early without an error."""
    code = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    run = [c for c in code if "skip-execution" not in c.metadata.get("tags", [])]
    return not all(cell.execution_count for cell in run)
