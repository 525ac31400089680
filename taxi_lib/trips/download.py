"""Download a file of the TLC: to a temporary file, which is checked and then renamed."""

import hashlib
import re
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
from taxi_lib.atomic_files import partial_prefix, replacing
from taxi_lib.errors import DataError, MissingMonthError, UnreachableError
from taxi_lib.trips.checksums import forget, remember
from taxi_lib.trips.month_file import is_there

_TIMEOUT = (5, 60)  # seconds to connect, and between two pieces of the file
_PATIENCE, _SPEED = 20, 2000  # after so many seconds, at least so many bytes a second on average
_IN_ALL = 3600  # seconds for the whole file
_LARGEST = 2 * 10**9  # bytes: four times the TLC's largest file
_BUSY = (408, 425, 429)  # HTTP statuses that mean "try again later"


def download(name: str, folder: Path, check: Callable[[Path], None]) -> Path:
    """Download a file into a folder, with its checksum, unless another process just did so.

    Parameters
    ----------
    name : str
        The file's name, under :func:`taxi_lib.settings.tlc_url`.
    folder : pathlib.Path
        Where the file goes; made if need be.
    check : callable
        Called with the temporary file; raises a DataError to reject it.

    Raises
    ------
    DataError
        When the file is rejected, or does not match the checksum that came with it.
    UnreachableError
        When the TLC cannot be reached, breaks off, is too slow, or has a fault.
    MissingMonthError
        When the TLC does not have the file, or it cannot be written.
    """
    path, url = folder / name, f"{settings.tlc_url()}/{name}"
    try:
        with _one_at_a_time(path):
            if not is_there(path):
                _download(url, path, check)
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that it works for all who share the folder.
    lock = path.with_name(f".{path.name}.lock")
    with FileLock(lock):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # FileLock makes it anew for others who wait


def _download(url: str, path: Path, check: Callable[[Path], None]) -> None:
    for left in path.parent.glob(f"{partial_prefix(path)}*.part"):
        left.unlink(missing_ok=True)  # by a process that was killed: under the lock we are alone
    with replacing(path) as temporary:
        try:
            headers = _fetch(url, temporary)
        except (requests.RequestException, HTTPError) as error:
            raise _refusal(error, url, path, begun=temporary.exists()) from error
        try:
            _check_sum(temporary, headers)
            check(temporary)
        except DataError as error:
            fault = str(error).split(": ")[0].replace(temporary.name, path.name)
            raise DataError(
                f"{fault}, as {_shown(url)} sent it: nothing was kept; try again."
            ) from None
        forget(path)
        checksum = hashlib.sha256(temporary.read_bytes()).hexdigest()
    remember(path, checksum)


def _fetch(url: str, temporary: Path) -> Mapping[str, str]:
    begun = time.monotonic()
    with requests.get(url, stream=True, timeout=_TIMEOUT) as answer:
        answer.raise_for_status()
        length = answer.headers.get("Content-Length", "")
        size = int(length) if re.fullmatch(r"[0-9]{1,15}", length) else None
        with temporary.open("wb") as file, tqdm(total=size, unit="B", unit_scale=True) as bar:
            # read1 returns what has arrived; read would wait for a piece of full size.
            received = 0
            while piece := answer.raw.read1(2**16, decode_content=True):
                bar.update(file.write(piece))
                received += len(piece)
                _check_pace(received, time.monotonic() - begun)
    return answer.headers


def _check_pace(size: int, seconds: float) -> None:
    if seconds > _IN_ALL or seconds > max(_PATIENCE, size / _SPEED):
        raise requests.ReadTimeout(f"is too slow ({size:,} bytes in {seconds:.0f} seconds)")
    if size > _LARGEST:
        raise requests.ReadTimeout(f"does not come to an end ({size:,} bytes so far)")


def _check_sum(temporary: Path, headers: Mapping[str, str]) -> None:
    """Compare a file with its MD5, which S3 sends for files that were uploaded in one piece.

    https://docs.aws.amazon.com/AmazonS3/latest/API/RESTCommonResponseHeaders.html
    """
    tag = re.fullmatch('"([0-9a-f]{32})"', headers.get("ETag", ""))
    # From other servers 32 digits may mean anything: Starlette makes them of a time and a size.
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
        is_ours = isinstance(error, requests.ReadTimeout)  # of _check_pace, not of urllib3
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
    """Return an address without the user name and password that it may contain."""
    return re.sub("//[^/]*@", "//", url)


def _is_offline(error: Exception, url: str) -> bool:
    """Return whether there is no network: no route, no name server, nobody who listens."""
    request = getattr(error, "request", None)
    if request is None or urlsplit(_shown(request.url)).netloc != urlsplit(_shown(url)).netloc:
        return False  # a server has answered, and redirected us
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    reason = getattr(reason, "original_error", reason)  # the reason why a proxy failed
    if isinstance(reason, NameResolutionError):
        # Without a network every name is unknown, but so is a misspelled one: not the TLC's own.
        again = getattr(reason.__cause__, "errno", None) == socket.EAI_AGAIN
        return again or url.startswith(settings.TLC_URL)
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def _innermost(error: BaseException) -> str:
    """Return the first cause of an error, in a few words."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(words.split()).rstrip(".").replace(". ", "; ")


def _unwritable(path: Path, error: OSError) -> MissingMonthError:
    return MissingMonthError(
        f"{path.name} cannot be written to {path.parent} ({error.strerror}): "
        "make room there, or set TAXI_DATA_DIR to a folder of yours."
    )
