"""One field of a notebook's contract: a parameter that it takes, or a result that it promises.

A field is a line of Python: ``name: type = value  # help [limit]``; a result has no value. The
limits are in :mod:`taxi_lib.runner.limits`.
"""

import ast
import builtins
import functools
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, Strict, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from taxi_lib.errors import ContractError
from taxi_lib.results import Value
from taxi_lib.runner.limits import LIMITS, Limit, read_limit

# The words of a name that say that its value is a secret, if they come last or before one of
# the endings: `api_key` and `aws_access_key_id`, but neither `key_column` nor `token_limit`.
_SECRET_WORDS = re.compile(
    r"(^|_)([a-z]*(password|passwd|passphrase|passcode|apikey|authkey|privatekey|secretkey|accesskey"
    r"|accesstoken|authtoken|apitoken)|pwd|pw|secret|secrets|credential|credentials|creds"
    r"|bearer|jwt|auth|userpass"
    r"|(db|user|smtp|mysql|postgres|pg|sql|ftp|admin|root|mail|email|login)_?(pass|password)"
    r"|(api|access|private|secret|signing|encryption|auth|ssh|gpg|rsa|tls|ssl|fernet|hmac|account"
    r"|storage|subscription|license|master|shared|service|deploy|client|consumer|bot|webhook"
    r"|openai|anthropic|azure|aws|gcp|google|github|gitlab|wandb|kaggle|stripe|hf)_keys?"
    # a token, but not one of a language model's vocabulary
    r"|(?<!pad_)(?<!eos_)(?<!bos_)(?<!sep_)(?<!cls_)(?<!unk_)(?<!mask_)(?<!end_)(?<!start_)"
    r"(?<!stop_)(?<!special_)token)"
    r"\d*(_(id|key|value|string|text|header|code|phrase|token|secret|data|json|hash|base64|b64"
    r"|prod|dev|test|staging|\d+))*$"
)
# A password within an address or a connection string.
_HOLDS_PASSWORD = re.compile(
    r"://[^/\s:@]*:[^/\s@]+@|\b(password|pwd|accountkey|sharedaccesskey)=[^;\s&]"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY",
    re.IGNORECASE,
)


def _date(value: object) -> object:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _full_path(value: object) -> object:
    if isinstance(value, str) and (not value or "\0" in value or "://" in value):
        raise ValueError("no path")
    return Path(value).expanduser().absolute() if isinstance(value, str | Path) else value


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("true or false is no number")
    return value


def _finite(value: object) -> object:
    json.dumps(value, allow_nan=False)  # JSON has no NaN and no infinity, at any depth
    return value


# Prefect's form takes no references in JSON schema, which JsonValue would bring.
_JSON = Annotated[pydantic.JsonValue, AfterValidator(_finite), pydantic.WithJsonSchema({})]
TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": pydantic.FiniteFloat,
    "bool": bool,
    "None": None,
    "date": Annotated[date, Strict(), BeforeValidator(_date)],
    "Path": Annotated[Path, BeforeValidator(_full_path)],
    "list": list[_JSON],
    "dict": dict[str, _JSON],
    "Any": _JSON,
}
# Other names of the same types.
_ALIASES = {"List": "list", "Sequence": "list", "Dict": "dict", "Mapping": "dict"}
# How to import what is not built in.
_IMPORTS = {module: f"import {module}" for module in ("typing", "datetime", "pathlib")}
_IMPORTS |= {"Path": "from pathlib import Path", "date": "from datetime import date"} | {
    name: f"from typing import {name}"
    for name in ("Any", "Literal", "Optional", "Union", *_ALIASES)
}


@dataclass(frozen=True)
class Field:
    """One parameter or result.

    Attributes
    ----------
    name, type, help, limit : str
        As written in its cell; ``help`` is the comment behind the value, without the limit.
    default : Value
        The value when none is given; None for a result.
    origin : str
        The result of an earlier notebook that it is taken from, as written: ``02_train.rmse``.
    """

    name: str
    type: str
    default: Value
    help: str
    limit: str = ""
    origin: str = ""

    @property
    def kinds(self) -> frozenset[str]:
        """The types that the value may have: ``str`` and ``None`` for ``str | None``."""
        return members(self.type)

    @property
    def is_month(self) -> bool:
        """Whether the value is a month."""
        return self.limit == "month"

    @property
    def is_path(self) -> bool:
        """Whether the value is a path."""
        return "Path" in self.kinds

    @property
    def is_secret(self) -> bool:
        """Whether the value is a secret: it is given by where it is kept, never outright."""
        return self.limit == "secret"

    @property
    def choices(self) -> tuple[Value, ...]:
        """The values that are allowed, where the type or the limit lists them all."""
        schema = self.schema()
        return tuple(schema.get("enum", [schema["const"]] if "const" in schema else []))

    @property
    def comment(self) -> str:
        """The comment behind the value, as it is in the notebook."""
        origin = f"[from {self.origin}]" if self.origin else ""
        limit = f"[{self.limit}]" if self.limit else ""
        return " ".join(filter(None, (self.help, limit, origin)))

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        if self.choices:
            return _either(map(str, self.choices))
        kind = "date such as 2021-01-31" if self.type == "date" else self.type
        if len(self.kinds) == 1 and kind.startswith(("list", "dict")):
            kind += ", as JSON"
        limit, _ = read_limit(self.limit) or (None, ())
        return f"{kind}, {limit.words or self.limit}" if limit else kind

    def check(self, value: object, strict: bool = False) -> Value:
        """Return the value as this field's type, or refuse it in one sentence.

        Dates in ISO's notation and paths in full are returned as texts: papermill can write
        nothing else as Python.

        Parameters
        ----------
        value : object
            A text from a command line will do, unless `strict`.
        strict : bool
            Convert nothing: the text ``"3"`` is no number.
        """
        if isinstance(value, str) and not self.is_secret and _HOLDS_PASSWORD.search(value):
            raise ContractError(
                f"{self.name} holds a password: end its line with [secret], and say where it is "
                "kept, as env:VARIABLE or block:NAME."
            )
        meant = self._read(value) if isinstance(value, str) and not strict else value
        # Nothing is converted within a list or a dict either: JSON has both numbers and texts.
        strict = strict or isinstance(meant, list | dict)
        adapter = _adapter(self.type, self.limit)
        try:
            checked = adapter.validate_python(meant, strict=strict or None, context=self.name)
        except ValidationError as error:
            causes = (problem.get("ctx", {}).get("error") for problem in error.errors())
            ours = (cause for cause in causes if isinstance(cause, ContractError))
            raise next(ours, self._refused(value)) from None
        return to_jsonable_python(checked)

    def schema(self) -> dict[str, Any]:
        """Return the field as JSON schema: what Prefect draws its form from."""
        # No default: two notebooks may have different ones for the same name.
        taken = f"taken from {self.origin} when left out" if self.origin else ""
        described = ", ".join(filter(None, (self.help, taken)))
        labels = {"title": self.name, "description": described}
        return _adapter(self.type, self.limit).json_schema() | labels

    def takes(self, result: "Field") -> bool:
        """Return whether every value of a result's type is one of this parameter's type.

        Limits and choices are checked when the value is there.
        """
        mine, theirs = (_base_kinds(field.type) for field in (self, result))
        if "Any" in mine or "Any" in theirs:
            return True
        wider = mine | ({"int"} if "float" in mine else set())
        return all(kind in wider or kind.partition("[")[0] in mine for kind in theirs)

    def check_name(self) -> None:
        """Refuse a text whose name sounds like a secret, and that is not marked as one."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.name).casefold()
        could_be = self.kinds & {"str", "Any"} and not self.is_secret
        if could_be and _SECRET_WORDS.search(words):
            raise ContractError(
                f"{self.name} sounds like a secret: end its line with [secret], "
                "or give it another name."
            )

    def _read(self, text: str) -> Value:
        """Return what a text on a command line means where pydantic would not see it."""
        if text == "None" and self.kinds & {"None", "Any"}:
            return None
        if not self.kinds & {"str", "Any"}:
            with suppress(ValueError):
                if any(kind.startswith(("list", "dict")) for kind in self.kinds):
                    return json.loads(text)
        return next((choice for choice in self.choices if str(choice) == text), text)

    def _refused(self, value: object) -> ContractError:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}…"
        help_text = f": {self.help}" if self.help else ""
        return ContractError(f"{self.name} is {shown}, expected {self.expected}{help_text}.")


def read_type(annotation: ast.expr) -> str:
    """Return the type that an annotation names, in one spelling; raise if no field can have it.

    The annotation is parsed, never run.
    """
    kind = _plain(annotation)
    _adapter(kind)
    return kind


def check_imported(annotation: ast.expr, known: set[str]) -> None:
    """Refuse an annotation whose names a kernel would not know, and say what to import."""
    if known & {"*", "annotations"}:  # `import *` may bring any name; or Python ignores the types
        return
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    for name in sorted(names - known - vars(builtins).keys()):
        if name in _IMPORTS:
            raise ContractError(f"begin the cell with `{_IMPORTS[name]}`.")
        raise ContractError(
            f"the type {name} is not known there: import it first, or write one of "
            f"{', '.join(TYPES)} or Literal[…]."
        )


@functools.cache
def members(kind: str) -> frozenset[str]:
    """Return the types that a type allows: ``str`` and ``None`` for ``str | None``."""

    def parts(node: ast.expr) -> list[str]:
        if isinstance(node, ast.BinOp):
            return parts(node.left) + parts(node.right)
        return [ast.unparse(node)]

    return frozenset(parts(ast.parse(kind, mode="eval").body))


def _base_kinds(kind: str) -> frozenset[str]:
    """Return the types that a type allows, with those of its choices in place of a ``Literal``."""
    found: set[str] = set()
    for part in members(kind):
        literal = part.startswith("Literal[")
        choices = ast.literal_eval(part[len("Literal") :]) if literal else ()
        found |= {type(choice).__name__ for choice in choices} if literal else {part}
    return frozenset("None" if name == "NoneType" else name for name in found)


def find_limit(text: str, kind: str) -> str:
    """Return the limit that a text in brackets sets to values of a type; empty for other text.

    A limit of other types and a misspelled one are refused.
    """
    limit, arguments = read_limit(text) or (None, ())
    if limit and _fits(limit, kind):
        usual = limit.form.format(*arguments)
        with suppress(ValueError):  # [one of a, b] of a number
            _adapter(kind, usual)
            return usual
    alike = (other for other in LIMITS if re.search(other.misspelled, text, re.IGNORECASE))
    if limit or any(_fits(other, kind) for other in alike):
        known = _either(f"[{limit.example}]" for limit in LIMITS)
        raise ContractError(
            f"[{text}] is not a limit for {kind}: write it like {known}, or without brackets."
        )
    return ""


def _either(texts: Iterable[str]) -> str:
    *first, last = texts
    return f"{', '.join(first)} or {last}" if first else last


def _fits(limit: Limit, kind: str) -> bool:
    if limit.in_part:
        names = ast.walk(ast.parse(kind))
        return any(isinstance(name, ast.Name) and name.id in limit.types for name in names)
    return bool(members(kind) - {"None"}) and members(kind) - {"None"} <= limit.types


def _plain(node: ast.expr) -> str:
    """Return a type in one spelling: ``list[str] | None`` for ``typing.Optional[List[str]]``."""
    match node:
        case ast.Constant(value=str(text)):
            return _plain(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(), attr=name):
            return _ALIASES.get(name, name)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return f"{_plain(left)} | {_plain(right)}"
        case ast.Subscript(value=value, slice=inner):
            outer = _plain(value)
            if outer == "Literal":
                return ast.unparse(ast.Subscript(ast.Name(outer), inner))
            parts = [_plain(p) for p in (inner.elts if isinstance(inner, ast.Tuple) else [inner])]
            if outer in ("Optional", "Union"):
                return " | ".join([*parts, "None"] if outer == "Optional" else parts)
            return f"{outer}[{', '.join(parts)}]"
    return ast.unparse(node)


@functools.cache
def _adapter(kind: str, limit: str = "") -> TypeAdapter:
    """Return what checks the values of a type with a limit."""
    return TypeAdapter(_python_type(ast.parse(kind, mode="eval").body, limit))


def _python_type(node: ast.expr, limit: str) -> Any:  # noqa: ANN401 (a type)
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _python_type(left, limit) | _python_type(right, limit)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            return Literal[ast.literal_eval(choices)]
        case ast.Subscript() if "Path" in ast.unparse(node):
            raise ValueError("a path within a list would not be looked after")
        case ast.Subscript(value=ast.Name(id="list"), slice=part):
            return list[_python_type(part, limit)]
        case ast.Subscript(
            value=ast.Name(id="dict"), slice=ast.Tuple(elts=[ast.Name(id="str"), part])
        ):  # JSON has no other keys
            return dict[str, _python_type(part, limit)]
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name):
            found, arguments = read_limit(limit) or (None, ())
            added = found.narrow(name, *arguments) if found and name in found.types else []
            if name in ("int", "float"):
                added = [*added, BeforeValidator(_no_bool)]
            return Annotated[TYPES[name], *added] if added else TYPES[name]
    raise ValueError(f"{ast.unparse(node)} is no type of a field")
