"""Reading a tagged cell: which of its lines declare a field of the contract, and which do not.

A line such as ``rows: int = 100  # how many [1 or more]`` declares a field. A line that computes
its value is not a parameter; it runs like any other line.
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from taxi_lib.errors import ContractError
from taxi_lib.results import Value
from taxi_lib.runner.assignments import assignments_in, parse
from taxi_lib.runner.fields import TYPES, Field, check_imported, find_limit, members, read_type

# Lines that a parameters cell may begin with, for the types of its fields.
_TYPING = {"__future__", "collections.abc", "datetime", "pathlib", "typing"}
_COLAB = {"integer": "int", "number": "float", "boolean": "bool", "string": "str", "date": "date"}
# What a parameter is taken from; of several words only what looks like a notebook's name.
_FROM = re.compile(
    r"\[\s*from[\s:]+(?P<origin>[^\s\[\]]+|[^\[\]]*\d_[^\[\]]*?)\s*\]", re.IGNORECASE
)
_NOT_A_FIELD = (AttributeError, KeyError, SyntaxError, TypeError, ValueError, RecursionError)


@dataclass(frozen=True)
class Line:
    """A line of a parameters cell that declares no parameter, and the names that it sets."""

    text: str
    code: ast.stmt
    sets: set[str]


def parse_parameters(source: str, notebook: str, known: set[str]) -> tuple[list[Field], list[Line]]:
    """Return the parameters that a cell declares, and its other lines.

    A line that contradicts itself is refused. `known` are the names that the cells before this
    one set, such as types that they import.
    """
    fields, others, known = {}, [], set(known)
    for node, line, comment in _statements(source, notebook, "parameters"):
        with _place_named(notebook, "parameters", line):
            field = _parameter(node, comment, known)
            if field and field.name in fields:
                raise ContractError(f"{field.name} is declared twice: keep one of the lines.")
        sets = {assignment.name for assignment in assignments_in([node])}
        known |= sets
        if field:
            fields[field.name] = field
        elif not _is_idle(node):
            others.append(Line(line, node, sets))
    return list(fields.values()), others


def parse_results(source: str, notebook: str) -> Iterator[Field]:
    """Yield the results that a cell promises; the code that reports them may follow."""
    for node, line, comment in _statements(source, notebook, "results"):
        if isinstance(node, ast.AnnAssign):
            with _place_named(notebook, "results", line):
                field = _declared(node, comment)
                if field.origin:
                    raise ContractError("a result is reported, not taken: leave out [from …].")
                yield field


def quoted(line: str) -> str:
    """Return a line of code as a message quotes it."""
    return repr(line if len(line) <= 80 else f"{line[:79]}…")


@contextmanager
def _place_named(notebook: str, cell: str, line: str) -> Iterator[None]:
    """Let a refusal in the block name the line and the cell that it is about."""
    place = f"The {cell} cell of {notebook} has {quoted(line)}"
    try:
        yield
    except ContractError as error:
        raise ContractError(f"{place}: {error}") from error
    except _NOT_A_FIELD as error:
        example = "name: type = value  # help" if cell == "parameters" else "name: type  # help"
        raise ContractError(
            f"{place}: write each line as `{example}`, "
            f"the type of {', '.join(TYPES)} or Literal[…], and a value of it."
        ) from error


def _statements(source: str, notebook: str, cell: str) -> Iterator[tuple[ast.stmt, str, str]]:
    """Yield the statements of a cell, each with its first line and the comment behind it."""
    tree, written = parse(source), source.splitlines()
    if tree is None:
        with _place_named(notebook, cell, _first_bad_line(source)):
            raise SyntaxError
    comments = _comments(source)
    following = [node.lineno for node in tree.body[1:]] + [0]
    for node, next_line in zip(tree.body, following, strict=False):
        # A magic may have taken several lines, which are one in the tree.
        line = written[node.lineno - 1] if node.lineno <= len(written) else ast.unparse(node)
        alone = next_line != node.end_lineno  # a comment belongs to the last of `a = 1; b = 2`
        yield node, line.strip(), comments.get(node.end_lineno, "") if alone else ""


def _first_bad_line(source: str) -> str:
    try:
        ast.parse(source)
    except SyntaxError as error:
        return (source.splitlines()[: error.lineno or 1] or [source])[-1].strip()
    return source


def _comments(source: str) -> dict[int, str]:
    """Return the comments by their line."""
    found = {}
    with suppress(tokenize.TokenError, SyntaxError):  # at a magic, which is no Python
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                found[token.start[0]] = token.string.lstrip("# ").strip()
    return found


def _is_idle(node: ast.stmt) -> bool:
    """Return whether a line only imports types, explains something, or does nothing."""
    match node:
        case ast.ImportFrom(module=module):
            return module in _TYPING
        case ast.Import(names=names):
            return all(alias.name in _TYPING for alias in names)
        case ast.Expr(value=ast.Constant()) | ast.Pass():
            return True
    return False


def _parameter(node: ast.stmt, comment: str, known: set[str]) -> Field | None:
    """Return the parameter that a line declares; None when it computes its value."""
    match node:
        case ast.AnnAssign(target=ast.Name(), value=None):
            raise ValueError("no value")
        case ast.AnnAssign(target=ast.Name(), value=value) if _is_plain(value):
            check_imported(node.annotation, known)
            try:
                read_type(node.annotation)
            except _NOT_A_FIELD:
                return None  # of a type that only Python knows
            field = _declared(node, comment)
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if _is_plain(value):
            field = _untyped(name, ast.literal_eval(value), comment)
        case _:
            return None
    field.check(field.default)
    return field


def _is_plain(value: ast.expr) -> bool:
    """Return whether a value is written out, and can be given as JSON."""
    try:
        plain = ast.literal_eval(value)
        return json.loads(json.dumps(plain, allow_nan=False)) == plain
    except _NOT_A_FIELD:
        return False


def _declared(node: ast.AnnAssign, comment: str) -> Field:
    kind, default = read_type(node.annotation), None
    if node.value:
        default = ast.literal_eval(node.value)
        kind = _with_none(kind) if default is None else kind
    if comment.startswith("@param"):
        _, comment = _colab(comment, default)
    return _field(node.target.id, kind, default, comment)


def _with_none(kind: str) -> str:
    """Return the type that ``int`` means in ``limit: int = None``."""
    return kind if members(kind) & {"None", "Any"} else f"{kind} | None"


def _untyped(name: str, default: Value, comment: str) -> Field:
    """Return a parameter with the type that its comment gives, or else with its value's."""
    hinted, comment = _hint(comment, default)
    if hinted:
        field = _field(name, _with_none(hinted) if default is None else hinted, default, comment)
        with suppress(ContractError):
            field.check(default)
            return field
    return _field(name, "Any" if default is None else type(default).__name__, default, comment)


def _field(name: str, kind: str, default: Value, comment: str) -> Field:
    """Return a field, limit and origin taken out of the comment; other brackets stay there."""
    comment, origin = _origin(comment)
    brackets = re.finditer(r"\[([^\[\]]+)\]", comment)
    texts = ((match, find_limit(" ".join(match[1].split()), kind)) for match in brackets)
    limits = [(match, limit) for match, limit in texts if limit]
    if len(limits) > 1:
        raise ContractError(f"[{limits[0][1]}] and [{limits[1][1]}] are two limits: keep one.")
    for match, _ in limits:
        comment = f"{comment[: match.start()].rstrip()}{comment[match.end() :]}".strip()
    field = Field(name, kind, default, comment, limits[0][1] if limits else "", origin)
    field.check_name()
    if field.origin and field.is_secret:
        raise ContractError("a secret is never handed on: give it by where it is kept.")
    return field


def _origin(comment: str) -> tuple[str, str]:
    """Return a comment without ``[from NOTEBOOK.result]``, and what stands behind the ``from``."""
    found = list(_FROM.finditer(comment))
    if len(found) > 1:
        raise ContractError(f"{found[0][0]} and {found[1][0]} are two origins: keep one.")
    for match in found:
        if not re.fullmatch(r"\S+", match["origin"]):
            raise ContractError(
                f"{match[0]} names no result: write it like [from 02_train.rmse], or without "
                "brackets."
            )
        rest = f"{comment[: match.start()].rstrip()} {comment[match.end() :].lstrip()}"
        return rest.strip(), match["origin"]
    return comment, ""


def _hint(comment: str, default: Value) -> tuple[str, str]:
    """Return the type that a comment gives, and the rest of it.

    It may be a type comment (``# type: list[str] the names``) or a form of Colab
    (``#@param {type:"integer", min:1, max:100}``, ``#@param ["a", "b"]``).
    """
    if comment.startswith("@param"):
        return _colab(comment, default)
    if typed := re.match(r"type:\s*(.*)", comment):
        words = typed[1].split(" ")
        for end in range(len(words), 0, -1):
            with suppress(*_NOT_A_FIELD):
                kind = read_type(ast.parse(" ".join(words[:end]), mode="eval").body)
                return kind, " ".join(words[end:]).strip()
    return "", comment


def _colab(comment: str, default: Value) -> tuple[str, str]:
    """Return the type and the limit, in brackets, of a form of Colab."""
    options = dict(re.findall(r"\b(type|min|max|step|allow-input):\s*[\"']?([\w.+-]+)", comment))
    kind = _COLAB.get(options.get("type", ""), "")
    if any("." in options.get(part, "") for part in ("min", "max", "step")):
        kind = "float"
    if (choices := re.search(r"\[.*\]", comment)) and options.get("allow-input") != "true":
        with suppress(*_NOT_A_FIELD):
            kind = read_type(ast.parse(f"Literal{choices[0]}", mode="eval").body)
    low, high = options.get("min"), options.get("max")
    if (kind or type(default).__name__) not in ("int", "float") or not (low or high):
        return kind, ""
    if low and high:
        return kind, f"[{low} to {high}]"
    return kind, f"[{low} or more]" if low else f"[{high} or less]"
