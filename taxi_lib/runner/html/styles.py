"""Styles from outputs: colours, borders and sizes stay; what loads or covers something goes."""

import re

_PROPERTIES = re.compile(
    r"background(-color|-image)?|border(-[a-z-]+)?|caption-side|color|column-(count|gap)|float|"
    r"font(-[a-z-]+)?|gap|(align|justify)-[a-z]+|flex(-[a-z]+)?|grid-[a-z-]+|"
    r"(min-|max-)?(width|height)|letter-spacing|line-height|list-style(-type)?|"
    r"(margin|padding)(-[a-z]+)?|opacity|overflow(-[xyw][a-z]*)?|table-layout|"
    r"text-(align|decoration|indent|overflow|transform)[a-z-]*|vertical-align|"
    r"white-space|word-(break|wrap|spacing)"
)
# No colons, no escapes, no comments: no address, and nothing that ends a rule.
_VALUE = re.compile(r"(?:[\w\s#%.,()\"'+!-]|/(?!\*))*")
_FUNCTIONS = {"rgb", "rgba", "hsl", "hsla", "calc", "linear-gradient", "var"}
_FUNCTION = re.compile(r"([\w-]*)\(")
_NEGATIVE = re.compile(r"(?<![\w(])-[\d.]")
_BLOCK = re.compile(r"@[^{};]*+(?:;|\{(?:[^{}]|\{[^{}]*+\})*+\}|\Z)")
_RULE = re.compile(r"([^{}]*+)\{([^{}]*+)\}")
_SELECTOR = re.compile(r"[\w\s.#>+~*:()-]+")
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|<!--|-->", re.DOTALL)


def declarations(text: str, hiding: bool = False) -> str:
    """Return those of some declarations that are safe: ``"color: red; width: 3em"``.

    Parameters
    ----------
    text : str
        Of a style attribute, or between the braces of a rule.
    hiding : bool
        Whether an element may be hidden: a rule that hides what a missing script would show
        would lose it.
    """
    kept = []
    for declaration in _COMMENT.sub(" ", text).split(";"):
        name, colon, value = (part.strip() for part in declaration.partition(":"))
        known = _PROPERTIES.fullmatch(name.lower()) or (hiding and name.lower() == "display")
        if colon and known and _is_safe(value):
            kept.append(f"{name}: {value}")
    return "; ".join(kept)


def kept_within(scope: str, sheet: str) -> str:
    """Return those rules of a style sheet that are safe, each for a part of the page only.

    Parameters
    ----------
    scope : str
        The selector of that part.
    sheet : str
        The rules; ``@media`` and its like are left out.
    """
    rules = []
    for selectors, body in _RULE.findall(_BLOCK.sub("", _COMMENT.sub(" ", sheet))):
        ours = [s.strip() for s in selectors.split(",")]
        safe = declarations(body)
        if safe and all(_SELECTOR.fullmatch(s) and s.count("(") == s.count(")") for s in ours):
            rules.append(f"{', '.join(f'{scope} {s}' for s in ours)} {{{safe}}}\n")
    return "".join(rules)


def _is_safe(value: str) -> bool:
    return bool(
        _VALUE.fullmatch(value)
        and not _NEGATIVE.search(value)
        and {name.lower() for name in _FUNCTION.findall(value)} <= _FUNCTIONS
    )
