"""Results handed on: a parameter that ends with ``[from 02_train.rmse]`` takes that result.

The notebook is named by its file, without the ending, and bears a smaller number: so the reading
order is a running order, and no circle can be written. ``[from 02_train]`` takes the result of the
parameter's own name. All of it is checked before a kernel starts.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from taxi_lib.errors import ContractError
from taxi_lib.runner.contracts import Contract, did_you_mean, notebooks_in, read_contract
from taxi_lib.runner.fields import Field
from taxi_lib.runner.notebook_file import order


@dataclass(frozen=True)
class Reference:
    """A result of a notebook, as a parameter of a later one takes it."""

    notebook: str
    result: str

    def __str__(self) -> str:
        return f"{self.notebook}.{self.result}"


@dataclass(frozen=True)
class Linked:
    """A notebook, and what it takes from earlier ones, by parameter."""

    contract: Contract
    takes: dict[str, Reference]


def link(chosen: Iterable[Contract], given: Collection[str] = ()) -> list[Linked]:
    """Return some notebooks and those that they take from, in the order of their numbers.

    Parameters
    ----------
    chosen : iterable of Contract
        Notebooks of one folder.
    given : collection of str
        The parameters that are given a value: they are not taken from anywhere.

    Raises
    ------
    ContractError
        When a reference names no notebook, a later one, a result that is not promised, or one of
        another type.
    """
    contracts = {contract.path: contract for contract in chosen}
    waiting, linked = list(contracts), []
    while waiting:
        contract, takes = contracts[waiting.pop()], {}
        for field in contract.parameters:
            if not field.origin or field.name in given:
                continue
            path, result = _source(contract, field)
            if path not in contracts:
                contracts[path] = read_contract(path)
                waiting.append(path)
            takes[field.name] = _checked(contract, field, contracts[path], result)
        linked.append(Linked(contract, takes))
    return sorted(linked, key=lambda each: order(each.contract.name))


def behind(linked: Iterable[Linked], names: Collection[str]) -> list[str]:
    """Return some notebooks and all that take from them, in the order of their numbers."""
    found = set(names)
    for each in linked:
        if any(reference.notebook in found for reference in each.takes.values()):
            found.add(each.contract.name)
    return [each.contract.name for each in linked if each.contract.name in found]


def drawing(linked: Iterable[Linked]) -> str:
    """Return who takes what from whom: a line for each notebook, and the same for Mermaid."""
    lines, nodes, edges, ids = [], [], [], {}
    for each in linked:
        name, taken = each.contract.name, _by_source(each)
        ids[name] = f"n{len(ids) + 1}"
        words = "; ".join(f"{results} from {source}" for source, results in taken.items())
        lines.append(f"{name}: {words or 'takes nothing'}")
        nodes.append(f'    {ids[name]}["{name}"]')
        edges += [f'    {ids[s]} -- "{results}" --> {ids[name]}' for s, results in taken.items()]
    return "\n".join([*lines, "", "```mermaid", "flowchart LR", *nodes, *edges, "```"])


def _by_source(linked: Linked) -> dict[str, str]:
    """Return what a notebook takes, by the notebook that gives it, in words."""
    taken: dict[str, list[str]] = {}
    for name, reference in linked.takes.items():
        renamed = "" if reference.result == name else f" as {name}"
        taken.setdefault(reference.notebook, []).append(f"{reference.result}{renamed}")
    return {source: ", ".join(results) for source, results in taken.items()}


def _source(contract: Contract, field: Field) -> tuple[Path, str]:
    """Return the notebook that a parameter is taken from, and the name of the result."""
    if field.name in contract.fixed:
        raise ContractError(contract.fixed[field.name])
    siblings = {path.stem: path for path in notebooks_in(contract.path.parent)}
    name, result = field.origin.removesuffix(".ipynb"), field.name
    if name not in siblings:  # whose names may have dots in them
        name, _, result = field.origin.rpartition(".")
    if name not in siblings:
        name = name or field.origin
        begun = [f": did you mean {stem}?" for stem in siblings if stem.startswith(name)]
        known = begun[0] if begun else did_you_mean(name, siblings)
        raise _refused(contract, field, f"there is no notebook {name!r}{known}")
    if _rank(name) >= _rank(contract.name) or not name[0].isdecimal():
        what = "is that notebook itself" if name == contract.name else "does not come before it"
        remedy = "take it from one with a smaller number, or rename one of them."
        raise _refused(contract, field, f"{name} {what}: {remedy}")
    return siblings[name], result


def _rank(name: str) -> tuple:
    return order(name)[:2]  # its numbers, and that it has some


def _checked(contract: Contract, field: Field, source: Contract, result: str) -> Reference:
    """Return a reference, or refuse it if the result is not promised or of another type."""
    promised = {field.name: field for field in source.results}
    if not promised:
        remedy = "declare its results in a cell tagged results."
        raise _refused(contract, field, f"{source.name} promises no result: {remedy}")
    if result not in promised:
        known = did_you_mean(result, promised)
        raise _refused(contract, field, f"{source.name} promises no result {result!r}{known}")
    if not field.takes(promised[result]):
        types = f"{result} is {promised[result].type} and {field.name} {field.type}"
        raise _refused(contract, field, f"{types}: give both the same type.")
    return Reference(source.name, result)


def _refused(contract: Contract, field: Field, why: str) -> ContractError:
    return ContractError(
        f"{field.name} of {contract.name} is declared [from {field.origin}], but {why}"
    )
