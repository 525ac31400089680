"""The limits that a notebook may write behind a field: ``rows: int = 5  # how many [1 to 100]``.

``LIMITS`` is the only place that knows them: a new limit is one more entry there.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
from annotated_types import Predicate
from pydantic import AfterValidator, BeforeValidator, ValidationInfo, WithJsonSchema

from taxi_lib import settings
from taxi_lib.errors import ContractError
from taxi_lib.months import MONTH, PREVIOUS, check_not_future

_NUMBER = r"[-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
# Brackets behind a number mean a range when they hold numbers with these words and signs, and
# nothing else. `[0, 1]`, `[km]` and `[3]` mean all kinds of things.
_RANGE_WORD = (
    rf"(?:{_NUMBER}|\b(?:to|or|and|more|less|above|below|over|under|at|least|most|between|from|min"
    r"|max|than|greater|fewer|up|inf|infinity)\b|[-∞–—.…<>=≤≥+]|\s)"
)
_RANGE = (
    rf"^(?=.*\d)(?!{_NUMBER}$){_RANGE_WORD}++$|{_NUMBER} (?:to {_NUMBER}|or more|or less)"
    rf"|above {_NUMBER}|^{_NUMBER} (?:to|or)\b"
)
_REFERENCE = r"(env|block):[A-Za-z0-9_.-]+"


@dataclass(frozen=True)
class Limit:
    """One way to limit a value: how it is written, and what it adds to a type of pydantic."""

    form: str  # how it is written, with {} for its arguments
    example: str  # how a message shows it
    types: frozenset[str]  # the types that it limits
    narrow: Callable[..., list[Any]]  # from a type and the arguments: what pydantic is to add
    argument: str = f"({_NUMBER})"  # the regular expression of an argument
    words: str = ""  # what a value has to be, where the limit's own text does not say it
    misspelled: str = r"(?!)"  # the regular expression that finds what can only mean this limit
    in_part: bool = False  # lists of these types, and types beside them, can have the limit too


def _bounds(*names: str) -> Callable[..., list[Any]]:
    def narrow(_: str, *numbers: str) -> list[Any]:
        bounds = [int(n) if re.fullmatch(r"[-+]?[\d_]+", n) else float(n) for n in numbers]
        return [pydantic.Field(**dict(zip(names, bounds, strict=True)))]

    return narrow


def _one_of(kind: str, text: str) -> list[Any]:
    convert = {"int": int, "float": float, "str": str}[kind]
    choices = [convert(part.strip()) for part in text.split(",")]
    return [Predicate(choices.__contains__), pydantic.Field(json_schema_extra={"enum": choices})]


def _month(_: str) -> list[Any]:
    # On a form; a request says which month `previous` is before the notebook is given it.
    schema = {"type": "string", "pattern": f"^({MONTH.pattern}|{PREVIOUS})$"}
    check = AfterValidator(lambda month, info: check_not_future(month, info.context))
    return [check, WithJsonSchema(schema)]


def _inside_workspace(path: Path, info: ValidationInfo) -> Path:
    """Return the path in full, if no ``..`` and no link leads out of the workspace."""
    homes = [settings.workspace(), settings.data_dir(), settings.runs_dir()]
    full = path.resolve()
    if any(full.is_relative_to(home.resolve()) for home in homes):
        return full
    raise ContractError(
        f"{info.context} is {str(path)!r}, which lies outside the workspace ({homes[0]}): "
        "choose a path inside it."
    )


def _reference(value: object, info: ValidationInfo) -> object:
    """Refuse a secret that is given outright, and never repeat it."""
    is_reference = isinstance(value, str) and re.fullmatch(rf"({_REFERENCE})?", value)
    if is_reference or value is None:
        return value
    raise ContractError(
        f"{info.context} is secret: say where it is kept, as env:VARIABLE or block:NAME "
        "(a Secret block of Prefect), not what it is."
    )


def _secret(_: str) -> list[Any]:
    # Prefect keeps what it is given: the pattern makes its server refuse a secret given outright.
    schema = {"type": "string", "pattern": f"^({_REFERENCE})?$"}
    return [BeforeValidator(_reference), WithJsonSchema(schema)]


_NUMBERS, _TEXTS = frozenset({"int", "float"}), frozenset({"str"})
LIMITS = (
    Limit("{} to {}", "1 to 100", _NUMBERS, _bounds("ge", "le"), misspelled=_RANGE, in_part=True),
    Limit("{} or more", "1 or more", _NUMBERS, _bounds("ge"), in_part=True),
    Limit("{} or less", "0 or less", _NUMBERS, _bounds("le"), in_part=True),
    Limit("above {}", "above 0", _NUMBERS, _bounds("gt"), in_part=True),
    Limit(
        "one of {}",
        "one of a, b",
        _NUMBERS | _TEXTS,
        _one_of,
        argument=r"([^,]+(?:,[^,]+)+)",
        misspelled=r"^(one|any) of .+( or |,)",
        in_part=True,
    ),
    Limit(
        "month",
        "month",
        _TEXTS,
        _month,
        words="a month such as 2021-01",
        misspelled=r"^(a )?months?$",
    ),
    Limit(
        "inside the workspace",
        "inside the workspace",
        frozenset({"Path"}),
        lambda _: [AfterValidator(_inside_workspace)],
        misspelled="workspace",
    ),
    Limit("secret", "secret", _TEXTS | {"Any"}, _secret, misspelled="secret"),
)


def read_limit(text: str) -> tuple[Limit, tuple[str, ...]] | None:
    """Return the limit that a text in brackets means, and its arguments; None for other text."""
    for limit in LIMITS:
        pattern = re.escape(limit.form).replace(r"\{\}", limit.argument)
        if match := re.fullmatch(pattern, text, re.IGNORECASE):
            return limit, match.groups()
    return None
