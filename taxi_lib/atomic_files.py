"""Atomic writes: a reader sees the old file or the new one, never half of it. And fingerprints."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taxi_lib.errors import TaxiError


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as :func:`write_bytes` does."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def copy_into(path: Path, folder: Path, expected: str | None) -> Path:
    """Copy a file into a folder if it has the expected fingerprint; return the copy's path.

    Raises
    ------
    TaxiError
        When the file is gone or has changed, or the copy cannot be written.
    """
    copy = folder / path.name
    changed = TaxiError(f"{path} was changed while it was to be used again: run once more.")
    if expected is None or fingerprint(path) != expected:
        raise changed
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(copy) as partial:
            shutil.copyfile(path, partial)
            if fingerprint(partial) != expected:
                raise changed
    except OSError as error:
        raise unwritable(copy, error) from error
    return copy


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises
    ------
    TaxiError
        When it cannot be written: the disk is full, or the folder belongs to somebody else.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield where to write a file's new content; when the block succeeds, it replaces the file."""
    # Its own name for each process that writes the file, and no longer than names may be.
    partial = path.with_name(f"{partial_prefix(path)}{secrets.token_hex(4)}.part")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # some disks report only now that they are full
        partial.replace(path)
    finally:
        with suppress(OSError):  # the folder is gone, or no longer ours
            partial.unlink(missing_ok=True)


def partial_prefix(path: Path) -> str:
    """Return how the names of the temporary files of :func:`replacing` begin."""
    return f".{path.name[:50]}."


def unwritable(path: Path, error: OSError) -> TaxiError:
    """Return the error which says that a file cannot be written, and why."""
    remedy = "free some space, or choose a folder that you may write to"
    if error.errno == errno.ENAMETOOLONG:
        remedy = "choose a shorter name"
    return TaxiError(f"{path} cannot be written ({error.strerror or error}): {remedy}.")


def sha256_of(*contents: bytes | str) -> str:
    """Return one SHA-256 of several contents, in their order, as 64 hex digits."""
    digest = hashlib.sha256()
    for content in contents:
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        digest.update(len(data).to_bytes(8, "big"))  # so that "ab", "c" differs from "a", "bc"
        digest.update(data)
    return digest.hexdigest()


def fingerprint(path: Path) -> str | None:
    """Return the SHA-256 of a file, or None when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def real_path(path: Path) -> Path:
    """Return a path without links; unlike ``resolve``, also when links lead in a circle."""
    return Path(os.path.realpath(path))


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """Return files by the time they were written; files that are gone come last."""

    def when(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0

    return sorted(paths, key=when, reverse=True)
