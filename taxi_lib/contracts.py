"""What each notebook takes and promises: its cells tagged ``parameters`` and ``results``.

Each line of the first is ``name: type = default  # help``, and is checked before a kernel starts;
each declaration in the second is ``name: type  # help``, and is checked after the notebook ran.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from taxi_lib import settings
from taxi_lib.errors import ContractError
from taxi_lib.fields import Field, parse_fields
from taxi_lib.months import check_different
from taxi_lib.notebooks import read_notebook, tagged
from taxi_lib.results import Value


@dataclass(frozen=True)
class Contract:
    """What one notebook takes and promises.

    Attributes
    ----------
    path : pathlib.Path
        The notebook.
    title : str
        Its first heading.
    parameters, results : tuple of Field
        In the order of their cells; a notebook without a results cell promises nothing.
    """

    path: Path
    title: str
    parameters: tuple[Field, ...]
    results: tuple[Field, ...] = ()

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
        return self._paths() | checked

    def _paths(self) -> dict[str, Value]:
        """Return the default paths in full: the kernel does not work where the notebook lies."""
        paths = [p for p in self.parameters if "Path" in p.type and isinstance(p.default, str)]
        return {p.name: p.check(str(self.path.parent / p.default)) for p in paths}

    def references(self, values: dict[str, Value]) -> dict[str, str]:
        """Return where the secrets are kept that it takes, by parameter, defaults included."""
        secret = {p.name: values.get(p.name, p.default) for p in self.parameters if p.is_secret}
        return {name: str(where) for name, where in secret.items() if where}

    def check_results(self, results: dict[str, Value]) -> None:
        """Refuse results that are not what the notebook promised.

        Raises
        ------
        ContractError
            When one is missing, was not promised, or is of another type or out of its range.
        """
        promised = {field.name: field for field in self.results}
        for name in promised.keys() - results.keys():
            raise ContractError(f"{name} was promised and not reported: report_results({name}=…).")
        for name in results.keys() - promised.keys() if promised else ():
            raise ContractError(
                f"{name} was reported and not promised: add it to the results cell."
            )
        for name, field in promised.items():
            field.check(results[name], strict=True)

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
        When the file is no notebook, not one for Python, or has not exactly one well-formed
        parameters cell and at most one results cell.
    """
    notebook = read_notebook(path)
    takes, promises = (tagged(notebook, tag) for tag in ("parameters", "results"))
    if len(takes) != 1:
        raise ContractError(
            f"{path.name} has {len(takes)} cells tagged parameters: give it exactly one."
        )
    if len(promises) > 1:
        raise ContractError(f"{path.name} has {len(promises)} cells tagged results: keep one.")
    prose = (c.source for c in notebook.cells if c.cell_type == "markdown")
    headings = (source for source in prose if source.startswith("# "))
    title = next(headings, path.stem).splitlines()[0].removeprefix("# ")
    parameters = tuple(parse_fields(takes[0], path.name))
    results = tuple(parse_fields("".join(promises), path.name, "results"))
    return Contract(path, title, parameters, results)


def find_notebooks(wanted: Iterable[str] = (), folder: Path | str | None = None) -> list[Contract]:
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
    paths = sorted(Path(folder or settings.notebooks_dir()).glob("[0-9]*.ipynb"))
    if not paths:
        raise ContractError(
            f"There is no notebook in {folder} whose name begins with a number: "
            "name them like 01_prepare.ipynb."
        )
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
                f"None of these notebooks takes a parameter {name!r}{_did_you_mean(name, known)}"
            )
    for contract in contracts:
        contract.check(values)


def form(contracts: Iterable[Contract]) -> dict[str, object]:
    """Return the parameters of some notebooks as JSON schema: Prefect draws its form from it."""
    fields = {p.name: p for contract in contracts for p in contract.parameters}
    properties = {name: field.schema() for name, field in fields.items()}
    return {"type": "object", "properties": properties, "additionalProperties": True}


def _matching(name: str, paths: list[Path]) -> list[Path]:
    found = [path for path in paths if re.match(rf"{re.escape(name)}([\W_]|$)", path.stem)]
    if not found:
        names = [path.stem for path in paths]
        raise ContractError(f"There is no notebook {name!r}{_did_you_mean(name, names)}")
    return found


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {close[0]}?" if close else f": there are {', '.join(sorted(known))}."
