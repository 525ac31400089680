"""Reading a notebook before a run: a notebook file, for Python, and not an executed copy."""

import json
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_lib.errors import ContractError
from taxi_lib.runner.screen import visible

if TYPE_CHECKING:
    from nbformat import NotebookNode

Cell = dict[str, Any]

_CONFLICT = re.compile(r"^(<{7}|={7}|>{7})( |$)", re.MULTILINE)
_ID = re.compile(r"[\w-]{1,64}", re.ASCII)
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
_NUMBERS = re.compile(r"\d+(?:[\W_]+\d+)*")


def read_notebook(path: Path) -> "NotebookNode":
    """Read a notebook as nbformat's object; see :func:`read_content`."""
    from nbformat import from_dict  # takes 0.2 s, which a listing does without

    return from_dict(read_content(path))


def read_content(path: Path) -> dict[str, Any]:
    """Read a notebook, if it can be run here, in the form in which it is run.

    Whatever runs a notebook or looks at one reads it here, so that all see the same cells. Older
    formats are brought up to date, outputs and empty entries are left out, and only code cells
    keep the tag ``parameters``: papermill would put the values behind tagged prose, and the
    defaults, which come after them, would win. A file that is no notebook, not one for Python, or
    one that papermill has written is refused.
    """
    content = _up_to_date(_read_json(path), path.name)
    metadata = _mapping(content.get("metadata"), "metadata", path.name)
    metadata.pop("papermill", None)  # left by an earlier run
    _check_language(metadata, path.name)
    metadata["kernelspec"] = KERNEL  # it is run with this one, whatever it named
    cells = [_cell(cell, n, path.name) for n, cell in enumerate(content["cells"], start=1)]
    ids = set()
    for number, cell in enumerate(cells, start=1):
        if cell["id"] in ids:
            cell["id"] = f"cell-{number}-of-{len(cells)}"
        ids.add(cell["id"])
    if any(map(is_injected, cells)):
        raise ContractError(
            f"{path.name} is an executed copy, with parameters put in: run the notebook it is of, "
            "or remove its cell tagged injected-parameters."
        )
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}


def order(name: str) -> tuple:
    """Return the sort key of a notebook: the numbers that its name begins with, then the name.

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
    """Return the short name of a notebook: its number, or its whole name if it has none."""
    numbered = re.match(r"\d+(?:\.\d+)*[^\W\d_]?(?=[\W_]|$)", name)
    return numbered[0] if numbered else name


def headings(source: str) -> list[tuple[int, str]]:
    """Return the headings in a text in Markdown, each with its level from 1 to 6."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").parse(source)
    return [
        (int(token.tag[1:]), inline.content)
        for token, inline in pairwise(tokens)
        if token.type == "heading_open" and inline.content
    ]


def tagged(cells: Iterable[Cell], tag: str) -> list[str]:
    """Return the sources of the code cells with a tag."""
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return [cell["source"] for cell in code if tag in cell["metadata"]["tags"]]


def is_injected(cell: Cell) -> bool:
    """Return whether papermill added the cell, to set the parameters."""
    return "injected-parameters" in cell["metadata"].get("tags", [])


def is_error_mark(cell: Cell) -> bool:
    """Return whether papermill added the cell, to point to a failed one."""
    return "papermill-error-cell-tag" in cell["metadata"].get("tags", [])


def _no_notebook(name: str, why: str, remedy: str = "save it with JupyterLab") -> ContractError:
    return ContractError(f"{name} is not a notebook ({why}): {remedy}.")


def _read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file in any encoding of Unicode."""
    another = "give the file another name"
    try:
        if path.is_dir():
            raise _no_notebook(path.name, "it is a folder", another)
        if path.exists() and not path.is_file():
            raise _no_notebook(path.name, "it is no plain file", another)
        raw = path.read_bytes()
    except OSError as error:
        raise ContractError(
            f"{path.name} cannot be read ({error.strerror or error}): "
            "see that the file is there and that you may read it."
        ) from error
    if not raw.strip(b"\0 \t\r\n"):
        raise _no_notebook(path.name, "it is empty", "take it from a copy, or remove it")
    try:
        # Bytes, not text: json recognizes a byte order mark and UTF-16.
        content = visible(json.loads(raw))
    except json.JSONDecodeError as error:
        raise _no_notebook(path.name, *_not_json(error)) from error
    except UnicodeDecodeError as error:
        raise _no_notebook(path.name, "it holds no text", another) from error
    except RecursionError as error:
        raise _no_notebook(path.name, "it is nested too deep", another) from error
    if not isinstance(content, dict):
        raise _no_notebook(path.name, f"it holds only a {type(content).__name__}", another)
    return content


def _not_json(error: json.JSONDecodeError) -> tuple[str, str]:
    """Return why a file is not JSON, and what to do about it."""
    text, rest = error.doc.strip(), error.doc[error.pos :].strip()
    if marks := _CONFLICT.search(error.doc):
        line = 1 + error.doc.count("\n", 0, marks.start())
        return f"marks of a merge conflict, in line {line}", "settle the conflict in git"
    if text.startswith("<"):
        return "it is a web page", "download the file itself"
    is_cut = error.msg.startswith("Unterminated") or len(rest) < 6
    if text.startswith("{") and is_cut and not error.msg.startswith("Extra"):
        line = 1 + error.doc.rstrip().count("\n")
        return f"it is cut short, in line {line}", "take it from a copy"
    why = f"no JSON, line {error.lineno}: {error.msg}".replace(". ", ", ")
    return why, "mend that line, or take it from a copy"


def _up_to_date(content: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a notebook of any format in that of format 4: with a list of cells."""
    version = content.get("nbformat")
    if not isinstance(version, int) or version not in (1, 2, 3, 4):
        known = f"its nbformat is {version!r:.40}" if version else "it has no nbformat"
        raise _no_notebook(name, f"{known}; 1 to 4 are known")
    if version < 4:
        import nbformat

        try:
            # Formats of 2013 and before are left to nbformat.
            content = nbformat.convert(nbformat.reader.reads(json.dumps(content)), 4)
        except Exception as error:  # a broken file may raise anything there
            why = f"its format {version} cannot be converted, {type(error).__name__}"
            raise _no_notebook(name, why) from error
    if not isinstance(content.get("cells"), list):
        raise _no_notebook(name, "it has no list of cells")
    return content


def _cell(content: object, number: int, name: str) -> dict[str, Any]:
    """Return one cell in the form in which it is run."""
    place = f"cell {number}"
    content = _mapping(content, place, name)
    kind = content.get("cell_type")
    if kind not in ("code", "markdown", "raw"):
        raise _wrong(name, f"the type of {place}", kind, "code, markdown or raw")
    metadata = _mapping(content.get("metadata"), f"the metadata of {place}", name)
    metadata.pop("papermill", None)
    tags = " ".join(_texts(metadata.get("tags"), f"the tags of {place}", name))
    metadata["tags"] = [tag for tag in re.split(r"[,\s]+", tags) if tag]
    own_id = str(content.get("id"))
    cell = {
        "cell_type": kind,
        "id": own_id if content.get("id") and _ID.fullmatch(own_id) else f"cell-{number}",
        "metadata": metadata,
        "source": "".join(_texts(content.get("source"), f"the source of {place}", name)),
    }
    if kind == "code":
        return cell | {"execution_count": None, "outputs": []}
    metadata["tags"] = [tag for tag in metadata["tags"] if tag != "parameters"]
    attached = content.get("attachments")
    return cell | ({"attachments": attached} if attached and isinstance(attached, dict) else {})


def _mapping(value: object, what: str, name: str) -> dict[str, Any]:
    """Return a mapping without its null entries; null itself is an empty one."""
    if not isinstance(value, dict | None):
        raise _wrong(name, what, value, "a mapping")
    return {key: part for key, part in (value or {}).items() if part is not None}


def _texts(value: object, what: str, name: str) -> list[str]:
    """Return a list of texts; a single text is a list of one, and null is an empty list."""
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str | None) for text in texts):
        raise _wrong(name, what, value, "a text or a list of texts")
    return [text for text in texts if text]


def _wrong(name: str, what: str, value: object, expected: str) -> ContractError:
    return _no_notebook(name, f"{what} is {value!r:.40}, expected {expected}")


def _check_language(metadata: dict[str, Any], name: str) -> None:
    """Refuse a notebook for another language, and leave out metadata about its kernel."""
    kernel, about = (
        _mapping(metadata.pop(part, None), part, name) for part in ("kernelspec", "language_info")
    )
    language = about.get("name") or kernel.get("language")
    if not language and kernel.get("name", "python3") != "python3":
        language = "another"
    if str(language or "python").lower() != "python":
        raise ContractError(
            f"{name} is for the kernel {kernel.get('name')!r}, and this environment has python3: "
            "choose that in JupyterLab and save the notebook."
        )
    if "name" in about:
        metadata["language_info"] = about
