"""What each notebook takes: its one cell tagged ``parameters`` is its contract.

Each line of that cell is ``name: type = default  # help``, and is checked before a kernel starts.
"""

import ast
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from pydantic import TypeAdapter, ValidationError

from taxi_lib import settings
from taxi_lib.errors import ContractError
from taxi_lib.months import check_different, check_month
from taxi_lib.results import Value

_TYPES: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "None": None}


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
        first, *rest = (_TYPES[part.strip()] for part in self.type.split("|"))
        return first | rest[0] if rest else first


@dataclass(frozen=True)
class Contract:
    """What one notebook takes.

    Attributes
    ----------
    path : pathlib.Path
        The notebook.
    title : str
        Its first heading.
    parameters : tuple of Parameter
        In the order of its parameters cell.
    """

    path: Path
    title: str
    parameters: tuple[Parameter, ...]

    @property
    def name(self) -> str:
        """The file's name without its ending, such as ``01_duration_prediction_original``."""
        return self.path.stem

    def check(self, values: dict[str, object]) -> dict[str, Value]:
        """Return those of the values that this notebook takes, as their types.

        Raises
        ------
        ContractError
            When a value is of the wrong type or no month, or two months are the same.
        """
        checked = {p.name: p.check(values[p.name]) for p in self.parameters if p.name in values}
        check_different(self.months(checked))
        return checked

    def months(self, values: dict[str, object], needed: bool = False) -> dict[str, str]:
        """Return the months it works on by parameter, defaults included.

        Parameters
        ----------
        values : dict
            As given to the notebook.
        needed : bool
            Leave out those that may be None: the notebook can do without.
        """
        wanted = [p for p in self.parameters if p.is_month and not (needed and "None" in p.type)]
        months = {p.name: values.get(p.name, p.default) for p in wanted}
        return {name: month for name, month in months.items() if month is not None}


def read_contract(path: Path) -> Contract:
    """Read a notebook's contract from its parameters cell.

    Raises
    ------
    ContractError
        When the file is no notebook, or has not exactly one well-formed parameters cell.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:
        raise ContractError(f"{path.name} is not a notebook ({type(error).__name__}).") from error
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ContractError(
            f"{path.name} has {len(tagged)} cells tagged parameters: give it exactly one."
        )
    headings = (c.source for c in notebook.cells if c.source.startswith("# "))
    title = next(headings, path.stem).splitlines()[0].removeprefix("# ")
    return Contract(path, title, tuple(_parameters(tagged[0].source, path.name)))


def find_notebooks(wanted: Iterable[str] = (), folder: Path | None = None) -> list[Contract]:
    """Return the contracts of the lessons, in order.

    Parameters
    ----------
    wanted : iterable of str
        Names or their beginnings: ``"01"``, ``"06_duration_prediction_prefect"``; none means all.
    folder : pathlib.Path, optional
        Where to look; the workbook's ``notebooks/`` when left out.

    Raises
    ------
    ContractError
        When a name fits no notebook.
    """
    paths = sorted((folder or settings.notebooks_dir()).glob("[0-9]*.ipynb"))
    chosen = {path for name in wanted for path in _matching(name, paths)} or set(paths)
    return [read_contract(path) for path in paths if path in chosen]


def check_request(contracts: list[Contract], values: dict[str, object]) -> None:
    """Refuse parameters that no notebook takes, and values that one of them refuses.

    Raises
    ------
    ContractError
        In one sentence, with the nearest name that is known.
    """
    known = {parameter.name for contract in contracts for parameter in contract.parameters}
    for name in values:
        if name not in known:
            raise ContractError(
                f"No notebook takes a parameter {name!r}{_did_you_mean(name, known)}"
            )
    for contract in contracts:
        contract.check(values)


def _parameters(source: str, notebook: str) -> Iterable[Parameter]:
    lines = source.splitlines()
    for node in ast.parse(source).body:
        try:
            yield _parameter(node, lines[node.end_lineno - 1])
        except (AttributeError, KeyError, ValueError):
            raise ContractError(
                f"The parameters cell of {notebook} has {lines[node.lineno - 1]!r}: "
                "write each line as `name: type = value  # help`, the type of "
                f"{', '.join(_TYPES)}, and the value as a literal."
            ) from None


def _parameter(node: ast.stmt, line: str) -> Parameter:
    kind = ast.unparse(node.annotation)
    for part in kind.split("|"):
        _TYPES[part.strip()]
    help_text = line.encode()[node.end_col_offset :].decode().strip().lstrip("# ")
    return Parameter(node.target.id, kind, ast.literal_eval(node.value), help_text)


def _matching(name: str, paths: list[Path]) -> list[Path]:
    found = [path for path in paths if path.stem == name or path.stem.startswith(f"{name}_")]
    if not found:
        names = [path.stem for path in paths]
        raise ContractError(f"There is no notebook {name!r}{_did_you_mean(name, names)}")
    return found


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {close[0]}?" if close else f": there are {', '.join(sorted(known))}."
