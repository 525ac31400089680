"""Folders: whether something could be written to them, found out without writing."""

import os
from pathlib import Path


def fault_of(folder: Path) -> str:
    """Return why nothing can be written to a folder, which may not be there yet, or nothing."""
    place = nearest(folder)
    if not os.path.isdir(place):  # noqa: PTH112 (pathlib's raises where it may not look)
        return f"{place} is no folder"
    return "" if os.access(place, os.W_OK | os.X_OK) else f"{place} is read-only"


def nearest(folder: Path) -> Path:
    """Return a path, or the first of its parents that exists."""
    return next(place for place in (folder, *folder.parents) if os.path.lexists(place))


def working_folder() -> list[Path]:
    """Return the working directory; an empty list when it was removed."""
    try:
        return [Path.cwd()]
    except OSError:
        return []
