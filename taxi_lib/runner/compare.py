"""Two runs side by side: which parameters, inputs, results, seconds and figures differ."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taxi_lib.atomic_files import newest_first
from taxi_lib.errors import TaxiError
from taxi_lib.runner import past_runs
from taxi_lib.runner.each_value import is_number
from taxi_lib.runner.evidence import Evidence, find_run, read_run

_MISSING = "—"
# The inputs that are fingerprints, in words.
_INPUTS = {
    "cells": "its code",
    "taxi_lib": "the library",
    "packages": "the packages",
    "python": "Python",
    "helpers": "the modules beside it",
}


@dataclass(frozen=True)
class Change:
    """One thing that differs: what it is, before and now, and by how much if it is a number."""

    what: str
    before: str
    now: str
    by: str = ""


@dataclass(frozen=True)
class Compared:
    """One notebook in two runs; a side is None where it is not part of that run.

    Attributes
    ----------
    name : str
        The notebook.
    before, now : Evidence or None
        What the earlier and the later run left.
    changes : list of Change
        What differs, the seconds left out.
    figures : list of tuple of str
        Place, and the picture before and now, of those that differ.
    """

    name: str
    before: Evidence | None
    now: Evidence | None
    changes: list[Change] = field(default_factory=list)
    figures: list[tuple[str, str, str]] = field(default_factory=list)

    def rows(self) -> list[dict[str, str]]:
        """Return a row for each thing that differs, the seconds last; none when all is alike."""
        changes = [*self.changes]
        changes += [Change(f"figure in {place}", "", "", "another") for place, *_ in self.figures]
        columns = ("what", "before", "now", "difference")
        texts = ((c.what, c.before, c.now, c.by) for c in [*changes, self.seconds])
        return [dict(zip(columns, row, strict=True)) for row in texts] if changes else []

    @property
    def seconds(self) -> Change:
        """How long it took; for a cached one, when it was executed."""
        before, now = (each.seconds if each else None for each in (self.before, self.now))
        return Change("seconds", _text(before, ".1f"), _text(now, ".1f"), _by(before, now))


def two_runs(names: list[str]) -> tuple[Path, Path]:
    """Return the folders of two runs, the earlier one first: those named, or the last two.

    One name is compared with the last of the other runs.

    Raises
    ------
    TaxiError
        When there are not two runs, or a name is no run.
    """
    last = past_runs.past_runs()
    chosen = list(dict.fromkeys(map(find_run, names)))
    if len(names) == 2 and len(chosen) < 2:
        raise TaxiError(f"{names[0]} and {names[1]} are the same run: name two different ones.")
    chosen += [folder for folder in last if folder not in chosen][: 2 - len(chosen)]
    if len(chosen) < 2:
        raise TaxiError("Two runs are needed to compare, and there is only one: run once more.")
    now, before = newest_first(folder / "summary.json" for folder in chosen)
    return before.parent, now.parent


def compare(before: Path, now: Path) -> list[Compared]:
    """Return what two runs left of each notebook, and what differs."""
    first, second = (_with_records(folder) for folder in (before, now))
    return [_compared(name, first.get(name), second.get(name)) for name in first | second]


def _with_records(folder: Path) -> dict[str, Evidence]:
    found = read_run(folder)
    if not any(each.inputs for each in found.values()):
        raise TaxiError(f"{folder} has no record of a notebook any more: compare another run.")
    return found


def _compared(name: str, before: Evidence | None, now: Evidence | None) -> Compared:
    if before is None or now is None:
        sides = ("not in this run" if side is None else side.status for side in (before, now))
        return Compared(name, before, now, [Change("status", *sides)])
    was, new = before.figures(), now.figures()
    figures = [
        (place, was.get(place, ""), new.get(place, ""))
        for place in was | new
        if was.get(place) != new.get(place)
    ]
    return Compared(name, before, now, list(_changes(before, now)), figures)


def _changes(before: Evidence, now: Evidence) -> Iterator[Change]:
    statuses = {before.status, now.status}
    if statuses != {before.status} and statuses != {"completed", "cached"}:
        yield Change("status", before.status, now.status)
    if before.error != now.error:
        yield Change("error", before.error or _MISSING, now.error or _MISSING)
    if before.inputs and now.inputs:  # a skipped notebook has no record
        yield from _inputs(before, now)
    for name in before.results | now.results:
        values = [_result(side, name) for side in (before, now)]
        if values[0] != values[1]:
            yield Change(f"result {name}", *map(_text, values), _by(*values))


def _inputs(before: Evidence, now: Evidence) -> Iterator[Change]:
    yield from _pairs("parameter ", before.inputs, now.inputs, "parameters")
    for part, words in _INPUTS.items():
        if before.inputs.get(part) != now.inputs.get(part):
            yield Change(words, *_sides(part, before, now))
    yield from _pairs("data ", before.inputs, now.inputs, "data")


def _result(side: Evidence, name: str) -> object:
    """Return a result; for a file, its name and the beginning of its fingerprint."""
    value = side.results.get(name)
    mark = side.made.get(value) if isinstance(value, str) else None
    return f"{Path(str(value)).name} ({mark[:8]})" if mark else value


def _pairs(prefix: str, before: dict, now: dict, part: str) -> Iterator[Change]:
    was, new = before.get(part, {}), now.get(part, {})
    for name in was | new:
        if was.get(name) != new.get(name):
            label = Path(name).name if Path(name).is_absolute() else name
            yield Change(f"{prefix}{label}", *_apart([_mark(s, name, part) for s in (was, new)]))


def _apart(texts: list[str]) -> list[str]:
    """Return two absolute paths from where they part; any other texts as they are."""
    if not all(Path(text).is_absolute() for text in texts):
        return texts
    common = os.path.commonpath([Path(text).parent for text in texts])
    return [f"…/{os.path.relpath(text, common)}" for text in texts]


def _mark(side: dict[str, Any], name: str, part: str) -> str:
    """Return a parameter's value, or the beginning of a file's fingerprint."""
    if name not in side:
        return "as in the notebook" if part == "parameters" else _MISSING
    return str(side[name])[:8] if part == "data" else _text(side[name])


def _sides(part: str, before: Evidence, now: Evidence) -> tuple[str, str]:
    """Return an input of both sides: the packages that differ, or the fingerprints' beginnings."""
    versions = [side.versions for side in (before, now)]
    if part == "packages" and versions[0] != versions[1]:
        names = [n for n in versions[0] | versions[1] if versions[0].get(n) != versions[1].get(n)]
        texts = [", ".join(f"{n} {side.get(n, _MISSING)}" for n in names) for side in versions]
        return texts[0], texts[1]
    was, new = (str(side.inputs.get(part, _MISSING)) for side in (before, now))
    return (was, new) if part == "python" else (was[:8], new[:8])


def _text(value: object, form: str = "") -> str:
    if value is None:
        return _MISSING
    if isinstance(value, float):
        return f"{value:{form or '.6g'}}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _by(before: object, now: object) -> str:
    """Return the difference of two numbers, and in percent of the first."""
    numbers = [value for value in (before, now) if is_number(value)]
    if len(numbers) < 2 or numbers[0] == numbers[1]:
        return ""
    difference = numbers[1] - numbers[0]
    percent = f" ({difference / abs(numbers[0]):+.1%})" if numbers[0] else ""
    is_whole = isinstance(difference, int)
    return f"{difference:{'+,' if is_whole else '+.4g'}}{percent}"
