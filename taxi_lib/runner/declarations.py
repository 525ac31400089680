"""Reading a tagged cell: which of its lines declare a field of the contract, and what the rest is.

A line such as ``rows: int = 100  # how many [1 or more]`` declares a field. One that computes its
value is run as any other, and is no parameter.
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
from taxi_lib.runner.assignments import parse, settings_in
from taxi_lib.runner.fields import Field
from taxi_lib.runner.kinds import (
    KINDS,
    check_imported,
    is_limit,
    kind_of,
    looks_like_limit,
    members,
)

# Lines that a parameters cell may begin with, for the types of its fields.
_TYPING = {"__future__", "collections.abc", "datetime", "pathlib", "typing"}
_COLAB = {"integer": "int", "number": "float", "boolean": "bool", "string": "str", "date": "date"}
_NOT_A_FIELD = (AttributeError, KeyError, SyntaxError, TypeError, ValueError, RecursionError)


@dataclass(frozen=True)
class Line:
    """A line of a parameters cell that is no parameter: it computes its value, or has no name."""

    text: str
    code: ast.stmt


def parse_parameters(source: str, notebook: str, known: set[str]) -> tuple[list[Field], list[Line]]:
    """Return the parameters that a cell declares, and the lines of it that declare none.

    Parameters
    ----------
    source : str
        The cell's source.
    notebook : str
        Its notebook, for the message.
    known : set of str
        What the cells before it have set, such as types that they import.

    Raises
    ------
    ContractError
        When a line contradicts itself: a value of another type, a limit that is none.
    """
    fields: dict[str, Field] = {}
    others = []
    known = set(known)
    for node, line, comment in _statements(source, notebook, "parameters"):
        with _told(notebook, "parameters", line):
            field = _parameter(node, comment, known)
            if field and field.name in fields:
                raise ContractError(f"{field.name} is declared twice: keep one of the lines.")
        known |= {setting.name for setting in settings_in([node])}
        if field:
            fields[field.name] = field
        elif not _only_for_types(node):
            others.append(Line(line.strip(), node))
    return list(fields.values()), others


def parse_results(source: str, notebook: str) -> Iterator[Field]:
    """Yield the results that a cell promises; the code that reports them may follow.

    Raises
    ------
    ContractError
        When a declaration is of a type that no result has.
    """
    for node, line, comment in _statements(source, notebook, "results"):
        if isinstance(node, ast.AnnAssign):
            with _told(notebook, "results", line):
                yield _declared(node, comment)


@contextmanager
def _told(notebook: str, cell: str, line: str) -> Iterator[None]:
    """Say of what goes wrong in the block which line of which cell it is about."""
    place = f"The {cell} cell of {notebook} has {short(line)}"
    try:
        yield
    except ContractError as error:  # the line is written well, and yet no field
        raise ContractError(f"{place}: {error}") from error
    except _NOT_A_FIELD as error:
        example = "name: type = value  # help" if cell == "parameters" else "name: type  # help"
        raise ContractError(
            f"{place}: write each line as `{example}`, "
            f"the type of {', '.join(KINDS)} or Literal[…], and a value of it."
        ) from error


def short(line: str) -> str:
    """Return a line of code as a message quotes it."""
    return repr(line if len(line) <= 80 else f"{line[:79]}…")


def _statements(source: str, notebook: str, cell: str) -> Iterator[tuple[ast.stmt, str, str]]:
    """Yield the statements of a cell, each with its first line and the comment behind it."""
    tree, written = parse(source), source.splitlines()
    if tree is None:
        with _told(notebook, cell, _bad_line(source)):
            raise SyntaxError
    comments = _comments(source)
    following = [node.lineno for node in tree.body[1:]] + [0]
    for node, next_line in zip(tree.body, following, strict=False):
        # A magic may have taken several lines, which are one in the tree.
        line = written[node.lineno - 1] if node.lineno <= len(written) else ast.unparse(node)
        alone = next_line != node.end_lineno  # a comment belongs to the last of `a = 1; b = 2`
        yield node, line.strip(), comments.get(node.end_lineno, "") if alone else ""


def _bad_line(source: str) -> str:
    try:
        ast.parse(source)
    except SyntaxError as error:
        return (source.splitlines()[: error.lineno or 1] or [source])[-1].strip()
    return source


def _comments(source: str) -> dict[int, str]:
    """Return the comments by their line."""
    found = {}
    with suppress(tokenize.TokenError, SyntaxError):  # magics are no Python: what comes before
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                found[token.start[0]] = token.string.lstrip("# ").strip()
    return found


def _only_for_types(node: ast.stmt) -> bool:
    """Tell whether a line gives a name to a type, or is a text that explains, or does nothing."""
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
            try:
                kind_of(node.annotation)
            except _NOT_A_FIELD:
                if "annotations" not in known:
                    check_imported(node.annotation, known)
                return None  # of a type that only Python knows
            if "annotations" not in known:
                check_imported(node.annotation, known)
            field = _declared(node, comment)
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if _is_plain(value):
            field = _untyped(name, ast.literal_eval(value), comment)
        case _:
            return None
    field.check(field.default)
    return field


def _is_plain(value: ast.expr) -> bool:
    """Tell whether a value is written out, and can be given as JSON."""
    try:
        plain = ast.literal_eval(value)
        return json.loads(json.dumps(plain, allow_nan=False)) == plain
    except _NOT_A_FIELD:
        return False


def _declared(node: ast.AnnAssign, comment: str) -> Field:
    kind = kind_of(node.annotation)
    default = ast.literal_eval(node.value) if node.value else None
    kind = _with_none(kind) if node.value and default is None else kind
    if comment.startswith("@param"):
        _, comment = _form(comment, default)
    help_text, limit = _limited(comment, kind)
    return _named_well(Field(node.target.id, kind, default, help_text, limit))


def _with_none(kind: str) -> str:
    """Return the type that ``int`` means in ``limit: int = None``."""
    return kind if members(kind) & {"None", "Any"} else f"{kind} | None"


def _untyped(name: str, default: Value, comment: str) -> Field:
    """Return a parameter whose type its comment tells, or else its value."""
    hinted, comment = _hint(comment, default)
    own = "Any" if default is None else type(default).__name__
    hinted = _with_none(hinted) if hinted and default is None else hinted
    for kind in filter(None, (hinted, own)):
        help_text, limit = _limited(comment, kind)
        field = _named_well(Field(name, kind, default, help_text, limit))
        with suppress(ContractError):
            field.check(default)
            break
    return field


def _named_well(field: Field) -> Field:
    field.check_name()
    return field


def _limited(comment: str, kind: str) -> tuple[str, str]:
    """Return a comment without its limit, and the limit.

    Other brackets are left in the comment, unless they look like a limit that is misspelled.
    """
    found = [
        (match, " ".join(match[1].lower().split()))
        for match in re.finditer(r"\[([^\[\]]+)\]", comment)
    ]
    meant = [(m, text) for m, text in found if is_limit(text, kind) or looks_like_limit(text, kind)]
    for _, text in meant:
        if not is_limit(text, kind):
            raise ContractError(
                f"[{text}] is no limit of {kind}: write it like [1 to 100], [1 or more], "
                "[0 or less], [above 0], [inside the workspace] or [secret], or without brackets."
            )
    if len(meant) > 1:
        raise ContractError(f"[{meant[0][1]}] and [{meant[1][1]}] are two limits: keep one.")
    if not meant:
        return comment, ""
    ((match, limit),) = meant
    return f"{comment[: match.start()].rstrip()}{comment[match.end() :]}".strip(), limit


def _hint(comment: str, default: Value) -> tuple[str, str]:
    """Return the type that a comment tells, and the rest of it.

    Type comments (``# type: list[str] the names``) and the forms of Colab
    (``#@param {type:"integer", min:1, max:100}``, ``#@param ["a", "b"]``) are understood.
    """
    if comment.startswith("@param"):
        return _form(comment, default)
    if typed := re.match(r"type:\s*(.*)", comment):
        words = typed[1].split(" ")
        for end in range(len(words), 0, -1):
            with suppress(*_NOT_A_FIELD):
                kind = kind_of(ast.parse(" ".join(words[:end]), mode="eval").body)
                return kind, " ".join(words[end:]).strip()
    return "", comment


def _form(comment: str, default: Value) -> tuple[str, str]:
    options = dict(re.findall(r"\b(type|min|max|step|allow-input):\s*[\"']?([\w.+-]+)", comment))
    kind = _COLAB.get(options.get("type", ""), "")
    if any("." in options.get(part, "") for part in ("min", "max", "step")):
        kind = "float"
    if (choices := re.search(r"\[.*\]", comment)) and options.get("allow-input") != "true":
        with suppress(*_NOT_A_FIELD):
            kind = kind_of(ast.parse(f"Literal{choices[0]}", mode="eval").body)
    is_number = (kind or type(default).__name__) in ("int", "float")
    low, high = options.get("min"), options.get("max")
    limit = f"[{low} to {high}]" if low and high else f"[{low} or more]" if low else ""
    limit = limit or (f"[{high} or less]" if high else "")
    return kind, limit if is_number else ""
