"""What each notebook takes and promises, read from its cells tagged ``parameters`` and ``results``.

A line of the first is ``name: type = default  # help [limit]``: the value given is checked before
a kernel starts. A line of the second is ``name: type  # help [limit]``: the result is checked when
the notebook has run. A parameter that ends with ``[from 02_train.rmse]`` is taken from that result:
see :mod:`taxi_lib.runner.references`.
"""

import ast
import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taxi_lib import settings
from taxi_lib.errors import ContractError
from taxi_lib.months import check_different
from taxi_lib.results import Value
from taxi_lib.runner.assignments import Assignment, assignments_in, first_reassignment, parse, reads
from taxi_lib.runner.declarations import Line, parse_parameters, parse_results, quoted
from taxi_lib.runner.fields import Field
from taxi_lib.runner.notebook_file import Cell, headings, order, read_content, tagged

Place = tuple[int, Assignment]  # what code sets, with the number of its cell


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
    computed : tuple of str
        The lines of its parameters cell that are not parameters, because they compute something.
    fixed : dict of str to str
        Names that the parameters cell sets but that cannot be given a value, and why.
    """

    path: Path
    title: str
    parameters: tuple[Field, ...]
    results: tuple[Field, ...] = ()
    computed: tuple[str, ...] = ()
    fixed: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file's name without its ending, such as ``01_duration_prediction_original``."""
        return self.path.stem

    @property
    def terms(self) -> tuple:
        """What a run relies on: names, types, defaults and limits, without the prose."""
        fields = (*self.parameters, *self.results)
        terms = ((f.name, f.type, f.default, f.limit, f.origin) for f in fields)
        return *terms, len(self.parameters), sorted(self.fixed)

    @property
    def gives_files(self) -> bool:
        """Whether it promises a file, and so works in a folder of its own."""
        return any(result.is_path for result in self.results)

    def check(self, values: dict[str, object]) -> dict[str, Value]:
        """Return those of the values that this notebook takes, as their types.

        A value of another type or out of its limit is refused, and so are one that the notebook
        would not use, and two equal months.
        """
        for name in sorted(values.keys() | self.references(values).keys()):
            if name in self.fixed:
                raise ContractError(self.fixed[name])
        checked = {p.name: p.check(values[p.name]) for p in self.parameters if p.name in values}
        check_different(self.months(checked))
        return self._paths() | checked

    def _paths(self) -> dict[str, Value]:
        """Return the default paths in full: the kernel works in another folder."""
        return {
            p.name: p.check(str(self.path.parent / p.default))
            for p in self.parameters
            if p.is_path and isinstance(p.default, str) and not (p.origin or p.name in self.fixed)
        }

    def references(self, values: dict[str, Value]) -> dict[str, str]:
        """Return the references of its secrets by parameter, defaults included."""
        secret = {p.name: values.get(p.name, p.default) for p in self.parameters if p.is_secret}
        return {name: str(where) for name, where in secret.items() if where}

    def check_results(self, results: dict[str, Value]) -> None:
        """Refuse results that are not what the notebook promised, if it promised any."""
        promised = {result.name: result for result in self.results}
        for name in [*promised, *results] if promised else []:
            if name not in results:
                raise ContractError(
                    f"{name} was promised and not reported: report_results({name}=…)."
                )
            if name not in promised:
                raise ContractError(
                    f"{name} was reported and not promised: add it to the results cell."
                )
            promised[name].check(results[name], strict=True)

    def months(self, values: dict[str, object], needed: bool = False) -> dict[str, str]:
        """Return its months by parameter, defaults included.

        With `needed`, those that may be None are left out: the notebook can do without them. Those
        that are taken from another notebook have no default here.
        """
        wanted = [p for p in self.parameters if p.is_month and not (needed and "None" in p.kinds)]
        wanted = [p for p in wanted if p.name in values or not p.origin]
        months = {p.name: values.get(p.name, p.default) for p in wanted}
        return {name: month for name, month in months.items() if month is not None}


def read_contract(path: Path, content: dict[str, Any] | None = None) -> Contract:
    """Read a notebook's contract from its tagged cells, which may have been read already.

    Raises
    ------
    ContractError
        When the file is no Python notebook, or its tagged cells are not well-formed.
    """
    cells_read = (content or read_content(path))["cells"]
    takes, promises = (tagged(cells_read, tag) for tag in ("parameters", "results"))
    for cells, tag in ((takes, "parameters"), (promises, "results")):
        if len(cells) > 1:
            raise ContractError(f"{path.name} has {len(cells)} cells tagged {tag}: keep one.")
    prose = (cell["source"] for cell in cells_read if cell["cell_type"] == "markdown")
    titles = (heading for source in prose for heading in headings(source))  # the first will do
    title = next((text for level, text in titles if level == 1), path.stem)
    results = tuple(parse_results("".join(promises), path.name))
    if not takes:
        return Contract(path, title, (), results)
    before, after = _set_around(cells_read)
    known = {assignment.name for _, assignment in before}
    parameters, others = parse_parameters(takes[0], path.name, known)
    fixed = _fixed(parameters, others, after, path.name)
    computed = tuple(line.text for line in others)
    return Contract(path, title, tuple(parameters), results, computed, fixed)


def _set_around(cells: list[Cell]) -> tuple[list[Place], list[Place]]:
    """Return what is set by the cells before the parameters cell, and by those after it."""
    before, after = [], []
    found = before
    for number, cell in enumerate(cells, start=1):
        if cell["cell_type"] != "code":
            continue
        if "parameters" in cell["metadata"]["tags"]:
            found = after
        elif "skip-execution" not in cell["metadata"]["tags"] and (code := parse(cell["source"])):
            found += [(number, assignment) for assignment in assignments_in(code.body)]
    return before, after


def _fixed(
    parameters: list[Field], others: list[Line], after: list[Place], notebook: str
) -> dict[str, str]:
    """Return why some names that the parameters cell sets cannot be given a value."""
    remedy = "write a plain value there to make it a parameter."
    why = {
        name: f"the parameters cell of {notebook} computes it in {quoted(line.text)}: {remedy}"
        for line in others
        for name in line.sets
    }
    why |= {p.name: _why_unused(p.name, others, after, notebook) for p in parameters}
    begin = "cannot be given a value, because"
    return {name: f"{name} {begin} {reason}" for name, reason in why.items() if reason}


def _why_unused(name: str, others: list[Line], after: list[Place], notebook: str) -> str:
    """Return why a value that is given would have no effect; empty when it has one.

    papermill assigns the values in a new cell, behind the parameters cell.
    """
    if found := first_reassignment(name, after):
        line = quoted(ast.unparse(found[1]).splitlines()[0])
        remedy = "take that line out, or use another name there."
        return f"cell {found[0]} of {notebook} sets it again in {line}: {remedy}"
    why, early = "", {name}  # and the functions that read it when they are called
    cell = f"the parameters cell of {notebook}"
    for line in others:
        if name in line.sets:
            why = f"{cell} sets it again in {quoted(line.text)}: keep one of the two lines."
        elif reads(line.code, early, at_once=True):
            why = f"{cell} uses its default in {quoted(line.text)}: move that line to a cell below."
        elif reads(line.code, early):
            early |= line.sets
    return why


def find_notebooks(wanted: Iterable[str] = (), folder: Path | str | None = None) -> list[Contract]:
    """Return the contracts of some notebooks, in the order of the numbers in their names.

    Parameters
    ----------
    wanted : iterable of str
        Numbers, names or their beginnings, such as ``"1"`` or ``"06_duration"``; none means all.
    folder : pathlib.Path, optional
        A folder of your own, where notebooks need no number; the workbook's when left out.
    """
    pattern = "*.ipynb" if folder else "[0-9]*.ipynb"
    folder = Path(folder or settings.notebooks_dir())
    paths = notebooks_in(folder, pattern)
    if not paths:
        raise ContractError(f"There is no notebook in {folder}: name another folder.")
    chosen = {path for name in wanted for path in _matching(name, paths)} or set(paths)
    return [read_contract(path) for path in paths if path in chosen]


def notebooks_in(folder: Path, pattern: str = "*.ipynb") -> list[Path]:
    """Return the notebooks of a folder, in the order of the numbers in their names."""
    found = (path for path in folder.glob(pattern) if path.name[0] != ".")
    return sorted(found, key=lambda path: order(path.stem))


def check_request(contracts: list[Contract], values: dict[str, object]) -> None:
    """Refuse parameters that no notebook takes, and values that one of them refuses."""
    known = {parameter.name for contract in contracts for parameter in contract.parameters}
    fixed = {name for contract in contracts for name in contract.fixed}
    for name in values:
        if name not in known | fixed:
            raise ContractError(
                f"None of these notebooks takes a parameter {name!r}{did_you_mean(name, known)}"
            )
    for contract in contracts:
        contract.check(values)


def form(contracts: Iterable[Contract]) -> dict[str, object]:
    """Return the parameters of some notebooks as JSON schema, for Prefect's form."""
    fields = {p.name: p for c in contracts for p in c.parameters if p.name not in c.fixed}
    properties = {name: field.schema() for name, field in fields.items()}
    return {"type": "object", "properties": properties, "additionalProperties": True}


def _matching(name: str, paths: list[Path]) -> list[Path]:
    name = name.removesuffix(".ipynb")
    found, shorter = [], name.lstrip("0") or name[:1]
    for begins in (re.escape(name), f"0*{re.escape(shorter)}" if name[:1].isdigit() else "$."):
        # 1 for 01_one as well, but not for 1.5_more
        pattern = re.compile(rf"{begins}(?!\.\d)([\W_]|$)")
        found = found or [path for path in paths if pattern.match(path.stem)]
    if not found:
        names = [path.stem for path in paths]
        raise ContractError(f"There is no notebook {name!r}{did_you_mean(name, names)}")
    return found


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a refusal of a name: the one that is alike, or all that are known."""
    if not known:
        return ": none of them declares one in a code cell tagged parameters."
    close = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {close[0]}?" if close else f": there are {', '.join(sorted(known))}."
