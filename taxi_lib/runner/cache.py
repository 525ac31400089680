"""The cache: the record of each notebook's last run with given inputs, and whether it holds.

The record lies beside the executed notebook, and a copy of it in ``runs/.records``. As long as it
holds, a run with the same inputs takes the files that it names instead of running the notebook.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from taxi_lib import settings
from taxi_lib.atomic_files import copy_into, fingerprint, newest_first, real_path, write_text
from taxi_lib.runner.contracts import Contract
from taxi_lib.runner.fingerprints import (
    Files,
    Inputs,
    Snapshot,
    code_of,
    differences,
    key_of,
    prose_of,
)
from taxi_lib.runner.notebook_file import is_injected, read_content, read_notebook
from taxi_lib.runner.notebook_run import NotebookRun, archive_attempt
from taxi_lib.runner.result_files import copy_files

_PACKAGES = ("papermill", "prefect", "mlflow", "scikit-learn", "xgboost", "xgboost-cpu", "pandas")


@dataclass(frozen=True)
class Record:
    """What came of a notebook, its inputs, and the fingerprints of its files.

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
        The fingerprint of each file that the run left, by its path.
    store : str or None
        The MLflow store, if there was one.
    versions : dict of str to str
        The versions of the main packages.
    ended : str
        When it ended, in ISO format.
    named : dict of str to str
        From :func:`taxi_lib.runner.fingerprints.named_as_texts`.
    """

    run: NotebookRun
    notebook: str
    inputs: Inputs
    prose: str
    files: Files
    store: str | None
    versions: dict[str, str] = field(default_factory=dict)
    ended: str = ""
    named: Files = field(default_factory=dict)

    def why_stale(self, named: Files) -> str:
        """Return why the record no longer holds; empty when it does.

        Parameters
        ----------
        named : dict of str to str
            The files that the notebook names as texts, as they are now.
        """
        if self.run.error:
            return "its last run failed"
        if self.run.changed:
            return f"{self.run.changed} changed while it ran"
        # A relative name is a file in the run's folder, which another run need not have.
        before = {
            name: content
            for name, content in self.named.items()
            if Path(name).is_absolute() or name in named
        }
        if changed := differences({"data": before}, {"data": named}):
            return changed
        if changed := _changed(self.files | self.run.reads):
            return changed
        if self.store and not Path(self.store).exists():
            return "the MLflow store is gone"
        return ""


def _changed(files: Files) -> str:
    """Return in words which file has changed; empty when none has."""
    for name, before in files.items():
        now = fingerprint(Path(name))
        if now != before:
            return f"{Path(name).name} {'was changed' if now else 'is gone'}"
    return ""


def keep(
    run: NotebookRun, contract: Contract, snapshot: Snapshot, folder: Path, reusable: bool = True
) -> None:
    """Write the record of a run beside its files and, if it is reusable, into the cache."""
    store = Path(settings.tracking_uri().removeprefix("sqlite:///"))
    cells = json.loads(Path(run.output).read_bytes())["cells"] if run.output else []
    if cells and not run.changed and code_of(cells) != snapshot.inputs["cells"]:
        run = replace(run, changed="cells")
    record = Record(
        run=run,
        notebook=str(contract.path),
        inputs=snapshot.inputs,
        prose=prose_of(cells),
        files={name: fingerprint(Path(name)) for name in run.files} | run.made,
        store=str(store) if store.is_file() else None,
        versions=_versions(),
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        named=snapshot.named,
    )
    text = json.dumps(asdict(record) | {"run": run.to_dict()}, indent=1)
    write_text(folder / f"{contract.name}.json", text)
    if cells and reusable:
        write_text(_place(contract, snapshot.inputs), text)


def find(contract: Contract, now: Snapshot) -> tuple[Record | None, str]:
    """Return the record of a good run with these inputs, or why the notebook has to be run.

    This is the one answer to "is it fresh?": ``status`` shows it and a run acts on it.

    Returns
    -------
    record : Record or None
        None when the notebook has to be run.
    reason : str
        In words: which input changed since its last good run, or what became of its files.
    """
    place = _place(contract, now.inputs)
    if record := _read(place):
        reason = record.why_stale(now.named)
        return (None, reason) if reason else (record, "")
    for other in map(_read, newest_first(place.parent.glob("*.json"))):
        if other and other.notebook == str(contract.path) and not other.run.error:
            reasons = [differences(other.inputs, now.inputs), _changed(other.run.reads)]
            return None, ", ".join(filter(None, reasons))
    return None, "no good run yet"


def reuse(record: Record, contract: Contract, snapshot: Snapshot, folder: Path) -> NotebookRun:
    """Copy the files of an earlier run into a run's folder, with the prose as it is written now.

    Returns
    -------
    NotebookRun
        With the status ``cached``.
    """
    run, paths = record.run, [Path(name) for name in record.run.files]
    if paths[0].parent != folder:
        archive_attempt(folder, contract.name)
        run = copy_files(run, real_path(paths[0].parent / contract.name), folder / contract.name)
        paths = [copy_into(path, folder, record.files[str(path)]) for path in paths]
    output, page, log = paths
    if prose_of(read_content(contract.path)["cells"]) != record.prose:
        import nbformat

        from taxi_lib.runner.html.page import write_page  # brings nbconvert, which takes a second

        executed = nbformat.read(output, as_version=4)
        executed.cells = _with_prose(executed.cells, read_notebook(contract.path).cells)
        write_text(output, nbformat.writes(executed))
        write_page(executed, page, contract.path.parent)
    run = replace(run, status="completed", output=str(output), html=str(page), log=str(log))
    keep(run, contract, Snapshot(snapshot.inputs, record.named), folder)
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


def record_files() -> Iterator[Path]:
    """Yield the files of the cache."""
    return (settings.runs_dir() / ".records").glob("*/*.json")


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):  # only one of the two xgboost packages is installed
            versions[name] = version(name)
    return versions


def _place(contract: Contract, inputs: Inputs) -> Path:
    name = f"{key_of(contract, inputs)}.json"
    return settings.runs_dir() / ".records" / contract.name / name


def _read(path: Path) -> Record | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Record(**content | {"run": NotebookRun.from_dict(content["run"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None  # missing, damaged, or of an older version: the notebook is run again
