"""What a notebook's run leaves to be believed later: its record, and whether it still holds.

The record lies beside the executed notebook. That of the last run with given inputs is also
kept in ``runs/.records``; a good one spares the next walkthrough a run with the same inputs.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nbformat

from taxi_lib import settings
from taxi_lib.atomic_files import copy_into, fingerprint, newest_first, write_text
from taxi_lib.runner.contracts import Contract
from taxi_lib.runner.fingerprints import Inputs, code_of, differences, key_of, prose_of
from taxi_lib.runner.html.page import write_page
from taxi_lib.runner.notebook_file import is_injected, read_notebook
from taxi_lib.runner.notebook_run import NotebookRun, archive_attempt

_TOLD = ("papermill", "prefect", "mlflow", "scikit-learn", "xgboost", "xgboost-cpu", "pandas")


@dataclass(frozen=True)
class Record:
    """What came of a notebook, of what, and what its files looked like.

    Attributes
    ----------
    run : NotebookRun
        What came of it.
    notebook : str
        Its path.
    inputs : dict
        From :func:`taxi_lib.runner.fingerprints.inputs_of`.
    prose : str
        The fingerprint of its prose.
    files : dict of str to str
        The fingerprint of each file by its path.
    store : str or None
        The MLflow store, if there was one.
    versions : dict of str to str
        Of the main packages.
    ended : str
        When, in ISO's notation.
    named : dict of str to str
        The fingerprints of the files that it names as texts, by their names; see
        :func:`taxi_lib.runner.fingerprints.named_as_texts`.
    """

    run: NotebookRun
    notebook: str
    inputs: Inputs
    prose: str
    files: dict[str, str | None]
    store: str | None
    versions: dict[str, str] = field(default_factory=dict)
    ended: str = ""
    named: dict[str, str | None] = field(default_factory=dict)

    def fault(self, named: dict[str, str | None]) -> str:
        """Return why it is not to be believed by now; empty when all is as it was.

        Parameters
        ----------
        named : dict of str to str
            The files that the notebook names as texts, as they are now.
        """
        if self.run.error:
            return "its last run failed"
        if self.run.changed:
            return f"{self.run.changed} changed while it ran"
        # What an earlier notebook left in the folder of another run is not here to be compared.
        before = {name: was for name, was in self.named.items() if Path(name).is_absolute()}
        if changed := differences({"data": before | self._seen(named)}, {"data": named}):
            return changed
        if changed := _changed(self.files | self.run.reads):
            return changed
        if self.store and not Path(self.store).exists():
            return "the MLflow store is gone"
        return ""

    def _seen(self, named: dict[str, str | None]) -> dict[str, str | None]:
        return {name: was for name, was in self.named.items() if name in named}


def _changed(files: dict[str, str | None]) -> str:
    """Return in words which of some files is not what it was; empty when all are."""
    for name, before in files.items():
        now = fingerprint(Path(name))
        if now != before:
            return f"{Path(name).name} {'was changed' if now else 'is gone'}"
    return ""


def keep(
    run: NotebookRun,
    contract: Contract,
    inputs: Inputs,
    folder: Path,
    named: dict[str, str | None] | None = None,
    counts: bool = True,
) -> None:
    """Write a run's record beside its files; and, if it counts, where it is found again."""
    store = Path(settings.tracking_uri().removeprefix("sqlite:///"))
    cells = nbformat.read(run.output, as_version=4).cells if run.output else []
    if cells and not run.changed and code_of(cells) != inputs["cells"]:
        run = replace(run, changed="cells")
    record = Record(
        run,
        str(contract.path),
        inputs,
        prose_of(cells),
        {name: fingerprint(Path(name)) for name in run.files},
        str(store) if store.is_file() else None,
        _versions(),
        datetime.now(UTC).isoformat(timespec="seconds"),
        named or {},
    )
    text = json.dumps(asdict(record), indent=1)
    write_text(folder / f"{contract.name}.json", text)
    if cells and counts:
        write_text(_place(contract, inputs), text)


def find(
    contract: Contract, inputs: Inputs, named: dict[str, str | None]
) -> tuple[Record | None, str]:
    """Return the record of a good run with these inputs whose files are intact, or why not.

    Parameters
    ----------
    contract : Contract
        The notebook.
    inputs : dict
        From :func:`taxi_lib.runner.fingerprints.inputs_of`.
    named : dict of str to str
        From :func:`taxi_lib.runner.fingerprints.named_as_texts`.

    Returns
    -------
    record : Record or None
        None when the notebook has to be run.
    reason : str
        In words: which input changed since its last good run, or what became of its files.
    """
    place = _place(contract, inputs)
    record = _read(place)
    if record:
        fault = record.fault(named)
        return (None, fault) if fault else (record, "")
    others = [_read(path) for path in newest_first(place.parent.glob("*.json"))]
    ours = (other for other in others if other and other.notebook == str(contract.path))
    last = next((other for other in ours if not other.run.error), None)
    if not last:
        return None, "no good run yet"
    return None, ", ".join(
        filter(None, [differences(last.inputs, inputs), _changed(last.run.reads)])
    )


def reuse(record: Record, contract: Contract, inputs: Inputs, folder: Path) -> NotebookRun:
    """Copy the files of an earlier run into this one's folder; new prose is put in, nothing run.

    Returns
    -------
    NotebookRun
        With the status ``cached``.
    """
    if Path(record.run.output).parent == folder:
        output, page, log = map(Path, record.files)
    else:
        archive_attempt(folder, contract.name)
        files = record.files.items()
        output, page, log = (copy_into(Path(name), folder, now) for name, now in files)
    notebook = read_notebook(contract.path)
    if prose_of(notebook.cells) != record.prose:
        executed = nbformat.read(output, as_version=4)
        executed.cells = _with_prose(executed.cells, notebook.cells)
        write_text(output, nbformat.writes(executed))
        write_page(executed, page, contract.path.parent)
    run = replace(record.run, status="completed", output=str(output), html=str(page), log=str(log))
    keep(run, contract, inputs, folder, record.named)
    return replace(run, status="cached")


def _with_prose(executed: list, written: list) -> list:
    """Return the executed code cells between the prose as it is written now."""
    code, cells = [c for c in executed if c.cell_type == "code"], []
    for cell in written:
        if cell.cell_type != "code":
            cells.append(cell)
            continue
        cells.append(code.pop(0))
        if code and is_injected(code[0]):
            cells.append(code.pop(0))
    return cells


def _versions() -> dict[str, str]:
    versions = {}
    for name in _TOLD:
        with suppress(PackageNotFoundError):  # xgboost has one name or the other
            versions[name] = version(name)
    return versions


def _place(contract: Contract, inputs: Inputs) -> Path:
    name = f"{key_of(contract, inputs)}.json"
    return settings.runs_dir() / ".records" / contract.name / name


def _read(path: Path) -> Record | None:
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Record(**told | {"run": NotebookRun(**told["run"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None  # none, or a damaged one: the notebook is run again
