"""One field of a notebook's contract: a parameter that it takes, or a result that it promises.

A field is a line of Python: ``name: type = value  # help [limit]``; a result has no value.
The limit is a range (``[1 to 100]``, ``[1 or more]``, ``[above 0]``), ``[inside the workspace]``
for a path, or ``[secret]``.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from taxi_lib.errors import ContractError
from taxi_lib.kinds import (
    KINDS,
    adapter,
    check_imported,
    in_words,
    inside_workspace,
    is_limit,
    kind_of,
)
from taxi_lib.months import MONTH, check_begun
from taxi_lib.results import Value

# Lines that a parameters cell may begin with, for the types of its fields.
_TYPING = {"__future__", "datetime", "pathlib", "typing"}
_SOUNDS_SECRET = re.compile(
    r"(^|_)(password|passwd|secret|token|api_?key|credentials?)(_|$)", re.IGNORECASE
)
_REFERENCE = re.compile(r"(env|block):[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Field:
    """One parameter or result.

    Attributes
    ----------
    name, type, help : str
        As written in its cell; ``help`` is the comment behind the value, without the limit.
    default : str, int, float, bool, list, dict or None
        The value when none is given; None for a result.
    limit : str
        What stands in brackets at the end of the comment, such as ``1 to 100``; often empty.
    """

    name: str
    type: str
    default: Value
    help: str
    limit: str = ""

    @property
    def is_month(self) -> bool:
        """Whether the value is a month: a text whose name ends in ``month``."""
        is_text = re.search(r"\b(str|Any)\b|Literal\['", self.type)
        return self.name.endswith("month") and bool(is_text)

    @property
    def is_secret(self) -> bool:
        """Whether the value is a secret: it is told by where it is kept, never by itself."""
        return self.limit == "secret"

    @property
    def told(self) -> str:
        """The comment behind the value, as it stands in the notebook."""
        return f"{self.help} [{self.limit}]" if self.limit else self.help

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        return in_words(self.name, self.type) + (f", {self.limit}" if self.limit else "")

    def check(self, value: object, strict: bool = False) -> Value:
        """Return the value as this field's type, or refuse it in one sentence.

        Parameters
        ----------
        value : object
            A text from a command line will do, unless `strict`.
        strict : bool
            Take nothing for something else: the text ``"3"`` is no number.

        Returns
        -------
        str, int, float, bool, list, dict or None
            Dates in ISO's notation and paths in full, as texts.

        Raises
        ------
        ContractError
            With the field, the value and what was expected.
        """
        if value == "None" and ("None" in self.type or self.type == "Any") and not strict:
            return None  # how the command line says it
        if self.is_secret and value not in ("", None):
            return self._check_reference(value)
        try:
            checked = adapter(self.name, self.type, self.limit, strict).validate_python(value)
        except (ValidationError, ValueError):
            raise self._refused(value) from None
        if self.is_month and checked is not None:
            check_begun(checked, self.name)
        if self.limit == "inside the workspace" and checked is not None:
            return inside_workspace(checked, self.name)
        return checked

    def schema(self) -> dict[str, Any]:
        """Return the field as JSON schema: what Prefect draws its form from."""
        schema = adapter(self.name, self.type, self.limit).json_schema()
        if self.is_month:
            schema |= {"pattern": f"^{MONTH.pattern}$"}  # holds for texts, not for None
        if self.is_secret:
            # Prefect keeps what it is given: its server refuses a secret that is told outright.
            schema |= {"pattern": f"^({_REFERENCE.pattern})?$"}
        # No default: two notebooks may have different ones for the same name.
        return schema | {"title": self.name, "description": self.help}

    def _refused(self, value: object) -> ContractError:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}…"
        help_text = f": {self.help}" if self.help else ""
        return ContractError(f"{self.name} is {shown}, expected {self.expected}{help_text}.")

    def _check_reference(self, value: object) -> str:
        if isinstance(value, str) and _REFERENCE.fullmatch(value):
            return value
        raise ContractError(
            f"{self.name} is secret: say where it is kept, as env:VARIABLE or block:NAME "
            "(a Secret block of Prefect), not what it is."
        )


def parse_fields(source: str, notebook: str, cell: str = "parameters") -> Iterator[Field]:
    """Yield the fields that a cell declares.

    Parameters
    ----------
    source : str
        The cell's source.
    notebook : str
        Its notebook, for the message.
    cell : {"parameters", "results"}
        What the cell is tagged. Parameters have values and nothing else stands in their cell;
        results have none, and the code that reports them may follow.

    Raises
    ------
    ContractError
        When a line is anything but a field.
    """
    lines, line, imported = source.splitlines(), source, set()
    try:
        for node in ast.parse(source).body:
            line = lines[node.lineno - 1]
            if cell == "results" and not isinstance(node, ast.AnnAssign):
                continue
            if isinstance(node, ast.ImportFrom) and node.module in _TYPING:
                imported |= {name.name for name in node.names}
                continue
            field = _field(node, lines[node.end_lineno - 1])
            if cell == "parameters":
                if isinstance(node, ast.AnnAssign) and "annotations" not in imported:
                    check_imported(node.annotation, imported)
                field.check(field.default)
            yield field
    except ContractError as error:  # the line is written well, and yet no field
        raise ContractError(f"The {cell} cell of {notebook} has {line!r}: {error}") from error
    except (AttributeError, KeyError, SyntaxError, TypeError, ValueError) as error:
        example = "name: type = value  # help" if cell == "parameters" else "name: type  # help"
        raise ContractError(
            f"The {cell} cell of {notebook} has {line!r}: write each line as `{example}`, "
            f"the type of {', '.join(KINDS)} or Literal[…], and a value of it."
        ) from error


def _field(node: ast.stmt, line: str) -> Field:
    help_text = line.encode()[node.end_col_offset :].decode().strip().lstrip("# ")
    limit = re.search(r"\s*\[([^\[\]]+)\]$", help_text)
    if limit:
        help_text = help_text[: limit.start()]
    if isinstance(node, ast.Assign):  # without a type: that of its value
        (target,) = node.targets
        default = ast.literal_eval(node.value)
        kind = "Any" if default is None else type(default).__name__
    else:
        target, kind = node.target, kind_of(node.annotation)
        default = ast.literal_eval(node.value) if node.value else None
    field = Field(target.id, kind, default, help_text, limit[1] if limit else "")
    if field.limit and not is_limit(field.limit, kind):
        raise ContractError(
            f"[{field.limit}] is no limit of {kind}: write [1 to 100], or leave it."
        )
    if _SOUNDS_SECRET.search(field.name) and not field.is_secret:
        raise ContractError(f"{field.name} sounds like a secret: end its line with [secret].")
    return field
