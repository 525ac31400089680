"""Reading a notebook that is to be run: a file of that kind, for Python, not an executed copy."""

from pathlib import Path

import nbformat

from taxi_lib.errors import ContractError


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook, if it can be run here.

    Raises
    ------
    ContractError
        When the file is no notebook, not one for Python, or one that papermill has written.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:
        raise ContractError(f"{path.name} is not a notebook ({type(error).__name__}).") from error
    _check_language(notebook, path.name)
    if any(map(is_injected, notebook.cells)):
        raise ContractError(
            f"{path.name} is an executed copy, with parameters put in: run the notebook it is of, "
            "or remove its cell tagged injected-parameters."
        )
    return notebook


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[str]:
    """Return the sources of the code cells with a tag."""
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    return [c.source for c in cells if tag in c.metadata.get("tags", [])]


def is_injected(cell: nbformat.NotebookNode) -> bool:
    """Tell whether papermill has put a cell in, with the parameters as given."""
    return "injected-parameters" in cell.metadata.get("tags", [])


def _check_language(notebook: nbformat.NotebookNode, name: str) -> None:
    kernel = notebook.metadata.get("kernelspec", {})
    told = notebook.metadata.get("language_info", {}).get("name") or kernel.get("language")
    if (told or "python").lower() != "python" or not (
        told or kernel.get("name", "python3") == "python3"
    ):
        raise ContractError(
            f"{name} is for the kernel {kernel.get('name')!r}, and this environment has python3: "
            "choose that in JupyterLab and save the notebook."
        )
