"""Where months come from: the data folder, the TLC, or synthetic; one run never mixes them."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_lib import settings
from taxi_lib.atomic_files import fingerprint, write_bytes
from taxi_lib.errors import DataError, MissingMonthError, UnreachableError
from taxi_lib.months import Source, check_different
from taxi_lib.trips.checksums import remember, remembered
from taxi_lib.trips.data import read_trips
from taxi_lib.trips.month_file import (
    SOURCE_MARK,
    MonthFile,
    Taxi,
    check_whole,
    file_name,
    is_there,
    source_mark,
)

if TYPE_CHECKING:
    from IPython.display import Markdown


def fetch_months(*months: str, source: Source = "auto", taxi: Taxi = "green") -> list[MonthFile]:
    """Return the files of some months, which are all real or all synthetic.

    Parameters
    ----------
    *months : str
        Such as ``"2021-01"``; the first, the training month, decides for all of them.
    source : {"auto", "local", "tlc", "synthetic"}
        ``local`` looks only in the data folder (``TAXI_DATA_DIR``); ``tlc`` downloads what
        is not there yet; ``synthetic`` makes the months up; ``auto`` tries these in turn
        and makes months up only when there is no network.
    taxi : {"green", "yellow", "fhv"}
        The fleet; green and FHV months can be made up.

    Returns
    -------
    list of MonthFile
        In the order of `months`.

    Raises
    ------
    ContractError
        When a month is given twice.
    DataError
        When a file is not that month, has changed since it was first used, or is refused by
        :func:`taxi_lib.trips.data.read_trips`.
    MissingMonthError
        When a month is not available, or only synthetic beside real ones.
    """
    check_different({f"month {number}": month for number, month in enumerate(months, start=1)})
    if source == "synthetic":
        return [_synthetic(month, taxi) for month in months]
    try:
        files = [_real(months[0], source, taxi)]
    except UnreachableError as error:
        if source != "auto" or not error.no_network:
            raise
        return [_synthetic(month, taxi) for month in months]
    files += [_real(month, source, taxi) for month in months[1:]]
    if len({file.is_real for file in files}) > 1:
        names = ", ".join(f"{file.path.name} is {file.source}" for file in files)
        raise MissingMonthError(
            f"One run never mixes real and made-up months ({names}): "
            f"put real files in {settings.data_dir()}, or use source=synthetic."
        )
    return files


def fetch_held_out(
    month: str, training: MonthFile, source: Source = "auto"
) -> tuple[MonthFile | None, str]:
    """Return the file of an optional month, or None and why it is missing.

    It is as real as the training month: beside real trips it is never made up.
    """
    try:
        wanted: Source = source if training.is_real else "synthetic"
        return fetch_months(training.month, month, source=wanted, taxi=training.taxi)[1], ""
    except MissingMonthError as error:
        return None, str(error)


def banner(*files: MonthFile) -> "Markdown":
    """Return what a lesson shows above its results: which months it uses, and if they are real."""
    from IPython.display import Markdown

    months = ", ".join(file.month for file in files)
    if files[0].is_real:
        is_new = files[0].source == "tlc"
        found = "downloaded from the TLC" if is_new else f"from {files[0].path.parent}"
        return Markdown(f"> **Data: real trips**, {months}, {found} (`source: {files[0].source}`).")
    return Markdown(
        f"> **Data: MADE-UP trips**, {months} (`source: synthetic`). They look like real months, "
        "but no taxi drove them: expect figures close to the real ones, not the same. "
        f"For real ones put the TLC's files in `{settings.data_dir()}`."
    )


def _real(month: str, source: Source, taxi: Taxi) -> MonthFile:
    name = file_name(month, taxi)
    path = settings.data_dir() / name
    if is_there(path) or (source == "local" and path.exists()):
        return _found(MonthFile(month, path, "tlc" if source == "tlc" else "local", taxi))
    if source == "local":
        raise MissingMonthError(
            f"There is no {name} in {path.parent}: put it there, set TAXI_DATA_DIR, "
            "or use source=tlc or source=synthetic."
        )
    from taxi_lib.trips.download import download  # brings requests: only when needed

    file = MonthFile(month, path, "tlc", taxi)

    def check(temporary: Path) -> None:
        _check_real(replace(file, path=temporary))
        check_whole(temporary)

    download(name, path.parent, check)
    return file


def _found(file: MonthFile) -> MonthFile:
    """Check a month of the data folder, and find out whether it is real; remember it if it is."""
    checksum = fingerprint(file.path)
    if file.source == "tlc":
        _check_real(file)
    elif is_synthetic(file):
        return replace(file, source="synthetic")
    if checksum and not remembered(file.path):
        check_whole(file.path)
        remember(file.path, checksum)
    return file


def _check_real(file: MonthFile) -> None:
    if is_synthetic(file):
        raise DataError(
            f"{file.path.name} holds made-up trips: delete {file.path} to have the real month "
            "fetched, or use source=synthetic."
        )


def is_synthetic(file: MonthFile) -> bool:
    """Return whether a month was made up: it says so, or has trips that we would make up.

    Raises
    ------
    DataError
        When :func:`taxi_lib.trips.data.read_trips` refuses the file.
    """
    trips, _ = read_trips(file)  # also for lessons that read the file with pandas
    if source_mark(file.path):
        return True
    # Only real months are remembered, after this check.
    if file.taxi != "green" or remembered(file.path):
        return False
    from taxi_lib.trips.synthetic import share_synthetic

    return share_synthetic(trips, file.month) > 0.01


def _synthetic(month: str, taxi: Taxi) -> MonthFile:
    from taxi_lib.trips import synthetic, synthetic_fhv

    makers = {"green": synthetic.make_month, "fhv": synthetic_fhv.make_fhv_month}
    if taxi not in makers:
        raise DataError(f"Only green and FHV months can be made up, not {taxi}: use source=tlc.")

    parts = sorted(Path(synthetic.__file__).parent.glob("synthetic*.*"))
    recipe = b"".join(part.read_bytes() for part in parts)
    # A folder for each version of the recipe, so that older months are not used again.
    folder = settings.runs_dir() / "synthetic" / hashlib.sha256(recipe).hexdigest()[:8]
    path = folder / file_name(month, taxi)
    if {fingerprint(path)} != set(remembered(path).values()):  # missing or damaged
        trips, content = makers[taxi](month), io.BytesIO()
        trips.attrs[SOURCE_MARK.decode()] = "synthetic"
        trips.to_parquet(content, index=False, write_page_checksum=True)
        remember(path, hashlib.sha256(content.getvalue()).hexdigest())
        write_bytes(path, content.getvalue())
    return MonthFile(month, path, "synthetic", taxi)
