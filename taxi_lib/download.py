"""Download one file of the TLC: to a temporary file, checked, then moved to its name."""

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import requests
from filelock import FileLock
from tqdm import tqdm

from taxi_lib import settings
from taxi_lib.errors import DataError, MissingMonthError, UnreachableError

# Seconds to connect, and between two pieces of the file.
_TIMEOUT = (5, 60)


def download(name: str, folder: Path, check: Callable[[Path], None]) -> Path:
    """Download a file into a folder, unless another process has done so meanwhile.

    Parameters
    ----------
    name : str
        The file's name, under :func:`taxi_lib.settings.tlc_url`.
    folder : pathlib.Path
        Where it shall lie; made if need be.
    check : callable
        Is given the temporary file and raises when it is no good; then nothing is kept.

    Returns
    -------
    pathlib.Path
        The file, complete.

    Raises
    ------
    DataError
        When what came is no good, or does not match the checksum that came with it.
    UnreachableError
        When the TLC cannot be reached, breaks off, or is out of order.
    MissingMonthError
        When the TLC does not have the file, or it cannot be written.
    """
    path, url = folder / name, f"{settings.tlc_url()}/{name}"
    with FileLock(settings.lock_file(name)):
        if path.exists():
            return path
        # Under the lock it is ours alone, also when a killed process has left it.
        temporary = settings.runs_dir() / ".downloads" / name
        temporary.unlink(missing_ok=True)
        try:
            headers = _fetch(url, temporary)
            _check(temporary, headers, url, check)
            _keep(temporary, path)
        except OSError as error:  # what requests raises is an OSError, too
            raise _refusal(error, url, path, temporary) from error
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _fetch(url: str, temporary: Path) -> Mapping[str, str]:
    temporary.parent.mkdir(parents=True, exist_ok=True)
    with requests.get(url, stream=True, timeout=_TIMEOUT) as answer:
        answer.raise_for_status()
        size = int(answer.headers.get("Content-Length", 0)) or None
        with temporary.open("wb") as file, tqdm(total=size, unit="B", unit_scale=True) as bar:
            for piece in answer.iter_content(2**16):
                bar.update(file.write(piece))
    return answer.headers


def _check(
    temporary: Path, headers: Mapping[str, str], url: str, check: Callable[[Path], None]
) -> None:
    try:
        _check_sum(temporary, headers)
        check(temporary)
    except DataError as error:
        fault = str(error).split(":")[0]
        raise DataError(f"{fault}, as {url} sent it: nothing was kept; try again.") from None


def _check_sum(temporary: Path, headers: Mapping[str, str]) -> None:
    """Compare a file with its MD5, which S3 tells of what was put there in one piece.

    https://docs.aws.amazon.com/AmazonS3/latest/API/RESTCommonResponseHeaders.html
    """
    tag = re.fullmatch('"([0-9a-f]{32})"', headers.get("ETag", ""))
    # Another server's 32 digits may stand for anything: Starlette's for a time and a size.
    from_s3 = headers.get("Server") == "AmazonS3"
    if tag and from_s3 and headers.get("x-amz-server-side-encryption", "AES256") == "AES256":
        found = hashlib.md5(temporary.read_bytes(), usedforsecurity=False).hexdigest()
        if found != tag[1]:
            raise DataError(f"{temporary.name} does not match its checksum {tag[1]} ({found})")


def _refusal(error: OSError, url: str, path: Path, temporary: Path) -> MissingMonthError:
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code
        kind, remedy = MissingMonthError, "choose another month"
        if status >= 500:
            kind, remedy = UnreachableError, "try again later"
        return kind(
            f"The TLC has no {path.name} to give (HTTP {status} from {url}): "
            f"{remedy}, or use source=synthetic."
        )
    if isinstance(error, requests.RequestException):
        fault = "broke off in the middle" if temporary.exists() else "cannot be reached"
        return UnreachableError(
            f"There is no {path.name} in {path.parent} and {url} {fault}: "
            "put the file there, or use source=synthetic."
        )
    return _unwritable(path.name, temporary.parent, "TAXI_RUNS_DIR", error)


def _keep(temporary: Path, path: Path) -> None:
    """Copy beside the final name, perhaps on another disk, then move: never half a file."""
    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(temporary, partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _unwritable(path.name, path.parent, "TAXI_DATA_DIR", error) from error


def _unwritable(name: str, folder: Path, variable: str, error: OSError) -> MissingMonthError:
    return MissingMonthError(
        f"{name} cannot be written to {folder} ({error.strerror}): "
        f"make room there, or set {variable} to a folder of yours."
    )
