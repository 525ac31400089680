"""A notebook to run, with its values: its inputs now, and what an earlier run left."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from taxi_lib.atomic_files import fingerprint
from taxi_lib.errors import ContractError
from taxi_lib.months import check_different
from taxi_lib.results import Value
from taxi_lib.runner import cache
from taxi_lib.runner.contracts import Contract
from taxi_lib.runner.fingerprints import (
    Inputs,
    Snapshot,
    differences,
    inputs_of,
    key_of,
    named_as_texts,
)
from taxi_lib.runner.notebook_file import label
from taxi_lib.runner.notebook_run import NotebookRun
from taxi_lib.runner.references import Reference

Values = dict[str, Value]


def _no_data(_: Values) -> Inputs:
    return {}


@dataclass(frozen=True)
class Step:
    """A notebook to run, with its values.

    Attributes
    ----------
    contract : Contract
        The notebook.
    values : dict
        The values that it is given, checked by its contract.
    read_data : callable
        Returns the fingerprints of data that its parameters do not name as files, for its values.
    no_inputs : frozenset of str
        The values that its outcome does not depend on.
    takes : dict of str to Reference
        The results that it takes from earlier notebooks, by parameter.
    files : dict of str to str
        The fingerprint of each file that it has taken, by parameter.
    """

    contract: Contract
    values: Values
    read_data: Callable[[Values], Inputs] = _no_data
    no_inputs: frozenset[str] = frozenset()
    takes: dict[str, Reference] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The notebook's name."""
        return self.contract.name

    @property
    def label(self) -> str:
        """What the terminal calls it: its number, or its name."""
        return label(self.name)

    @property
    def sources(self) -> list[str]:
        """The notebooks that it takes results from, in their order."""
        return list(dict.fromkeys(reference.notebook for reference in self.takes.values()))

    @property
    def notes(self) -> list[str]:
        """What its log says about the values that it takes, or is given instead."""
        taken = [
            f"{name} = {self.values[name]!r}, from {reference}"
            for name, reference in self.takes.items()
        ]
        origins = {p.name: p.origin for p in self.contract.parameters if p.origin}
        given = [
            f"{name} = {self.values[name]!r}, as given, not from {origin}"
            for name, origin in origins.items()
            if name not in self.takes
        ]
        return taken + given

    def with_results(self, runs: Mapping[str, NotebookRun]) -> "Step":
        """Return the step with what it takes from the runs of earlier notebooks.

        Raises
        ------
        ContractError
            When a limit refuses a value, or a file is gone or was changed.
        """
        fields = {p.name: p for p in self.contract.parameters}
        values, files = {}, {}
        for name, reference in self.takes.items():
            run, value = (
                runs[reference.notebook],
                runs[reference.notebook].results[reference.result],
            )
            try:
                values[name] = fields[name].check(value, strict=True)
            except ContractError as error:
                raise ContractError(f"{reference} does not fit: {error}") from None
            if isinstance(value, str) and value in run.made:
                files[name] = _unchanged(Path(value), run.made[value], reference)
        check_different(self.contract.months(self.values | values))
        return replace(self, values=self.values | values, files=files)

    def read_inputs(self, folder: Path | None = None) -> Snapshot:
        """Return what its outcome depends on now, files in the run's folder included."""
        # A file that it takes counts by its content, wherever it lies.
        values = {name: v for name, v in self.values.items() if name not in self.files}
        taken = {f"{name} from {self.takes[name]}": mark for name, mark in self.files.items()}
        named = named_as_texts(self.contract, values, folder)
        data = self.read_data(values) | taken
        values = {name: v for name, v in values.items() if name not in self.no_inputs}
        return Snapshot(inputs_of(self.contract, values, data), named)

    def key(self, folder: Path | None = None) -> str:
        """Return the name of its record for its inputs now."""
        return key_of(self.contract, self.read_inputs(folder).inputs)

    def find_record(self, folder: Path | None = None) -> tuple[Snapshot, cache.Record | None, str]:
        """Return its inputs now, and the record of a good run with them or why there is none."""
        now = self.read_inputs(folder)
        return now, *cache.find(self.contract, now)

    def read_again(self, folder: Path) -> Snapshot | None:
        """Return its inputs after it ran; None when the notebook is gone or damaged."""
        try:
            return self.read_inputs(folder)
        except (OSError, ValueError):
            return None


def _unchanged(path: Path, mark: str, reference: Reference) -> str:
    """Return the fingerprint of a file that is a result, or refuse the file if it has another."""
    now = fingerprint(path)
    if now != mark:
        state = "was changed after it was made" if now else "is gone"
        raise ContractError(f"{path}, which is {reference}, {state}: run once more.")
    return mark


def changes(before: Snapshot, after: Snapshot | None) -> str:
    """Return in words which inputs have changed while a notebook ran.

    Its cells are not compared: those that were executed are in its copy.
    """
    if after is None:
        return "the notebook"
    files = after.inputs["data"] | {name: after.named.get(name) for name in before.named}
    rest = {"cells": before.inputs["cells"], "data": files}
    return differences(before.inputs | {"data": before.data}, after.inputs | rest)


def clash(before: Snapshot, after: Snapshot, beside: Iterable[tuple[str, Snapshot]]) -> str:
    """Return in words which changed file is also named by a notebook that ran beside this one."""
    now = after.data
    changed = {name for name, content in before.data.items() if now.get(name) != content}
    for other, inputs in beside:
        for name in sorted(changed & inputs.own_files):
            return f"{name} changed while {other} ran beside it"
    return ""
