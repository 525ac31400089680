"""The types and limits that a field of a contract may have, checked by pydantic."""

import ast
import functools
import json
import operator
import re
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BeforeValidator, JsonValue, TypeAdapter, ValidationInfo, WithJsonSchema

from taxi_lib import settings
from taxi_lib.errors import ContractError


def _date_text(value: object) -> str:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return date.fromisoformat(value).isoformat()  # refuses what is no text, too


def _path_text(value: object) -> str:
    if isinstance(value, str) and ("\0" in value or "://" in value or not value):
        raise ValueError("no path")
    return str(Path(value).expanduser().absolute())


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("true or false is no number")
    return value


def _is_strict(info: ValidationInfo) -> bool:
    return bool((info.config or {}).get("strict"))


def _parsed(value: object, info: ValidationInfo) -> object:
    return json.loads(value) if isinstance(value, str) and not _is_strict(info) else value


def _choice(choices: tuple) -> Any:  # noqa: ANN401 (what typing makes)
    """Return the type of one of some values; a command line can say a number only as a text."""
    by_text = {str(choice): choice for choice in choices}

    def choose(value: object, info: ValidationInfo) -> object:
        is_text = isinstance(value, str) and value not in choices and not _is_strict(info)
        return by_text.get(value, value) if is_text else value

    return Annotated[Literal[choices], BeforeValidator(choose)]


def _text(convert: Callable[[object], str], form: str) -> object:
    schema = WithJsonSchema({"type": "string", "format": form})
    return Annotated[str, BeforeValidator(_wrapped(convert)), schema]


def _wrapped(convert: Callable[[object], str]) -> Callable[[object], str]:
    def convert_or_refuse(value: object) -> str:
        try:
            return convert(value)
        except TypeError as error:
            raise ValueError(str(error)) from error

    return convert_or_refuse


# The values that a notebook gets are those of JSON: a date arrives as "2021-01-15", a path as a
# text, because papermill can write nothing else down as Python.
KINDS: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "None": type(None),
    "date": _text(_date_text, "date"),
    "Path": _text(_path_text, "path"),
    "list": Annotated[list[JsonValue], BeforeValidator(_parsed), WithJsonSchema({"type": "array"})],
    "dict": Annotated[
        dict[str, JsonValue], BeforeValidator(_parsed), WithJsonSchema({"type": "object"})
    ],
    "Any": JsonValue,
}
# Where the names come from that Python does not know by itself.
_HOMES = {"Path": "pathlib", "date": "datetime", "Any": "typing", "Literal": "typing"}
_WRITTEN = {"date": "date such as 2021-01-31", "list": "list, as JSON", "dict": "dict, as JSON"}
_NUMBER = r"-?\d+(?:\.\d+)?"
_LIMITS = {
    rf"({_NUMBER}) to ({_NUMBER})": ("ge", "le"),
    rf"({_NUMBER}) or more": ("ge",),
    rf"({_NUMBER}) or less": ("le",),
    rf"above ({_NUMBER})": ("gt",),
}


def kind_of(annotation: ast.expr) -> str:
    """Return the type that an annotation names, as text; it is read, never run.

    Raises
    ------
    KeyError, ValueError
        When it is no type that a field may have.
    """
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    kind = ast.unparse(annotation)
    _python_type(kind, {})
    return kind


def check_imported(annotation: ast.expr, imported: set[str]) -> None:
    """Refuse an annotation whose names a kernel would not know.

    Raises
    ------
    ContractError
        With the line that is missing.
    """
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    for name in sorted(names & _HOMES.keys() - imported):
        raise ContractError(f"begin the cell with `from {_HOMES[name]} import {name}`.")


def is_limit(limit: str, kind: str) -> bool:
    """Tell whether a limit is one of this type."""
    if limit == "inside the workspace":
        return "Path" in kind
    numbers = any(name in re.split(r"\W+", kind) for name in ("int", "float"))
    return limit == "secret" or (numbers and bool(_bounds(limit)))


@functools.cache
def adapter(name: str, kind: str, limit: str = "", strict: bool = False) -> TypeAdapter:
    """Return what checks the values of a field; see :class:`taxi_lib.fields.Field`."""
    python_type = settings.Source if name == "source" else _python_type(kind, _bounds(limit))
    return TypeAdapter(python_type, config=pydantic.ConfigDict(strict=strict))


def in_words(name: str, kind: str) -> str:
    """Return what a value has to be, for people."""
    if name == "source":
        return "auto, local, tlc or synthetic"
    choices = re.fullmatch(r"Literal\[(.*)\]", kind)
    if not choices:
        return _WRITTEN.get(kind, kind)
    *first, last = (str(choice) for choice in ast.literal_eval(f"[{choices[1]}]"))
    return f"{', '.join(first)} or {last}" if first else last


def inside_workspace(path: str, name: str) -> str:
    """Return a path in full.

    Raises
    ------
    ContractError
        When it leads out of the workspace, its data and its runs, also by ``..`` or a link.
    """
    homes = [settings.workspace(), settings.data_dir(), settings.runs_dir()]
    full = Path(path).resolve()
    if any(full.is_relative_to(home.resolve()) for home in homes):
        return str(full)
    raise ContractError(
        f"{name} is {path!r}, which lies outside the workspace ({homes[0]}): "
        "choose a path inside it."
    )


def _bounds(limit: str) -> dict[str, float]:
    for pattern, names in _LIMITS.items():
        if match := re.fullmatch(pattern, limit):
            return dict(zip(names, map(ast.literal_eval, match.groups()), strict=True))
    return {}


def _python_type(kind: str, bounds: dict[str, float]) -> Any:  # noqa: ANN401 (what typing makes)
    return _resolve(ast.parse(kind, mode="eval").body, bounds)


def _resolve(node: ast.expr, bounds: dict[str, float]) -> Any:  # noqa: ANN401
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return operator.or_(_resolve(left, bounds), _resolve(right, bounds))
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            values = ast.literal_eval(choices)
            return _choice(values if isinstance(values, tuple) else (values,))
        case ast.Name(id="int"):
            return Annotated[int, pydantic.Field(**bounds), BeforeValidator(_number)]
        case ast.Name(id="float"):
            limits = pydantic.Field(**bounds, allow_inf_nan=False)
            return Annotated[float, limits, BeforeValidator(_number)]
        case ast.Name(id=name):
            return KINDS[name]
        case ast.Constant(value=None):
            return KINDS["None"]
    raise ValueError(f"{ast.unparse(node)} is no type of a field")
