"""Why a notebook failed, in a sentence, and whether a second try may succeed."""

import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.execute import ERROR_ANCHOR_MSG, ERROR_MARKER_TAG, ERROR_MESSAGE_TEMPLATE

from taxi_lib.runner.kernel.engine import (
    CellFailedError,
    KernelNotStartedError,
    NotebookTimeoutError,
)

ENDED_EARLY = "it ended the kernel, and nothing after that was run"
DIED = "the kernel died (out of memory, or killed)"
# Types of failed or slow connections, by their names: the libraries are not imported here.
_CONNECTION_ERRORS = {
    *("ConnectionError", "TimeoutError", "Timeout", "gaierror"),  # Python's, requests', botocore's
    *("MaxRetryError", "NewConnectionError", "ProtocolError", "IncompleteRead"),  # urllib3's
    *("TransportError", "ClientConnectionError"),  # httpx's, aiohttp's
}
_STORE_ERRORS = {"OperationalError", "MlflowException"}
_IMPORT = re.compile(r"^[ \t]*(?:import[ \t]+([\w., \t]+)|from[ \t]+(\w+))", re.MULTILINE)
_IMPORT_ERROR = re.compile(
    r"(?:Attribute|Import|ModuleNotFound)Error: .*?(?:module|named|from) '(\w+)"
)


def is_retryable(exception: Exception) -> bool:
    """Return whether a second try may succeed.

    It may after the death of a kernel, a failed connection, or a store that was busy. What counts
    are the types of the exception, with its base types, and of its causes.
    """
    if not isinstance(exception, CellFailedError):
        return isinstance(exception, DeadKernelError)
    types = {name.rpartition(".")[2] for name in exception.failure.get("types", [])}
    busy = types & _STORE_ERRORS and "database is locked" in exception.failure.get("text", "")
    return bool(types & _CONNECTION_ERRORS or busy)


def explain(exception: Exception, seconds: float) -> str:
    """Return in a sentence why a notebook stopped, if each cell was given some seconds."""
    if isinstance(exception, CellFailedError):
        return _explain_cell(exception.failure)
    if isinstance(exception, CellTimeoutError) and "IOPub" in str(exception):
        return f"it ended, but what it printed did not arrive within {max(60, seconds):g} seconds"
    if isinstance(exception, CellTimeoutError):
        return f"it took longer than {seconds:g} seconds and was stopped"
    if isinstance(exception, KernelNotStartedError | NotebookTimeoutError):
        return str(exception)
    if isinstance(exception, DeadKernelError):
        return DIED
    return f"{type(exception).__name__}: {exception}"


def _explain_cell(failure: dict[str, Any]) -> str:
    name, text = failure["name"], failure.get("text", "").strip().partition("\n")[0]
    if name == "SystemExit":
        reason = f"{name}: {text}; " if text not in ("", "0", "None") else ""
        return reason + ENDED_EARLY
    text = text or failure.get("line", "")
    hint, beside = "", failure.get("beside", [])
    if beside:
        hint = (
            f" ({', '.join(beside)} {'lies' if len(beside) == 1 else 'lie'} beside the notebook, "
            "which works in the folder of its run: take the path as a parameter of type Path, or "
            "run with --work-beside)"
        )
    return (f"{name}: {text}" if text else name) + hint


def mark_failed_cell(notebook: nbformat.NotebookNode, index: int) -> None:
    """Add papermill's marks to an executed notebook, at its top and before the failed cell."""
    count = notebook.cells[index].get("execution_count")
    for place, text in ((index, ERROR_ANCHOR_MSG), (0, ERROR_MESSAGE_TEMPLATE % count)):
        cell = nbformat.v4.new_markdown_cell(text, metadata={"tags": [ERROR_MARKER_TAG]})
        notebook.cells.insert(place, cell)


def is_unfinished(notebook: nbformat.NotebookNode) -> bool:
    """Return whether a run stopped early without an error."""
    code = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    run = [c for c in code if "skip-execution" not in c.metadata.get("tags", [])]
    return not all(cell.execution_count for cell in run)


def shadow_warnings(cells: Iterable[nbformat.NotebookNode], folder: Path) -> Iterator[str]:
    """Yield a warning for each module that cells import and do not get from their folder."""
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    imported = {
        part.split()[0].partition(".")[0]
        for names, package in _IMPORT.findall(code)
        for part in (*names.split(","), package)
        if part.strip()
    }
    for name in sorted(imported):
        if path := _shadowed(name, folder):
            whose = "Python's own" if name in sys.stdlib_module_names else "the installed"
            beside = path.name if path.stem == name else name
            yield (
                f"{beside} beside the notebook is not imported, {whose} {name} comes first: "
                "give it another name."
            )


def name_shadow(error: str, folder: Path) -> str:
    """Return an error, with the module that was not imported if that may be its cause.

    ``module 'json' has no attribute 'mine'`` does not say that it is about Python's ``json``.
    """
    found = _IMPORT_ERROR.match(error)
    if found and (path := _shadowed(found[1], folder)):
        return f"{error} ({path} is not imported, another {found[1]} comes first: rename it)"
    return error


def _shadowed(name: str, folder: Path) -> Path | None:
    for path in (folder / f"{name}.py", folder / name / "__init__.py"):
        if path.is_file():
            packages = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
            installed = PathFinder.find_spec(name, packages)
            comes_later = name in sys.stdlib_module_names or (installed and installed.origin)
            return path if comes_later else None
    return None
