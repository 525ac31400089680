"""What came of running one notebook, and the files of an earlier attempt set aside."""

from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from taxi_lib.results import Value


@dataclass(frozen=True)
class NotebookRun:
    """What came of running one notebook.

    Attributes
    ----------
    name : str
        The notebook.
    status : {"completed", "cached", "failed", "skipped"}
        Taken from what was executed, not from papermill, which calls a killed run complete.
    seconds : float
        Wall time; of a cached one, that of the run whose results these are.
    output, html, log : str or None
        The executed notebook, its HTML copy, and what was printed when; kept also when it failed.
    results : dict
        What the notebook reported.
    error : str or None
        One sentence: cell and error.
    cell : str or None
        The source of the cell that failed.
    is_retryable : bool
        Whether the failure may be gone at the next try: a dead kernel, a connection that failed.
    changed : str
        Which inputs are no longer what they were when it began, in words; empty when none.
    reads : dict of str to str
        The fingerprint of each file beside the notebook that ``%run`` has read, by its path.
    """

    name: str
    status: Literal["completed", "cached", "failed", "skipped"]
    seconds: float = 0.0
    output: str | None = None
    html: str | None = None
    log: str | None = None
    results: dict[str, Value] = field(default_factory=dict)
    error: str | None = None
    cell: str | None = None
    is_retryable: bool = False
    changed: str = ""
    reads: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """The files of its evidence."""
        return [path for path in (self.output, self.html, self.log) if path]

    def for_good(self) -> "NotebookRun":
        """Return the run as one that is not worth a second try."""
        return replace(self, is_retryable=False)

    def to_dict(self) -> dict[str, object]:
        """Return the run as the summary holds it."""
        return asdict(self)


class NotebookFailedError(Exception):
    """A notebook failed; ``run`` tells how."""

    def __init__(self, run: NotebookRun) -> None:
        super().__init__(f"{run.name}: {run.error}")
        self.run = run


def archive_attempt(folder: Path, name: str) -> None:
    """Rename what an earlier attempt left, so that nothing of it is lost or taken for a new one."""
    files = [folder / f"{name}{ending}" for ending in (".ipynb", ".html", ".log", ".json")]
    if any(file.exists() for file in files):
        number = 1 + len(list(folder.glob(f"{name}.attempt-*.log")))
        for file in files:
            with suppress(FileNotFoundError):
                file.rename(folder / f"{name}.attempt-{number}{file.suffix}")
