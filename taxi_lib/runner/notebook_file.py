"""Reading a notebook that is to be run: a file of that kind, for Python, not an executed copy."""

import json
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from taxi_lib.errors import ContractError
from taxi_lib.runner.screen import visible

_CONFLICT = re.compile(r"^(<{7}|={7}|>{7})( |$)", re.MULTILINE)
_ABOUT = ("kernelspec", "language_info")
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
_NUMBERS = re.compile(r"\d+(?:[\W_]+\d+)*")


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook, if it can be run here, in the form in which it is run.

    All that runs or looks at a notebook takes it from here, so that all see the same cells. Older
    formats are brought up to date, outputs and what is null are left out, and only code cells
    keep the tag ``parameters``: papermill would put the values behind tagged prose, where the
    defaults come after them and win.

    Returns
    -------
    nbformat.NotebookNode
        Of format 4.5, each cell with an id, a text as its source, and a list of tags.

    Raises
    ------
    ContractError
        When the file is no notebook, not one for Python, or one that papermill has written.
    """
    told = _up_to_date(_parsed(path), path.name)
    metadata = _filled(told.get("metadata"), "metadata", path.name)
    metadata.pop("papermill", None)  # left by an earlier run
    _check_language(metadata, path.name)
    metadata["kernelspec"] = KERNEL  # with which it is run, whatever it said
    cells, ids = [], set()
    for number, cell in enumerate(told["cells"], start=1):
        cells.append(_cell(cell, number, path.name))
        if cells[-1]["id"] in ids:
            cells[-1]["id"] = f"cell-{number}-of-{len(told['cells'])}"
        ids.add(cells[-1]["id"])
    notebook = nbformat.from_dict(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
    )
    if any(map(is_injected, notebook.cells)):
        raise ContractError(
            f"{path.name} is an executed copy, with parameters put in: run the notebook it is of, "
            "or remove its cell tagged injected-parameters."
        )
    return notebook


def order(name: str) -> tuple:
    """Return what to sort notebooks by: the numbers that a name begins with, then the name.

    A notebook without a number comes last. Numbers within a name count as numbers, too.

    Examples
    --------
    >>> sorted(["intro", "10_c", "2_b", "1.5_a", "01_a"], key=order)
    ['01_a', '1.5_a', '2_b', '10_c', 'intro']
    """
    found = _NUMBERS.match(name)
    numbers = [int(number) for number in re.findall(r"\d+", found[0])] if found else []
    parts = re.split(r"(\d+)", name[found.end() if found else 0 :].casefold())
    natural = [int(part) if part.isdecimal() else part for part in parts]
    return not found, numbers, natural, name


def label(name: str) -> str:
    """Return how a notebook is called in few letters: by its number, else by its name."""
    numbered = re.match(r"\d+(?:\.\d+)*[^\W\d_]?(?=[\W_]|$)", name)
    return numbered[0] if numbered else name


def headings(source: str) -> list[tuple[int, str]]:
    """Return the headings in a text in Markdown, each with its level from 1 to 6."""
    tokens = _markdown().parse(source)
    return [
        (int(token.tag[1:]), inline.content)
        for token, inline in pairwise(tokens)
        if token.type == "heading_open" and inline.content
    ]


def tagged(notebook: NotebookNode, tag: str) -> list[str]:
    """Return the sources of the code cells with a tag."""
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    return [c.source for c in cells if tag in c.metadata.tags]


def is_injected(cell: NotebookNode) -> bool:
    """Tell whether papermill has put a cell in, with the parameters as given."""
    return "injected-parameters" in cell.metadata.get("tags", [])


def is_error_mark(cell: NotebookNode) -> bool:
    """Tell whether papermill has put a cell in, to point to a failed one."""
    return "papermill-error-cell-tag" in cell.metadata.get("tags", [])


@cache
def _markdown() -> Any:  # noqa: ANN401 (its module is imported when it is needed)
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")


def _no_notebook(name: str, why: str, remedy: str = "give the file another name") -> ContractError:
    return ContractError(f"{name} is not a notebook ({why}): {remedy}.")


def _parsed(path: Path) -> dict[str, Any]:
    """Return what a file of JSON holds, in whatever Unicode it is written."""
    try:
        if path.is_dir():
            raise _no_notebook(path.name, "it is a folder")
        if path.exists() and not path.is_file():
            raise _no_notebook(path.name, "it is no plain file")
        raw = path.read_bytes()
    except OSError as error:
        raise ContractError(
            f"{path.name} cannot be read ({error.strerror or error}): "
            "see that the file is there and that you may read it."
        ) from error
    if not raw.strip(b"\0 \t\r\n"):
        raise _no_notebook(path.name, "it is empty", "take it from a copy, or remove it")
    try:
        # Bytes, not text: json finds out about a byte order mark and about UTF-16.
        told = visible(json.loads(raw))
    except json.JSONDecodeError as error:
        raise _not_json(path.name, error) from error
    except UnicodeDecodeError as error:
        raise _no_notebook(path.name, "it holds no text") from error
    except RecursionError as error:
        raise _no_notebook(path.name, "it is nested too deep") from error
    if not isinstance(told, dict):
        raise _no_notebook(path.name, f"it holds only a {type(told).__name__}")
    return told


def _not_json(name: str, error: json.JSONDecodeError) -> ContractError:
    """Return the sentence that says what a file holds in place of JSON."""
    text = error.doc
    if marks := _CONFLICT.search(text):
        line = 1 + text.count("\n", 0, marks.start())
        why, remedy = f"marks of a merge conflict, in line {line}", "settle the conflict in git"
        return _no_notebook(name, why, remedy)
    if text.lstrip().startswith("<"):
        return _no_notebook(name, "it is a web page", "download the file itself")
    rest = text[error.pos :].strip()
    if text.lstrip().startswith("{") and (
        error.msg.startswith("Unterminated")
        or (len(rest) < 6 and not error.msg.startswith("Extra"))
    ):
        why = f"it is cut short, in line {1 + text.rstrip().count(chr(10))}"
        return _no_notebook(name, why, "take it from a copy")
    why = f"no JSON, line {error.lineno}: {error.msg}".replace(". ", ", ")
    return _no_notebook(name, why, "mend that line, or take it from a copy")


def _up_to_date(told: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a notebook of whatever format in that of format 4: with a list of cells."""
    version = told.get("nbformat")
    if not isinstance(version, int) or version not in nbformat.versions:
        known = f"its nbformat is {version!r:.40}" if version else "it has no nbformat"
        raise _no_notebook(name, f"{known}; 1 to 4 are known", "save it with JupyterLab")
    if version < 4:
        try:
            # Formats of 2013 and before are left to nbformat.
            told = nbformat.convert(nbformat.reader.reads(json.dumps(told)), 4)
        except Exception as error:  # whatever a broken file does to it
            why = f"its format {version} cannot be converted, {type(error).__name__}"
            raise _no_notebook(name, why, "save it with JupyterLab") from error
    if not isinstance(told.get("cells"), list):
        raise _no_notebook(name, "it has no list of cells", "save it with JupyterLab")
    return told


def _cell(told: object, number: int, name: str) -> dict[str, Any]:
    """Return one cell in the form in which it is run."""
    place = f"cell {number}"
    told = _filled(told, place, name)
    kind = told.get("cell_type")
    if kind not in ("code", "markdown", "raw"):
        raise _wrong(name, f"the type of {place}", kind, "code, markdown or raw")
    metadata = _filled(told.get("metadata"), f"the metadata of {place}", name)
    metadata.pop("papermill", None)
    tags = _texts(metadata.get("tags"), f"the tags of {place}", name)
    known_id = re.fullmatch(r"[\w-]{1,64}", str(told.get("id")), re.ASCII) and told.get("id")
    cell = {
        "cell_type": kind,
        "id": known_id or f"cell-{number}",
        "metadata": metadata,
        "source": "".join(_texts(told.get("source"), f"the source of {place}", name)),
    }
    tags = [part for tag in tags for part in re.split(r"[,\s]+", tag) if part]
    if kind == "code":
        metadata["tags"] = tags
        return cell | {"execution_count": None, "outputs": []}
    metadata["tags"] = [tag for tag in tags if tag != "parameters"]
    attached = told.get("attachments")
    return cell | ({"attachments": attached} if attached and isinstance(attached, dict) else {})


def _filled(value: object, what: str, name: str) -> dict[str, Any]:
    """Return a mapping without what is null in it; null itself is an empty one."""
    if not isinstance(value, dict | None):
        raise _wrong(name, what, value, "a mapping")
    return {key: part for key, part in (value or {}).items() if part is not None}


def _texts(value: object, what: str, name: str) -> list[str]:
    """Return a list of texts, as which a text or null may stand."""
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or not all(isinstance(t, str | None) for t in texts):
        raise _wrong(name, what, value, "a text or a list of texts")
    return [text for text in texts if text]


def _wrong(name: str, what: str, value: object, expected: str) -> ContractError:
    return _no_notebook(
        name, f"{what} is {value!r:.40}, expected {expected}", "save it with JupyterLab"
    )


def _check_language(metadata: dict[str, Any], name: str) -> None:
    parts = {part: _filled(metadata.pop(part, None), part, name) for part in _ABOUT}
    kernel, language = parts["kernelspec"], parts["language_info"]
    told = language.get("name") or kernel.get("language")
    if str(told or "python").lower() != "python" or not (
        told or kernel.get("name", "python3") == "python3"
    ):
        raise ContractError(
            f"{name} is for the kernel {kernel.get('name')!r}, and this environment has python3: "
            "choose that in JupyterLab and save the notebook."
        )
    if "name" in language:
        metadata["language_info"] = language
