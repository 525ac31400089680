"""Modules beside a notebook that are not imported, because others of their names come first."""

import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from nbformat import NotebookNode

_IMPORT = re.compile(r"^[ \t]*(?:import[ \t]+([\w., \t]+)|from[ \t]+(\w+))", re.MULTILINE)
_IMPORT_ERROR = re.compile(
    r"(?:Attribute|Import|ModuleNotFound)Error: .*?(?:module|named|from) '(\w+)"
)


def warnings_about(cells: Iterable[NotebookNode], folder: Path) -> Iterator[str]:
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


def explained(error: str, folder: Path) -> str:
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
