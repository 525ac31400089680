"""Download one file of the TLC: to a temporary file, checked, then moved to its name."""

import logging
from collections.abc import Callable
from pathlib import Path

import pooch
from filelock import FileLock
from requests import HTTPError, RequestException

from taxi_lib import settings
from taxi_lib.errors import MissingMonthError

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
    MissingMonthError
        When the TLC does not have the file, cannot be reached (then the cause is
        an ``OSError``), or the folder cannot be written to (likewise).
    """
    url = f"{settings.tlc_url()}/{name}"
    pooch.get_logger().setLevel(logging.WARNING)  # the progress bar says enough

    def fetch(address: str, temporary: str, logger: object) -> None:
        pooch.HTTPDownloader(progressbar=True, timeout=_TIMEOUT)(address, temporary, logger)
        check(Path(temporary))

    with FileLock(settings.lock_file(name)):
        if (folder / name).exists():
            return folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            pooch.retrieve(url, known_hash=None, fname=name, path=folder, downloader=fetch)
        except HTTPError as error:
            raise MissingMonthError(
                f"The TLC has no {name} to give (HTTP {error.response.status_code} from {url}): "
                "choose another month, or use source=synthetic."
            ) from None
        except PermissionError as error:
            raise MissingMonthError(
                f"There is no {name} in {folder}, and no right to write it there: "
                "put the file there, or set TAXI_DATA_DIR to a folder of yours."
            ) from error
        except RequestException as error:
            raise MissingMonthError(
                f"There is no {name} in {folder} and {url} cannot be reached: "
                "put the file there, or use source=synthetic."
            ) from error
    return folder / name
