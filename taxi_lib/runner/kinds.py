"""The types and limits that a field of a contract may have, checked by pydantic."""

import ast
import builtins
import copy
import functools
import json
import operator
import re
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import (
    AfterValidator,
    BeforeValidator,
    JsonValue,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
)

from taxi_lib import months, settings
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


def _no_text(value: object) -> object:
    if isinstance(value, str):
        raise ValueError("a text within a list is no list")
    return value


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


def _finite(value: object) -> object:
    json.dumps(value, allow_nan=False)  # JSON has no NaN and no infinity, however deep they lie
    return value


_Json = Annotated[JsonValue, AfterValidator(_finite)]
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
    "list": Annotated[list[_Json], BeforeValidator(_parsed), WithJsonSchema({"type": "array"})],
    "dict": Annotated[
        dict[str, _Json], BeforeValidator(_parsed), WithJsonSchema({"type": "object"})
    ],
    "Any": _Json,
}
# Other names of the same types.
_ALIASES = {"List": "list", "Sequence": "list", "Dict": "dict", "Mapping": "dict"}
# Where the names come from that Python does not know by itself.
_HOMES = {"Path": "pathlib", "date": "datetime"} | dict.fromkeys(
    ("Any", "Literal", "Optional", "Union", *_ALIASES), "typing"
)
_MODULES = {"typing", "datetime", "pathlib"}
_WRITTEN = {"date": "date such as 2021-01-31", "list": "list, as JSON", "dict": "dict, as JSON"}
_NUMBER = r"([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_LIMITS = {
    rf"{_NUMBER} to {_NUMBER}": ("ge", "le"),
    rf"{_NUMBER} or more": ("ge",),
    rf"{_NUMBER} or less": ("le",),
    rf"above {_NUMBER}": ("gt",),
}
# What stands in brackets and means a range, but is not written as one of them: numbers with
# these words and signs, and nothing else. `[0, 1]`, `[km]` and `[3]` mean all kinds of things.
_RANGE_WORDS = re.compile(
    rf"{_NUMBER}|\b(?:to|or|and|more|less|above|below|over|under|at|least|most|between|from|min|max"
    r"|than|greater|fewer|up|inf|infinity)\b|[-∞–—.…<>=≤≥+]"
)


class _Plain(ast.NodeTransformer):
    """Write a type in one way: ``typing.Optional[List[str]]`` as ``list[str] | None``."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name):
            return self.visit(ast.Name(node.attr, ast.Load()))
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Name(_ALIASES.get(node.id, node.id), ast.Load())

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, str):
            return self.visit(ast.parse(node.value, mode="eval").body)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        outer = self.visit(node.value)
        name = outer.id if isinstance(outer, ast.Name) else ""
        if name == "Literal":
            return ast.Subscript(outer, node.slice, ast.Load())
        inner = self.visit(node.slice)
        parts = list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]
        if name == "Optional":
            parts.append(ast.Constant(None))
        if name in ("Optional", "Union"):
            return functools.reduce(lambda a, b: ast.BinOp(a, ast.BitOr(), b), parts)
        return ast.Subscript(outer, inner, ast.Load())


def kind_of(annotation: ast.expr) -> str:
    """Return the type that an annotation names, as text; it is read, never run.

    Raises
    ------
    KeyError, SyntaxError, TypeError, ValueError
        When it is no type that a field may have.
    """
    plain = _Plain().visit(copy.deepcopy(annotation))
    kind = ast.unparse(ast.fix_missing_locations(plain))
    _python_type(kind, {})
    return kind


@functools.cache
def members(kind: str) -> frozenset[str]:
    """Return the types that a type allows: ``str`` and ``None`` for ``str | None``."""

    def parts(node: ast.expr) -> list[str]:
        if isinstance(node, ast.BinOp):
            return parts(node.left) + parts(node.right)
        return [ast.unparse(node)]

    return frozenset(parts(ast.parse(kind, mode="eval").body))


def check_imported(annotation: ast.expr, known: set[str]) -> None:
    """Refuse an annotation whose names a kernel would not know.

    Raises
    ------
    ContractError
        With the line that is missing.
    """
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    unknown = names - known - vars(builtins).keys()
    for name in sorted(unknown) if "*" not in known else ():
        if name in _HOMES:
            raise ContractError(f"begin the cell with `from {_HOMES[name]} import {name}`.")
        if name in _MODULES:
            raise ContractError(f"begin the cell with `import {name}`.")
        raise ContractError(
            f"the type {name} is not known there: import it first, or write one of "
            f"{', '.join(KINDS)} or Literal[…]."
        )


def is_limit(limit: str, kind: str) -> bool:
    """Tell whether a limit is one of this type."""
    if limit == "inside the workspace":
        return "Path" in members(kind)
    return limit == "secret" or (_is_number(kind) and bool(_bounds(limit)))


def looks_like_limit(text: str, kind: str) -> bool:
    """Tell whether a text in brackets means a limit: of another type, or not written as one."""
    if "secret" in text or _bounds(text) or text == "inside the workspace":
        return True
    if "workspace" in text:
        return "Path" in members(kind)
    if not _is_number(kind) or not re.search(r"\d", text) or re.fullmatch(_NUMBER, text):
        return False
    with_more = any(re.search(pattern, text) for pattern in _LIMITS)  # [1 to 5 km]
    begun = re.match(rf"{_NUMBER} (to|or)\b", text)  # [1 to n]
    return with_more or bool(begun) or not _RANGE_WORDS.sub("", text).strip()


def _is_number(kind: str) -> bool:
    return any(name in re.split(r"\W+", kind) for name in ("int", "float"))


@functools.cache
def adapter(name: str, kind: str, limit: str = "", strict: bool = False) -> TypeAdapter:
    """Return what checks the values of a field; see :class:`taxi_lib.runner.fields.Field`."""
    python_type = months.Source if name == "source" else _python_type(kind, _bounds(limit))
    return TypeAdapter(python_type, config=pydantic.ConfigDict(strict=strict))


def in_words(name: str, kind: str) -> str:
    """Return what a value has to be, for people."""
    if name == "source":
        return "auto, local, tlc or synthetic"
    choices = re.fullmatch(r"Literal\[(.*)\]", kind) if len(members(kind)) == 1 else None
    if not choices:
        as_json = len(members(kind)) == 1 and kind.startswith(("list[", "dict["))
        return f"{kind}, as JSON" if as_json else _WRITTEN.get(kind, kind)
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
            return dict(zip(names, map(_as_number, match.groups()), strict=True))
    return {}


def _as_number(text: str) -> float:
    return int(text) if re.fullmatch(r"[-+]?[\d_]+", text) else float(text)


def _python_type(kind: str, bounds: dict[str, float]) -> Any:  # noqa: ANN401 (what typing makes)
    return _resolve(ast.parse(kind, mode="eval").body, bounds)


def _resolve(node: ast.expr, bounds: dict[str, float]) -> Any:  # noqa: ANN401
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return operator.or_(_resolve(left, bounds), _resolve(right, bounds))
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            values = ast.literal_eval(choices)
            return _choice(values if isinstance(values, tuple) else (values,))
        case ast.Subscript(value=ast.Name(id="list"), slice=part):
            return Annotated[list[_element(part, bounds)], BeforeValidator(_parsed)]
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[key, part])):
            if ast.unparse(key) == "str":  # JSON has no other keys
                return Annotated[dict[str, _element(part, bounds)], BeforeValidator(_parsed)]
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


def _element(node: ast.expr, bounds: dict[str, float]) -> Any:  # noqa: ANN401
    """Return the type of what a list or a dict holds: there a text is no number."""
    kind = ast.unparse(node)
    if "Path" in kind:
        raise ValueError("a path within a list would not be looked after")
    inner = _resolve(node, bounds)
    if kind.startswith(("list", "dict")):
        return Annotated[inner, BeforeValidator(_no_text)]
    return Annotated[inner, pydantic.Strict()] if kind in ("str", "int", "float", "bool") else inner
