"""Download one file of the TLC: to a temporary file, checked, then moved to its name."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pooch
from filelock import FileLock
from requests import HTTPError, RequestException

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
        When what came is no good.
    UnreachableError
        When the TLC cannot be reached, or is out of order.
    MissingMonthError
        When the TLC does not have the file, or the folder cannot be written to.
    """
    url = f"{settings.tlc_url()}/{name}"
    pooch.get_logger().setLevel(logging.WARNING)  # the progress bar says enough

    def fetch(address: str, temporary: str, logger: object) -> None:
        pooch.HTTPDownloader(progressbar=True, timeout=_TIMEOUT)(address, temporary, logger)
        try:
            check(Path(temporary))
        except DataError as error:
            fault = str(error).split(":")[0].replace(Path(temporary).name, name)
            raise DataError(
                f"{fault}, as {address} sent it: nothing was kept; try again."
            ) from None

    lock = FileLock(settings.lock_file(name))
    with lock, TemporaryDirectory(prefix=".download-", dir=settings.runs_dir()) as scratch:
        if (folder / name).exists():
            return folder / name
        try:
            pooch.retrieve(url, known_hash=None, fname=name, path=scratch, downloader=fetch)
        except HTTPError as error:
            status = error.response.status_code
            kind = UnreachableError if status >= 500 else MissingMonthError
            raise kind(
                f"The TLC has no {name} to give (HTTP {status} from {url}): "
                "choose another month, or use source=synthetic."
            ) from error
        except RequestException as error:
            raise UnreachableError(
                f"There is no {name} in {folder} and {url} cannot be reached: "
                "put the file there, or use source=synthetic."
            ) from error
        _keep(Path(scratch) / name, folder / name)
    return folder / name


def _keep(downloaded: Path, path: Path) -> None:
    """Copy beside the final name, perhaps on another disk, then move: never half a file."""
    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(downloaded, partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise MissingMonthError(
            f"There is no {path.name} in {path.parent}, and it cannot be written there "
            f"({error.strerror}): put it there, or set TAXI_DATA_DIR to a folder of yours."
        ) from error
