"""What came of running one notebook, and how an earlier attempt's files are kept."""

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from taxi_lib.results import Value


@dataclass(frozen=True)
class NotebookRun:
    """What came of running one notebook.

    Attributes
    ----------
    name : str
        The notebook.
    status : {"completed", "cached", "failed", "skipped"}
        From the executed cells, because papermill calls a killed run completed; skipped when one
        that it takes from failed.
    seconds : float
        Wall time; for a cached notebook, that of the run that its results come from.
    output, html, log : str or None
        The executed notebook, its HTML copy, and the log; kept also after a failure.
    results : dict
        What the notebook reported.
    error : str or None
        One sentence: cell and error.
    cell : str or None
        The source of the cell that failed.
    is_retryable : bool
        Whether a second try may help: the kernel died, a connection failed.
    changed : str
        Which inputs have changed since it began, in words; empty when none has.
    reads : dict of str to str
        The fingerprint of each file that ``%run`` has read, by its path.
    made : dict of str to str
        The fingerprint of each file that is a result, by its path.
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
    made: dict[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether its results can be used."""
        return self.status in ("completed", "cached")

    @property
    def files(self) -> list[str]:
        """The files of its evidence."""
        return [path for path in (self.output, self.html, self.log) if path]

    def to_dict(self) -> dict[str, object]:
        """Return the run as the summary holds it, where `is_retryable` is called ``may_pass``."""
        content = asdict(self)
        return content | {"may_pass": content.pop("is_retryable")}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "NotebookRun":
        """Return the run that :meth:`to_dict` has written."""
        fields = dict(content)
        return cls(is_retryable=fields.pop("may_pass"), **fields)


class NotebookFailedError(Exception):
    """A notebook failed; ``run`` says how."""

    def __init__(self, run: NotebookRun) -> None:
        super().__init__(f"{run.name}: {run.error}")
        self.run = run


def archive_attempt(folder: Path, name: str) -> None:
    """Rename the files of an earlier attempt, to keep them apart from the next one's."""
    files = [folder / f"{name}{ending}" for ending in (".ipynb", ".html", ".log", ".json", "")]
    if any(file.exists() for file in files):
        number = 1 + len(list(folder.glob(f"{name}.attempt-*.log")))
        for file in files:
            with suppress(FileNotFoundError):
                file.rename(folder / f"{name}.attempt-{number}{file.name.removeprefix(name)}")
