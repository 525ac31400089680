"""Download one file of the TLC: to a temporary file, checked, then moved to its name."""

import hashlib
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock
from tqdm import tqdm
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
)

from taxi_lib import settings
from taxi_lib.errors import DataError, MissingMonthError, UnreachableError
from taxi_lib.trips.checksums import forget, remember
from taxi_lib.trips.data import is_there

# Seconds to connect, and between two pieces of the file.
_TIMEOUT = (5, 60)
# From this many seconds on, a file must have come at so many bytes a second; and it must be here
# within so many seconds, and have no more bytes than four times the TLC's largest.
_PATIENCE, _SPEED, _IN_ALL, _LARGEST = 20, 2000, 3600, 2 * 10**9
# Answers that mean "not now": the request took too long, came too early, was one of too many.
_BUSY = (408, 425, 429)


def download(name: str, folder: Path, check: Callable[[Path], None]) -> Path:
    """Download a file into a folder, unless another process has done so meanwhile.

    Its checksum is kept beside it.

    Parameters
    ----------
    name : str
        The file's name, under :func:`taxi_lib.settings.tlc_url`.
    folder : pathlib.Path
        Where the file goes; made if need be.
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
        When the TLC cannot be reached, breaks off, is too slow, or is out of order.
    MissingMonthError
        When the TLC does not have the file, or it cannot be written.
    """
    path, url = folder / name, f"{settings.tlc_url()}/{name}"
    try:
        # In the folder itself, so that all who share the folder wait for each other.
        with _one_at_a_time(path):
            if not is_there(path):
                _download(url, path, check)
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with FileLock(lock):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # whoever waits for it sees that, and makes another


def _download(url: str, path: Path, check: Callable[[Path], None]) -> None:
    for left in path.parent.glob(f".{path.name}.*.part"):
        left.unlink(missing_ok=True)  # by a process that was killed: under the lock we are alone
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        headers = _fetch(url, temporary)
        _check(temporary, headers, url, path, check)
        forget(path)
        checksum = hashlib.sha256(temporary.read_bytes()).hexdigest()
        temporary.replace(path)
        remember(path, checksum)
    except (requests.RequestException, HTTPError) as error:
        raise _refusal(error, url, path, begun=temporary.exists()) from error
    finally:
        temporary.unlink(missing_ok=True)


def _fetch(url: str, temporary: Path) -> Mapping[str, str]:
    begun = time.monotonic()
    with requests.get(url, stream=True, timeout=_TIMEOUT) as answer:
        answer.raise_for_status()
        length = answer.headers.get("Content-Length", "")
        size = int(length) if re.fullmatch(r"[0-9]{1,15}", length) else None
        with temporary.open("wb") as file, tqdm(total=size, unit="B", unit_scale=True) as bar:
            # Each piece as it comes: a whole one of some size may be long in coming.
            while piece := answer.raw.read1(2**16, decode_content=True):
                bar.update(file.write(piece))
                _check_pace(file.tell(), time.monotonic() - begun)
    return answer.headers


def _check_pace(size: int, seconds: float) -> None:
    if seconds > _IN_ALL or seconds > max(_PATIENCE, size / _SPEED):
        raise requests.ReadTimeout(f"is too slow ({size:,} bytes in {seconds:.0f} seconds)")
    if size > _LARGEST:
        raise requests.ReadTimeout(f"does not come to an end ({size:,} bytes so far)")


def _check(
    temporary: Path,
    headers: Mapping[str, str],
    url: str,
    path: Path,
    check: Callable[[Path], None],
) -> None:
    try:
        _check_sum(temporary, headers)
        check(temporary)
    except DataError as error:
        fault = str(error).split(": ")[0].replace(temporary.name, path.name)
        raise DataError(
            f"{fault}, as {_shown(url)} sent it: nothing was kept; try again."
        ) from None


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


def _refusal(error: Exception, url: str, path: Path, begun: bool) -> MissingMonthError:
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code
        kind, remedy = MissingMonthError, "choose another month"
        if status >= 500 or status in _BUSY:
            kind, remedy = UnreachableError, "try again later"
        return kind(
            f"The TLC has no {path.name} to give (HTTP {status} from {_shown(url)}): "
            f"{remedy}, or use source=synthetic."
        )
    no_network, remedy = _is_offline(error, url), "put the file there"
    if begun:
        is_ours = isinstance(error, requests.ReadTimeout)  # urllib3's is another one
        fault = str(error) if is_ours else "broke off in the middle"
    elif no_network:
        fault = "cannot be reached"
    else:
        fault = f"gave no answer that can be used ({_innermost(error)})"
        if not url.startswith(settings.TLC_URL):
            remedy = "correct TAXI_TLC_URL, put the file there"
    return UnreachableError(
        f"There is no {path.name} in {path.parent} and {_shown(url)} {fault}: "
        f"{remedy}, or use source=synthetic.",
        no_network,
    )


def _shown(url: str) -> str:
    """Return an address without the name and the password that it may hold."""
    return re.sub("//[^/]*@", "//", url)


def _is_offline(error: Exception, url: str) -> bool:
    """Tell whether nobody could be asked: no route, no name server, nobody who listens."""
    asked = getattr(error, "request", None)
    if asked is None or urlsplit(_shown(asked.url)).netloc != urlsplit(_shown(url)).netloc:
        return False  # somebody answered, and sent us elsewhere
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    reason = getattr(reason, "original_error", reason)  # what kept us from a proxy
    if isinstance(reason, NameResolutionError):
        # Without a network a name is as unknown as a mistyped one: the TLC's own is right.
        again = getattr(reason.__cause__, "errno", None) == socket.EAI_AGAIN
        return again or url.startswith(settings.TLC_URL)
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def _innermost(error: BaseException) -> str:
    """Return in a few words what was behind an error."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(said.split()).rstrip(".").replace(". ", "; ")


def _unwritable(path: Path, error: OSError) -> MissingMonthError:
    return MissingMonthError(
        f"{path.name} cannot be written to {path.parent} ({error.strerror}): "
        "make room there, or set TAXI_DATA_DIR to a folder of yours."
    )
