"""What the outcome of a notebook depends on, each part as a fingerprint."""

import json
import os
import platform
import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from taxi_lib import settings
from taxi_lib.atomic_files import fingerprint, sha256_of
from taxi_lib.results import Value
from taxi_lib.runner.contracts import Contract
from taxi_lib.runner.notebook_file import Cell, is_injected, read_content

Inputs = dict[str, Any]
Files = dict[str, str | None]
# What only a notebook that runs notebooks itself depends on.
_RUNS_NOTEBOOKS = {"runner", "plan.py", "walkthrough.py", "__main__.py"}
_ASKS_FOR_IT = re.compile(
    r"taxi_lib(?:\.|\s+import\s[^\n;#]*\b|\s+import\s*\([^)]*\b)(?:runner|plan|walkthrough)\b"
    r"|-m\W+taxi_lib\b"
)


def _library(code: str) -> str:
    """Return the fingerprint of those parts of the library that a notebook depends on.

    The code that runs notebooks counts only for a notebook that uses it: a change in how the
    terminal looks makes no lesson stale.
    """
    package = Path(__file__).parents[1]
    parts = (path.relative_to(package) for path in sorted(package.rglob("*.*")))
    sources = [part for part in parts if "__pycache__" not in part.parts]
    if not _ASKS_FOR_IT.search(code):
        sources = [part for part in sources if part.parts[0] not in _RUNS_NOTEBOOKS]
    files = [part for part in sources if (package / part).is_file()]
    return sha256_of(*(x for part in files for x in (str(part), (package / part).read_bytes())))


def _packages() -> str:
    """Return the fingerprint of the lock file, or else of the installed packages."""
    checkout = settings.checkout()
    locked = fingerprint(checkout / "requirements.lock") if checkout else None
    return locked or sha256_of(*sorted(map(_version_of, metadata.distributions())))


def _version_of(package: metadata.Distribution) -> str:
    """Return a package's name and version, and its commit or folder if it has one."""
    return f"{package.name}=={package.version} {package.read_text('direct_url.json') or ''}"


class Snapshot(NamedTuple):
    """What a notebook's outcome depends on, at one moment.

    Attributes
    ----------
    inputs : dict
        From :func:`inputs_of`.
    named : dict of str to str
        From :func:`named_as_texts`.
    """

    inputs: Inputs
    named: Files

    @property
    def data(self) -> Files:
        """The fingerprints of its data: months and files, by name."""
        return self.inputs["data"] | self.named

    @property
    def own_files(self) -> set[str]:
        """The names of its files, without the months, which all notebooks share."""
        return {name for name in self.inputs["data"] if Path(name).is_absolute()} | set(self.named)


def inputs_of(contract: Contract, values: dict[str, Value], data: Inputs) -> Inputs:
    """Return what a notebook's outcome depends on.

    Parameters
    ----------
    contract, values
        The notebook, and the values that it is given.
    data : dict
        The fingerprints of data that its parameters do not name as files, by name.

    Returns
    -------
    dict
        ``taxi_lib``, ``packages`` and ``python``, which all notebooks depend on; ``cells``,
        ``parameters``, ``helpers`` (the modules beside it) and ``data``: as handed in, and the
        files that its parameters name.
    """
    cells = read_content(contract.path)["cells"]
    beside = contract.path.parent
    helpers = [p for p in sorted(beside.rglob("*.py")) if _is_helper(p.relative_to(beside), p)]
    modules = {str(path.relative_to(beside)): path.read_bytes() for path in helpers}
    texts = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    texts += [content.decode(errors="replace") for content in modules.values()]
    return {
        "taxi_lib": _library("\n".join(texts)),
        "packages": _packages(),
        "python": platform.python_version(),
        "cells": code_of(cells),
        "parameters": values,
        "helpers": sha256_of(*(part for item in modules.items() for part in item)),
        "data": data | _files(contract, values),
    }


def _is_helper(name: Path, path: Path) -> bool:
    """Return whether a path is a module, not an editor's lock, a package, or a folder."""
    return path.is_file() and not any(part.startswith(".") for part in name.parts)


def _files(contract: Contract, values: dict[str, Value]) -> Inputs:
    named = [field.name for field in contract.parameters if field.is_path]
    paths = [Path(str(values[name])) for name in named if values.get(name)]
    return {str(path): fingerprint(path) if path.is_file() else _listing(path) for path in paths}


def _listing(folder: Path) -> str:
    """Return the fingerprint of a folder: the names, sizes and times of its files."""
    files = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return sha256_of(*(str((str(p), s.st_size, s.st_mtime_ns)) for p, s in files))


def named_as_texts(contract: Contract, values: dict[str, Value], folder: Path | None) -> Files:
    """Return the fingerprints of the files that a notebook names, but not as paths.

    These are files whose full path is a text among its parameters, and files in the folder of the
    run, left there by an earlier notebook, whose name appears in its code.
    """
    plain = [values.get(p.name, p.default) for p in contract.parameters if not p.is_path]
    in_full = [text for value in plain for text in _texts(value) if text.startswith("/")]
    # Only regular files. os.path, because pathlib raises where a text cannot be a path.
    found = {text: fingerprint(Path(text)) for text in in_full if os.path.isfile(text)}  # noqa: PTH113
    if folder and folder.is_dir():
        cells = read_content(contract.path)["cells"]
        code = "\n".join(
            [*_texts(plain), *(c["source"] for c in cells if c["cell_type"] == "code")]
        )
        made = [p for p in sorted(folder.rglob("*")) if p.is_file()]
        found |= {
            str(name): fingerprint(folder / name)
            for name in (path.relative_to(folder) for path in made)
            if not _is_evidence(name, contract.path.parent) and _appears_in(code, name)
        }
    return {name: content for name, content in found.items() if content}


def _texts(value: Value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _is_evidence(name: Path, notebooks: Path) -> bool:
    """Return whether the runner itself has left a file in the folder of a run."""
    first = Path(name.parts[0])
    folder = len(name.parts) > 1  # a step's own, whose files are handed on by their content
    whose = re.sub(r"\.attempt-\d+$", "", first.name if folder else first.stem)
    kinds = (".ipynb", ".html", ".log", ".json")
    if (notebooks / f"{whose}.ipynb").exists():
        return folder or first.suffix in kinds
    named = ("summary.json", "index.html")
    return not folder and (first.name in named or first.name[0] == ".")


def _appears_in(code: str, name: Path) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(part)}(?!\w)", code) for part in name.parts)


def code_of(cells: Iterable[Cell]) -> str:
    """Return the fingerprint of a notebook's code, whether it was executed or not."""
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    own = [cell for cell in code if not is_injected(cell)]
    return sha256_of(*(_source(cell) + str(cell["metadata"].get("tags", [])) for cell in own))


def _source(cell: Cell) -> str:
    return "".join(cell["source"])  # a list of lines in a file that nbformat has written


def prose_of(cells: Iterable[Cell]) -> str:
    """Return the fingerprint of a notebook's prose, and of its place between the code."""
    own = [cell for cell in cells if not is_injected(cell)]
    return sha256_of(*(_source(c) if c["cell_type"] != "code" else "\0" for c in own))


def key_of(contract: Contract, inputs: Inputs) -> str:
    """Return the name of a notebook's record for these inputs."""
    return f"{contract.name}-{sha256_of(json.dumps(inputs, sort_keys=True))[:16]}"


def differences(before: Inputs, now: Inputs) -> str:
    """Return in words which inputs have changed: ``"parameters (val_month), data (…)"``."""
    words = []
    for part, value in now.items():
        was = before.get(part)
        if was == value:
            continue
        if isinstance(was, dict) and isinstance(value, dict):
            changed = [n for n in sorted(was.keys() | value.keys()) if was.get(n) != value.get(n)]
            words.append(f"{part} ({', '.join(changed)})")
        else:
            words.append(part)
    return ", ".join(words)
