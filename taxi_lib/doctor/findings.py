"""What a check found: ok, a warning, or a problem that would stop a lesson."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

Findings = Iterator["Finding"]


class Finding(NamedTuple):
    """A status and one sentence; for a warning or a problem it ends with what to do."""

    status: Literal["ok", "warning", "problem"]
    sentence: str


def ok(sentence: str) -> Finding:
    """Return a finding that needs nothing to be done."""
    return Finding("ok", sentence)


def warning(fault: str, remedy: str) -> Finding:
    """Return a finding that no lesson stops at."""
    return Finding("warning", f"{fault}: {remedy}.")


def problem(fault: str, remedy: str) -> Finding:
    """Return a finding that would stop a lesson."""
    return Finding("problem", f"{fault}: {remedy}.")


def listed(things: list[str], most: int = 3) -> str:
    """Return the first of some things, and how many more there are."""
    more = [f"and {len(things) - most} more"] if len(things) > most else []
    return ", ".join([*things[:most], *more])
