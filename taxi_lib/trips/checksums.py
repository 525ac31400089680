"""A month's checksum, kept in a record beside it: a file that has changed since is refused."""

import hashlib
import re
from pathlib import Path

from taxi_lib import settings
from taxi_lib.atomic_files import sha256_of, write_text
from taxi_lib.errors import DataError, TaxiError


def remembered(path: Path) -> dict[Path, str]:
    """Return a file's checksums, each by the record that holds it; there may be none."""
    found = {record: _read(record) for record in _records(path)}
    return {record: checksum for record, checksum in found.items() if checksum}


def check_unchanged(path: Path, content: bytes) -> None:
    """Refuse a file whose content does not match its checksum, if there is one."""
    for record, checksum in remembered(path).items():
        if checksum != hashlib.sha256(content).hexdigest():
            raise DataError(
                f"{path.name} has changed since it was first used (its SHA-256 is not the one in "
                f"{record}): delete it and fetch it again, or delete {record.name} if you changed "
                "the month on purpose."
            )


def remember(path: Path, checksum: str) -> None:
    """Keep a file's checksum beside it, or in the runs folder if that cannot be written."""
    line = f"{checksum}  {path.name}\n"  # as `sha256sum -c` reads it
    beside, elsewhere = _records(path)
    try:
        write_text(beside, line)
    except TaxiError:
        write_text(elsewhere, line)


def forget(path: Path) -> None:
    """Remove the checksums of a file that is about to be replaced."""
    for record in _records(path):
        record.unlink(missing_ok=True)


def _records(path: Path) -> tuple[Path, Path]:
    """Return where a file's checksum may be: beside it, or in the runs folder."""
    beside = path.with_name(f"{path.name}.sha256")
    folder = settings.runs_dir() / ".checksums" / sha256_of(str(path.absolute()))[:16]
    return beside, folder / beside.name


def _read(record: Path) -> str | None:
    try:
        text = record.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(
            f"{record} cannot be read ({error.strerror}): let yourself read it, or delete it."
        ) from error
    found = re.search(r"\b[0-9a-f]{64}\b", text.lower())
    if not found:
        raise DataError(f"{record} holds no SHA-256: delete it, and it is written anew.")
    return found[0]
