"""A notebook's results, which are kept in the executed notebook itself, and its tables.

:func:`report_results` puts them into an output with a MIME type of our own, and
:func:`read_results` finds them there, also after nbclient or papermill ran the notebook.
:func:`own_folder` is where a notebook puts files that are results, and :func:`left_aligned` shows a
table of texts.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_lib import settings
from taxi_lib.errors import ContractError

if TYPE_CHECKING:
    from nbformat import NotebookNode  # imported when it is needed
    from pandas import DataFrame
    from pandas.io.formats.style import Styler

RESULTS_TYPE = "application/vnd.taxi-workbook.results+json"
Value = str | int | float | bool | list | dict | None


def report_results(**results: Value) -> None:
    """Report a notebook's results: shown as text, and kept in the executed notebook.

    Parameters
    ----------
    **results : float, int, str, pathlib.Path or None
        None means that there is no result.

    Raises
    ------
    ContractError
        When one is not finite, or not a JSON value.
    """
    from IPython.display import display

    plain = {name: _plain(value) for name, value in results.items()}
    for name, value in plain.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise ContractError(
                f"Result {name} is {value!r:.80}, expected finite numbers, texts, or lists or "
                "dicts of them."
            ) from None
    width = max(map(len, plain), default=0)
    text = "\n".join(f"{name:>{width}} : {value}" for name, value in plain.items())
    display({"text/plain": text, RESULTS_TYPE: plain}, raw=True)


def _plain(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if hasattr(value, "tolist") else value


def read_results(notebook: "Path | NotebookNode") -> dict[str, Value]:
    """Return the results that an executed notebook reported; empty when it reported none.

    Parameters
    ----------
    notebook : pathlib.Path or nbformat.NotebookNode
        The notebook, or its file.
    """
    if isinstance(notebook, str | Path):
        import nbformat

        notebook = nbformat.read(notebook, as_version=4)
    results: dict[str, Value] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            results |= output.get("data", {}).get(RESULTS_TYPE, {})
    return results


def own_folder(name: str) -> Path:
    """Return the folder for the files of a notebook that promises files as results.

    In a run that is the working directory, which belongs to the notebook alone. In JupyterLab or
    under bare papermill it is a new folder in ``runs/alone``, so that two copies do not meet.

    Parameters
    ----------
    name : str
        The notebook's name, with which a new folder's name begins.
    """
    if "TAXI_RUN" in os.environ:  # set by the runner; see taxi_lib.services.processes
        return Path.cwd()
    alone = settings.runs_dir() / "alone"
    alone.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=alone))


def left_aligned(table: "DataFrame") -> "Styler":
    """Return a table whose heads and cells are aligned to the left, as long texts need it.

    Parameters
    ----------
    table : pandas.DataFrame
        The table; call ``.hide()`` on what is returned to leave out the index.
    """
    heads = [{"selector": "th", "props": "text-align: left"}]
    return table.style.set_properties(**{"text-align": "left"}).set_table_styles(heads)
