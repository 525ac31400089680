"""One parameter of a notebook: read from its cell, and its values checked."""

import ast
import functools
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from taxi_lib import settings
from taxi_lib.errors import ContractError
from taxi_lib.months import check_month
from taxi_lib.results import Value

_TYPES: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "None": type(None)}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook.

    Attributes
    ----------
    name, type, help : str
        As written in the parameters cell; ``help`` is the comment behind the value.
    default : str, int, float, bool or None
        The value when none is given.
    """

    name: str
    type: str
    default: Value
    help: str

    @property
    def is_month(self) -> bool:
        """Whether the value is a month: names that end in ``month`` say so."""
        return self.name.endswith("month")

    def check(self, value: object) -> Value:
        """Return the value as this parameter's type, or refuse it in one sentence."""
        if value == "None" and "None" in self.type:
            return None  # how the command line says it
        try:
            checked = TypeAdapter(self._python_type()).validate_python(value)
        except ValidationError:
            raise ContractError(
                f"{self.name} is {value!r}, expected {self.expected}: {self.help}."
            ) from None
        return check_month(checked, self.name) if self.is_month and checked is not None else checked

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        return "auto, local, tlc or synthetic" if self.name == "source" else self.type

    def _python_type(self) -> object:
        if self.name == "source":
            return settings.Source
        return functools.reduce(operator.or_, (_TYPES[p.strip()] for p in self.type.split("|")))


def parse_parameters(source: str, notebook: str) -> Iterator[Parameter]:
    """Yield the parameters that a cell's source assigns.

    Raises
    ------
    ContractError
        When a line is anything but a typed literal.
    """
    lines, line = source.splitlines(), source
    try:
        for node in ast.parse(source).body:
            line = lines[node.lineno - 1]
            parameter = _parameter(node, lines[node.end_lineno - 1])
            parameter.check(parameter.default)
            yield parameter
    except (AttributeError, KeyError, SyntaxError, ValueError) as error:
        raise ContractError(
            f"The parameters cell of {notebook} has {line!r}: write each line as "
            f"`name: type = value  # help`, the type of {', '.join(_TYPES)}, and a literal of it."
        ) from error


def _parameter(node: ast.stmt, line: str) -> Parameter:
    kind = ast.unparse(node.annotation)
    help_text = line.encode()[node.end_col_offset :].decode().strip().lstrip("# ")
    return Parameter(node.target.id, kind, ast.literal_eval(node.value), help_text)
