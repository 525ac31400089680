"""Styles from outputs: colours, borders and sizes stay, rules that load or cover things do not."""

import re

_PROPERTIES = re.compile(
    r"background(-color|-image)?|border(-[a-z-]+)?|caption-side|color|column-(count|gap)|float|"
    r"font(-[a-z-]+)?|gap|(align|justify)-[a-z]+|flex(-[a-z]+)?|grid-[a-z-]+|"
    r"(min-|max-)?(width|height)|letter-spacing|line-height|list-style(-type)?|"
    r"(margin|padding)(-[a-z]+)?|opacity|overflow(-[xyw][a-z]*)?|table-layout|"
    r"text-(align|decoration|indent|overflow|transform)[a-z-]*|vertical-align|"
    r"white-space|word-(break|wrap|spacing)"
)
# Without colons, escapes and comments it holds no address and cannot end its rule.
_VALUE = re.compile(r"(?:[\w\s#%.,()\"'+!-]|/(?!\*))*")
_FUNCTIONS = {"rgb", "rgba", "hsl", "hsla", "calc", "linear-gradient", "var"}
_FUNCTION = re.compile(r"([\w-]*)\(")
_NEGATIVE = re.compile(r"(?<![\w(])-[\d.]")
_BLOCK = re.compile(r"@[^{};]*+(?:;|\{(?:[^{}]|\{[^{}]*+\})*+\}|\Z)")
_RULE = re.compile(r"([^{}]*+)\{([^{}]*+)\}")
_SELECTOR = re.compile(r"[\w\s.#>+~*:()-]+")
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|<!--|-->", re.DOTALL)


def declarations(text: str, hiding: bool = False) -> str:
    """Return the safe declarations of a style attribute or a rule: ``"color: red; width: 3em"``.

    With ``hiding``, ``display`` is safe, too. In a rule it is not: such rules hide what a script,
    which is missing here, would show.
    """
    kept = []
    for declaration in _COMMENT.sub(" ", text).split(";"):
        name, colon, value = (part.strip() for part in declaration.partition(":"))
        known = _PROPERTIES.fullmatch(name.lower()) or (hiding and name.lower() == "display")
        if colon and known and _is_safe(value):
            kept.append(f"{name}: {value}")
    return "; ".join(kept)


def kept_within(scope: str, sheet: str) -> str:
    """Return the safe rules of a style sheet, without ``@media`` and the like.

    Parameters
    ----------
    scope : str
        A selector. The rules are rewritten to apply only within it.
    sheet : str
        The rules.
    """
    rules = []
    for selectors, body in _RULE.findall(_BLOCK.sub("", _COMMENT.sub(" ", sheet))):
        parts = [s.strip() for s in selectors.split(",")]
        safe = declarations(body)
        if safe and all(_SELECTOR.fullmatch(s) and s.count("(") == s.count(")") for s in parts):
            rules.append(f"{', '.join(f'{scope} {s}' for s in parts)} {{{safe}}}\n")
    return "".join(rules)


def _is_safe(value: str) -> bool:
    return bool(
        _VALUE.fullmatch(value)
        and not _NEGATIVE.search(value)
        and {name.lower() for name in _FUNCTION.findall(value)} <= _FUNCTIONS
    )
