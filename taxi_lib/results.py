"""What a notebook promises, its results, and what came of running it.

The results are kept in the executed notebook itself.

:func:`report_results` leaves them there as an output of a type of its own;
:func:`read_results` finds them, whoever ran the notebook.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from taxi_lib.errors import ContractError

RESULTS_TYPE = "application/vnd.taxi-workbook.results+json"
Value = str | int | float | bool | list | dict | None


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
    may_pass : bool
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
    may_pass: bool = False
    changed: str = ""
    reads: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """The files of its evidence."""
        return [path for path in (self.output, self.html, self.log) if path]

    def for_good(self) -> "NotebookRun":
        """Return the run as one that is not worth a second try."""
        return replace(self, may_pass=False)

    def to_dict(self) -> dict[str, object]:
        """Return the run as the summary holds it."""
        return asdict(self)


class NotebookFailedError(Exception):
    """A notebook failed; ``run`` tells how."""

    def __init__(self, run: NotebookRun) -> None:
        super().__init__(f"{run.name}: {run.error}")
        self.run = run


def report_results(**results: Value) -> None:
    """Report a notebook's results: shown as text, and kept in the executed notebook.

    Parameters
    ----------
    **results : float, int, str or None
        None stands for "could not be had".

    Raises
    ------
    ContractError
        When one is no value of JSON, or not finite.
    """
    from IPython.display import display

    plain = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in results.items()}
    for name, value in plain.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise ContractError(
                f"Result {name} is {value!r:.80}, expected finite numbers, texts, or lists or "
                "dicts of them."
            ) from None
    width = max(map(len, plain), default=0)
    text = "\n".join(f"{name:>{width}} : {value}" for name, value in plain.items())
    display({"text/plain": text, RESULTS_TYPE: plain}, raw=True)


def read_results(path: Path) -> dict[str, Value]:
    """Return the results that an executed notebook reported; empty when it reported none."""
    import nbformat

    results: dict[str, Value] = {}
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            results |= output.get("data", {}).get(RESULTS_TYPE, {})
    return results
