"""Which names a piece of code sets, and what decides their values; the code is read, never run.

What ``exec``, ``%run`` or ``import *`` set cannot be seen.
"""

import ast
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

_LOCK = threading.Lock()
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
# Magics whose text is run as code of the notebook itself.
_RUN_HERE = ("time", "prun", "capture")
_NAMESPACES = {"globals", "locals", "vars", "dir"}
_BY_TEXT = _NAMESPACES | {"get_ipython"}  # what may read a name that is written as a text


@dataclass(frozen=True)
class Assignment:
    """One place where a name is set."""

    name: str
    node: ast.AST  # the place
    made_of: tuple[ast.AST, ...] = ()  # what decides the value: an expression, and conditions

    @cached_property
    def uses(self) -> set[str]:
        """The names that decide its value."""
        return {name for part in self.made_of for name in _read_by(ast.walk(part))}


def parse(source: str) -> ast.Module | None:
    """Return a cell's code as a tree, magics as function calls; None when it is not Python."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "\\d" in a text is the notebook's own business
        for text in (lambda: source, lambda: _without_magics(source)):
            try:
                return ast.parse(text())
            except (SyntaxError, ValueError, RecursionError):
                continue
    return None


def _without_magics(source: str) -> str:
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager().transform_cell(source)


def first_reassignment(
    name: str, assignments: Iterable[tuple[int, Assignment]]
) -> tuple[int, ast.AST] | None:
    """Return the cell and the place where a name is first set without use of its old value.

    ``month = month.strip()`` and ``if month is None: month = …`` use the old value. Each assignment
    comes with the number of its cell.
    """
    derived = {name}
    for number, assignment in assignments:
        if assignment.uses & derived:
            derived.add(assignment.name)
        elif assignment.name == name:
            return number, assignment.node
    return None


def reads(code: ast.AST, names: set[str], *, at_once: bool = False) -> bool:
    """Return whether code reads one of some names; as ``globals()["name"]`` or in a magic, too.

    With `at_once`, what only a later call of a function reads does not count.
    """
    return bool(_read_by(_at_once(code) if at_once else ast.walk(code)) & names)


def _read_by(code: Iterable[ast.AST]) -> set[str]:
    nodes = list(code)
    loaded = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    if loaded & _BY_TEXT:
        texts = (str(node.value) for node in nodes if isinstance(node, ast.Constant))
        loaded |= {word for text in texts for word in re.findall(r"\w+", text)}
    return loaded


def _at_once(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    later = node.body if isinstance(node, _FUNCTIONS) else []
    later = later if isinstance(later, list) else [later]
    for child in ast.iter_child_nodes(node):
        if child not in later:
            yield from _at_once(child)


def assignments_in(
    body: Iterable[ast.AST], under: tuple[ast.AST, ...] = ()
) -> Iterator[Assignment]:
    """Yield what code sets in the notebook's own namespace, in order, `under` some conditions."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield Assignment(node.name, node, (*node.body, *under))
            yield from _global_assignments(node)
            continue
        yield from _set_by(node, under)
        for inner, condition in _inside(node):
            yield from assignments_in(inner, (*under, *condition))


def _set_by(node: ast.AST, under: tuple[ast.AST, ...]) -> Iterator[Assignment]:
    """Yield what a statement or an expression sets itself; its parts are left out."""
    pairs: list[tuple[ast.expr, ast.expr]] = []
    match node:
        case ast.Assign(targets=targets, value=value):
            pairs = [pair for target in targets for pair in _pairs(target, value)]
        case ast.AugAssign(target=ast.Name(id=name) as target, value=value):
            pairs = [(target, ast.BinOp(ast.Name(name, ast.Load()), node.op, value))]
        case (
            ast.AnnAssign(target=target, value=ast.expr() as value)
            | ast.NamedExpr(target=target, value=value)
            | ast.AugAssign(target=target, value=value)
            | ast.For(target=target, iter=value)
            | ast.AsyncFor(target=target, iter=value)
            | ast.withitem(optional_vars=ast.expr() as target, context_expr=value)
        ):
            pairs = [(target, value)]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            for alias in names:
                yield Assignment(alias.asname or alias.name.split(".")[0], node, under)
        case (
            ast.ExceptHandler(name=str(name))
            | ast.MatchAs(name=str(name))
            | ast.MatchStar(name=str(name))
            | ast.MatchMapping(rest=str(name))
        ):
            yield Assignment(name, node, under)
    for target, value in pairs:
        for name in _targets(target):
            yield Assignment(name, node if hasattr(node, "lineno") else value, (value, *under))


def _inside(node: ast.AST) -> Iterator[tuple[list[ast.AST], tuple[ast.AST, ...]]]:
    """Yield the parts of a statement or expression that set names, each with its condition."""
    match node:
        case ast.If(test=condition) | ast.While(test=condition) | ast.Match(subject=condition):
            first, *rest = ast.iter_child_nodes(node)
            yield [first], ()
            yield rest, (condition,)
        case ast.Try() | ast.TryStar():
            yield node.body, ()
            yield [*node.handlers, *node.orelse], tuple(node.body)
            yield node.finalbody, ()
        case ast.Lambda():
            return
        case _ if isinstance(node, _COMPREHENSIONS):
            # Its own names stay in it; only `:=` sets one outside.
            yield [n for n in ast.walk(node) if isinstance(n, ast.NamedExpr)], ()
        case ast.Call() if code := _run_by_magic(node):
            yield code.body, ()
        case _:
            yield list(ast.iter_child_nodes(node)), ()


def _run_by_magic(call: ast.Call) -> ast.Module | None:
    """Return the code that a magic such as ``%%time`` runs in the notebook's namespace."""
    match call:
        case ast.Call(
            func=ast.Attribute(attr="run_line_magic" | "run_cell_magic"),
            args=[ast.Constant(value=magic), *_, ast.Constant(value=code)],
        ) if magic in _RUN_HERE:
            return parse(code)
    return None


def _global_assignments(scope: ast.AST) -> Iterator[Assignment]:
    """Yield what a function or a class sets outside of itself, by ``global``."""
    names = {
        name for node in ast.walk(scope) if isinstance(node, ast.Global) for name in node.names
    }
    if names:
        yield from (
            assignment for assignment in assignments_in(scope.body) if assignment.name in names
        )


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """Return each target with its value: two pairs for ``a, b = 1, 2``."""
    match target, value:
        case ast.Tuple(elts=to) | ast.List(elts=to), ast.Tuple(elts=of) | ast.List(elts=of):
            starred = any(isinstance(part, ast.Starred) for part in (*to, *of))
            if len(to) == len(of) and not starred:
                return [pair for parts in zip(to, of, strict=True) for pair in _pairs(*parts)]
    return [(target, value)]


def _targets(target: ast.expr) -> Iterator[str]:
    """Yield the names that a target sets: ``a`` and ``b`` for ``a, *b``."""
    for node in ast.walk(target):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Subscript(
                value=ast.Call(func=ast.Name(id=space)), slice=ast.Constant(value=str(name))
            ) if space in _NAMESPACES:
                yield name
