"""Where months come from: the data folder, the TLC, or made up; never mixed in one run."""

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from taxi_lib import settings
from taxi_lib.errors import DataError, MissingMonthError, UnreachableError
from taxi_lib.files import SOURCE_MARK, MonthFile, Taxi, check_file, file_name, source_mark
from taxi_lib.months import check_different
from taxi_lib.settings import Source

if TYPE_CHECKING:
    from IPython.display import Markdown


def fetch_months(*months: str, source: Source = "auto", taxi: Taxi = "green") -> list[MonthFile]:
    """Return the files of some months, all real or all made up.

    Parameters
    ----------
    *months : str
        Such as ``"2021-01"``; the first, the training month, decides for all.
    source : {"auto", "local", "tlc", "synthetic"}
        ``local`` looks only in the data folder (``TAXI_DATA_DIR``); ``tlc`` downloads what
        is not there yet; ``synthetic`` makes the months up; ``auto`` tries these in turn
        and makes months up only when the network cannot be reached.
    taxi : {"green", "yellow", "fhv"}
        The fleet; only green months can be made up.

    Returns
    -------
    list of MonthFile
        In the order of `months`.

    Raises
    ------
    ContractError
        When a month is asked for twice.
    DataError
        When a file that is there is not that month (see :func:`taxi_lib.files.check_file`).
    MissingMonthError
        When a month cannot be had, or only by mixing made-up months with real ones.
    """
    check_different({f"month {number}": month for number, month in enumerate(months, start=1)})
    if source == "synthetic":
        return [_synthetic(month, taxi) for month in months]
    try:
        files = [_real(months[0], source, taxi)]
    except UnreachableError:
        if source != "auto":
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
    """Return the file of a month that is good to have, or None and why it is missing.

    A held-out month is as real as the training month: beside real trips it is never made up.
    """
    try:
        wanted: Source = source if training.is_real else "synthetic"
        return fetch_months(training.month, month, source=wanted, taxi=training.taxi)[1], ""
    except MissingMonthError as error:
        return None, str(error)


def banner(*files: MonthFile) -> "Markdown":
    """Return what to show above every result: which months these are, and who made the trips."""
    from IPython.display import Markdown

    months = ", ".join(file.month for file in files)
    if files[0].is_real:
        found = (
            "downloaded from the TLC"
            if files[0].source == "tlc"
            else f"from {files[0].path.parent}"
        )
        return Markdown(f"> **Data: real trips**, {months}, {found} (`source: {files[0].source}`).")
    return Markdown(
        f"> **Data: MADE-UP trips**, {months} (`source: synthetic`). They look like real months, "
        "but no taxi drove them: expect figures close to the real ones, not the same. "
        f"For real ones put the TLC's files in `{settings.data_dir()}`."
    )


def _real(month: str, source: Source, taxi: Taxi) -> MonthFile:
    name = file_name(month, taxi)
    path = settings.data_dir() / name
    if path.exists():
        check_file(path, month, taxi)
        asked = "tlc" if source == "tlc" else "local"
        return MonthFile(month, path, source_mark(path) or asked, taxi)
    if source == "local":
        raise MissingMonthError(
            f"There is no {name} in {path.parent}: put it there, set TAXI_DATA_DIR, "
            "or use source=tlc or source=synthetic."
        )
    from taxi_lib.download import download  # brings requests: only when needed

    download(name, path.parent, lambda temporary: check_file(temporary, month, taxi))
    return MonthFile(month, path, "tlc", taxi)


def _synthetic(month: str, taxi: Taxi) -> MonthFile:
    if taxi != "green":
        raise DataError(f"Only green months can be made up, not {taxi}: use source=tlc.")
    from taxi_lib import synthetic

    story = Path(synthetic.__file__)
    recipe = b"".join(part.read_bytes() for part in sorted(story.parent.glob("synthetic*.*")))
    # The recipe is part of the address: a month made by an older one is never met again.
    folder = settings.runs_dir() / "synthetic" / hashlib.sha256(recipe).hexdigest()[:8]
    path = folder / file_name(month)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pandas(synthetic.make_month(month), preserve_index=False)
        marked = table.replace_schema_metadata({**table.schema.metadata, SOURCE_MARK: b"synthetic"})
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            pq.write_table(marked, Path(scratch) / "month")
            (Path(scratch) / "month").replace(path)
    return MonthFile(month, path, "synthetic")
