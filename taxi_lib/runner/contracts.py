"""What each notebook takes and promises: its cells tagged ``parameters`` and ``results``.

Each line of the first is ``name: type = default  # help``, and is checked before a kernel starts;
each declaration in the second is ``name: type  # help``, and is checked after the notebook ran.
A notebook without the first takes nothing.
"""

import ast
import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nbformat import NotebookNode

from taxi_lib import settings
from taxi_lib.errors import ContractError
from taxi_lib.months import check_different
from taxi_lib.results import Value
from taxi_lib.runner.assignments import Setting, parse, reads, set_again, settings_in
from taxi_lib.runner.declarations import Line, parse_parameters, parse_results, short
from taxi_lib.runner.fields import Field
from taxi_lib.runner.notebook_file import headings, order, read_notebook, tagged


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
        The lines of its parameters cell that are no parameters, since they compute something.
    fixed : dict of str to str
        Why a name can be given no value, although the parameters cell sets it.
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
        """What a run relies on: names, types, defaults and limits, but no prose."""
        fields = ((f.name, f.type, f.default, f.limit) for f in (*self.parameters, *self.results))
        return *fields, len(self.parameters), sorted(self.fixed)

    def check(self, values: dict[str, object]) -> dict[str, Value]:
        """Return those of the values that this notebook takes, as their types.

        Raises
        ------
        ContractError
            When a value is of the wrong type or out of its limit, when the notebook would not use
            it, or when two months are the same.
        """
        for name in sorted(values.keys() | self.references(values).keys()):
            if name in self.fixed:
                raise ContractError(self.fixed[name])
        checked = {p.name: p.check(values[p.name]) for p in self.parameters if p.name in values}
        check_different(self.months(checked))
        return self._paths() | checked

    def _paths(self) -> dict[str, Value]:
        """Return the default paths in full: the kernel does not work where the notebook lies."""
        paths = [p for p in self.parameters if p.is_path and isinstance(p.default, str)]
        paths = [p for p in paths if p.name not in self.fixed]
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
        for result in self.results:
            if result.name not in results:
                raise ContractError(
                    f"{result.name} was promised and not reported: report_results({result.name}=…)."
                )
            result.check(results[result.name], strict=True)
        promised = [result.name for result in self.results]
        unknown = [name for name in results if promised and name not in promised]
        if unknown:
            raise ContractError(
                f"{unknown[0]} was reported and not promised: add it to the results cell."
            )

    def months(self, values: dict[str, object], needed: bool = False) -> dict[str, str]:
        """Return the months it works on by parameter, defaults included.

        Parameters
        ----------
        values : dict
            As given to the notebook.
        needed : bool
            Leave out those that may be None: the notebook can do without.
        """
        wanted = [p for p in self.parameters if p.is_month and not (needed and "None" in p.kinds)]
        months = {p.name: values.get(p.name, p.default) for p in wanted}
        return {name: month for name, month in months.items() if month is not None}


def read_contract(path: Path) -> Contract:
    """Read a notebook's contract from its tagged cells.

    Raises
    ------
    ContractError
        When the file is no notebook, not one for Python, or has more than one parameters cell or
        results cell, or one that is not well-formed.
    """
    notebook = read_notebook(path)
    takes, promises = (tagged(notebook, tag) for tag in ("parameters", "results"))
    for cells, tag in ((takes, "parameters"), (promises, "results")):
        if len(cells) > 1:
            raise ContractError(f"{path.name} has {len(cells)} cells tagged {tag}: keep one.")
    prose = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    titles = (heading for source in prose for heading in headings(source))  # the first will do
    title = next((text for level, text in titles if level == 1), path.stem)
    results = tuple(parse_results("".join(promises), path.name))
    if not takes:
        return Contract(path, title, (), results)
    before, after = _code_around(notebook)
    later = [(number, made) for number, code in after.items() for made in settings_in(code.body)]
    known = {setting.name for code in before for setting in settings_in(code.body)}
    parameters, lines = parse_parameters(takes[0], path.name, known)
    fixed = {}
    for p in parameters:
        fixed |= _unused(p.name, lines, later, path.name)
    computed = {setting.name: line for line in lines for setting in settings_in([line.code])}
    for name in computed.keys() - {p.name for p in parameters}:
        fixed[name] = (
            f"{name} cannot be given a value, because the parameters cell of {path.name} computes "
            f"it in {short(computed[name].text)}: write a plain value there to make it a parameter."
        )
    others = tuple(line.text for line in lines)
    return Contract(path, title, tuple(parameters), results, others, fixed)


def _code_around(notebook: NotebookNode) -> tuple[list[ast.Module], dict[int, ast.Module]]:
    """Return the code of the cells before the parameters cell, and after it by their numbers."""
    before, after, found = [], {}, False
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "code" or "skip-execution" in cell.metadata.tags:
            continue
        code = parse(cell.source)
        if "parameters" in cell.metadata.tags:
            found = True
        elif code and found:
            after[number] = code
        elif code:
            before.append(code)
    return before, after


def _unused(
    name: str, lines: list[Line], later: list[tuple[int, Setting]], notebook: str
) -> dict[str, str]:
    """Return why a notebook would not use the value that a parameter is given, if it would not.

    papermill assigns the values in a cell of their own, behind the parameters cell.
    """
    cell, why = f"the parameters cell of {notebook}", ""
    early = {name}  # and the functions that read it when they are called
    for line in lines:
        sets = {setting.name for setting in settings_in([line.code])}
        if name in sets:
            why = f"{cell} sets it again in {short(line.text)}: keep one of the two lines."
        elif reads(line.code, early, at_once=True):
            why = f"{cell} uses its default in {short(line.text)}: move that line to a cell below."
        elif reads(line.code, early):
            early |= sets
    if found := set_again(name, later):
        number, place = found
        line = short(ast.unparse(place).splitlines()[0])
        why = (
            f"cell {number} of {notebook} sets it again in {line}: take that line out, "
            "or use another name there."
        )
    return {name: f"{name} cannot be given a value, because {why}"} if why else {}


def find_notebooks(wanted: Iterable[str] = (), folder: Path | str | None = None) -> list[Contract]:
    """Return the contracts of some notebooks, in the order of the numbers in their names.

    Parameters
    ----------
    wanted : iterable of str
        Numbers, names or their beginnings: ``"01"``, ``"1"``, ``"06_duration_prediction_prefect"``;
        none means all.
    folder : pathlib.Path, optional
        Where to look; the workbook's ``notebooks/`` when left out. In a folder of your own every
        notebook counts, and those without a number come last.

    Raises
    ------
    ContractError
        When a name fits no notebook, or one of them cannot be run.
    """
    pattern = "*.ipynb" if folder else "[0-9]*.ipynb"
    folder = Path(folder or settings.notebooks_dir())
    found = folder.glob(pattern)
    paths = sorted((p for p in found if p.name[0] != "."), key=lambda path: order(path.stem))
    if not paths:
        raise ContractError(f"There is no notebook in {folder}: name another folder.")
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
    fixed = {name for contract in contracts for name in contract.fixed}
    for name in values:
        if name not in known | fixed:
            raise ContractError(
                f"None of these notebooks takes a parameter {name!r}{_did_you_mean(name, known)}"
            )
    for contract in contracts:
        contract.check(values)


def form(contracts: Iterable[Contract]) -> dict[str, object]:
    """Return the parameters of some notebooks as JSON schema: Prefect draws its form from it."""
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
        raise ContractError(f"There is no notebook {name!r}{_did_you_mean(name, names)}")
    return found


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    if not known:
        return ": no code cell of theirs that is tagged parameters declares one."
    close = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {close[0]}?" if close else f": there are {', '.join(sorted(known))}."
