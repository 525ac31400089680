"""Files that are whole or not there at all."""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from taxi_lib.errors import TaxiError


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step: a reader sees the old one or the new one, never half of it.

    Raises
    ------
    TaxiError
        When it cannot be written: a full disk, a folder that only others may write to.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def copy_into(path: Path, folder: Path, expected: str | None) -> Path:
    """Copy a file with this fingerprint into a folder in one step; return the copy's path.

    Raises
    ------
    TaxiError
        When it is gone, or another by now.
    """
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != expected:
        raise TaxiError(f"{path} was changed while it was to be used again: run once more.")
    write_bytes(folder / path.name, content)
    return folder / path.name


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step, as :func:`write_text` does."""
    # The name is our own: two processes may be writing the same file. It is short, so that every
    # name that a file may have can be written.
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a disk may say only now that it is full
        partial.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        _forget(partial)


def unwritable(path: Path, error: OSError) -> TaxiError:
    """Return the error that says that a file cannot be written, and why."""
    remedy = "free some space, or choose a folder that you may write to"
    if error.errno == errno.ENAMETOOLONG:
        remedy = "choose a shorter name"
    return TaxiError(f"{path} cannot be written ({error.strerror or error}): {remedy}.")


def sha256_of(*contents: bytes | str) -> str:
    """Return the SHA-256 of some contents, one after another, as 64 hex digits."""
    digest = hashlib.sha256()
    for content in contents:
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        digest.update(len(data).to_bytes(8, "big"))  # "ab", "c" is not "a", "bc"
        digest.update(data)
    return digest.hexdigest()


def fingerprint(path: Path) -> str | None:
    """Return the SHA-256 of a file, or None where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def real_path(path: Path) -> Path:
    """Return a path without links; unlike ``resolve``, also where they lead in a circle."""
    return Path(os.path.realpath(path))


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """Return files by when they were written; those removed meanwhile come last."""

    def when(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0

    return sorted(paths, key=when, reverse=True)


def _forget(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the folder is gone, or no longer ours: there is nothing to clean
