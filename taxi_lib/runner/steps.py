"""A notebook to run, with its values: its inputs now, and what an earlier run left."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from taxi_lib.results import Value
from taxi_lib.runner import cache
from taxi_lib.runner.contracts import Contract
from taxi_lib.runner.fingerprints import Inputs, Snapshot, differences, inputs_of, named_as_texts
from taxi_lib.runner.notebook_file import label


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
        Returns the fingerprints of data that its parameters do not name as files.
    no_inputs : frozenset of str
        The values that its outcome does not depend on.
    """

    contract: Contract
    values: dict[str, Value]
    read_data: Callable[[], Inputs] = dict
    no_inputs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The notebook's name."""
        return self.contract.name

    @property
    def label(self) -> str:
        """What the terminal calls it: its number, or its name."""
        return label(self.name)

    def read_inputs(self, folder: Path | None = None) -> Snapshot:
        """Return what its outcome depends on now, files in the run's folder included."""
        values = {name: v for name, v in self.values.items() if name not in self.no_inputs}
        inputs = inputs_of(self.contract, values, self.read_data())
        return Snapshot(inputs, named_as_texts(self.contract, self.values, folder))

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
