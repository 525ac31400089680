"""HTML from cells and prose, made harmless: nothing in it acts, asks a server or hides the page.

There are two steps. The first reads the tags and writes known ones anew, each closed, and none
deeper than a person would write. It takes time in proportion to the length. The second is nh3, an
allow-list on the parser that browsers have. On unclosed tags it alone would take hours.
"""

import base64
import html
import re
from collections.abc import Callable

import nh3

DEEPEST = 100  # tags within tags
_TAGS = set(
    "a abbr address article aside b bdi bdo big blockquote br caption center cite code col "
    "colgroup dd del details dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 "
    "header hr i img ins kbd label li mark nav ol p pre q rp rt ruby s samp section small "
    "span strike strong sub summary sup table tbody td tfoot th thead time tr tt u ul var wbr "
    # mathematics, as latex2mathml writes it
    "math menclose merror mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot "
    "mrow mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover".split()
)
_VOID = {"br", "col", "hr", "img", "wbr"}
_CELL, _ROW = ("td", "th"), ("td", "th", "tr")
# The tags that a tag closes if they are still open before it.
_CLOSES = {
    **dict.fromkeys(_CELL, _CELL),
    **dict.fromkeys(("tbody", "tfoot", "thead"), (*_ROW, "tbody", "thead")),
    **dict.fromkeys(("dt", "dd"), ("dt", "dd", "p")),
    **dict.fromkeys("blockquote div h1 h2 h3 h4 h5 h6 ol p pre table ul".split(), ("p",)),
    "tr": _ROW,
    "li": ("li", "p"),
    "a": ("a",),
}
_ATTRIBUTES = set(
    "align alt bgcolor border cellpadding cellspacing class color colspan datetime dir face "
    "height id lang open reversed rowspan scope size span start style title type valign value "
    # mathematics
    "accent columnalign data-mime-type display linethickness mathvariant notation separator "
    "stretchy width".split()
)
_LIVE = set("applet audio canvas iframe object script video".split())
_REMOVED = _LIVE | set(
    "button noembed noframes plaintext select style svg template title xmp".split()
)
# Comments, declarations, and elements that are removed with their content.
_ELEMENTS = re.compile(
    rf"<!--.*?(?:-->|\Z)|<({'|'.join(_REMOVED)})(?=[\s/>]).*?(?:</\1[^>]*>|\Z)"
    r"|<[!?][^>]*(?:>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_BARE_AMPERSAND = re.compile(r"&(?!\w|#\w)")  # nh3 takes long to read many of them
_TAG = re.compile(
    r"<(/?)([a-zA-Z][\w:-]*)((?:[^<>\"'=]|=\s*(?:\"[^\"]*\"|'[^']*')|[=\"'])*+)>", re.DOTALL
)
_ATTRIBUTE = re.compile(
    r"([a-zA-Z_][\w:.-]*)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'<>=`]+)))?", re.DOTALL
)
# With its own classes, nbconvert's style can put an element over the whole window.
_CLASSES_OF_THE_PAGE = re.compile(r"(?<!\S)(?:jp|lm|cm|bp\d?)-\S*")
_DATA = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml|bmp);base64,[\w+/=\s]*")
_SIZE = re.compile(r"\d{1,5}(?:\.\d+)?(?:%|px)?")

# Styles: colours, borders and sizes stay; rules that load or cover something do not.
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


class Fragment:
    """A piece of HTML made harmless.

    ``html`` is what is left of it, and ``style`` its safe style rules, which apply only within
    ``scope``, a CSS selector. It is ``live`` if it had parts that need a script, a frame or the
    network. ``picture`` takes the address of a picture and returns its content as a ``data:``
    address, or None. More than ``DEEPEST`` tags within each other are a ValueError.
    """

    def __init__(
        self, source: str, scope: str = "", picture: Callable[[str], str | None] = lambda _: None
    ) -> None:
        self.picture, self.scope = picture, scope
        self.style, self.live = "", False
        self.open: list[str] = []
        rest = _BARE_AMPERSAND.sub("&amp;", _ELEMENTS.sub(self._replace_element, source))
        self.html = clean("".join(self._rewrite(rest)))

    @property
    def is_empty(self) -> bool:
        """Whether a reader would see nothing."""
        text = re.sub(r"<[^>]*>", "", self.html)
        return not html.unescape(text).strip() and "<img" not in self.html

    def _replace_element(self, found: re.Match[str]) -> str:
        """Remove an element with its content, but keep style rules, and drawings as pictures."""
        name = (found[1] or "").lower()
        self.live |= name in _LIVE
        if name == "style":
            self.style += _kept_within(self.scope, found[0].partition(">")[2])
        if name != "svg":
            return ""
        drawing = found[0]
        if "xmlns=" not in drawing.partition(">")[0]:
            drawing = drawing.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
        # In a picture no script runs, and nothing is fetched.
        return f'<img alt="" src="{data_address("image/svg+xml", drawing.encode())}">'

    def _rewrite(self, source: str) -> list[str]:
        parts, end = [], 0
        for tag in _TAG.finditer(source):
            parts.append(source[end : tag.start()].replace("<", "&lt;"))
            end = tag.end()
            parts += self._close(tag[2].lower()) if tag[1] else self._begin(tag)
        return [*parts, source[end:].replace("<", "&lt;"), *self._close_down_to(0)]

    def _close(self, name: str) -> list[str]:
        if name not in self.open:
            return []
        return self._close_down_to(len(self.open) - 1 - self.open[::-1].index(name))

    def _close_down_to(self, depth: int) -> list[str]:
        closed, self.open[depth:] = self.open[depth:], []
        return [f"</{name}>" for name in reversed(closed)]

    def _begin(self, tag: re.Match[str]) -> list[str]:
        name, parts = tag[2].lower(), []
        attributes = {
            key.lower(): quoted or single or bare
            for key, quoted, single, bare in reversed(_ATTRIBUTE.findall(tag[3]))
        }
        if name == "input" and "disabled" in attributes:  # the box of a task in a list
            return ["☑ " if "checked" in attributes else "☐ "]
        if name not in _TAGS:
            return []
        if name == "img":
            return [self._image(attributes)]
        while self.open and self.open[-1] in _CLOSES.get(name, ()):
            parts += self._close_down_to(len(self.open) - 1)
        if name not in _VOID:
            self.open.append(name)
            if len(self.open) > DEEPEST:
                raise ValueError(f"more than {DEEPEST} tags within each other")
        return [*parts, _written(name, attributes)]

    def _image(self, attributes: dict[str, str]) -> str:
        address = html.unescape(attributes.get("src", ""))
        data = address if _DATA.fullmatch(address) else self.picture(address)
        if data:
            return _written("img", {"alt": ""} | attributes | {"src": data})
        self.live = True
        name = html.unescape(attributes.get("alt") or address)
        return f"<em>[picture: {html.escape(name[:200])}]</em>" if name else ""


def data_address(kind: str, content: bytes) -> str:
    """Return a picture as an address that holds it: ``data:image/png;base64,…``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def clean(source: str) -> str:
    """Return HTML without anything that is not on the list of what is allowed."""
    return nh3.clean(
        source,
        tags=_TAGS,
        attributes={"*": _ATTRIBUTES, "a": {"href"}, "img": {"src"}},
        attribute_filter=_attribute,
        clean_content_tags={"script", "style"},
        url_schemes={"http", "https", "mailto", "data"},
    )


def _written(name: str, attributes: dict[str, str]) -> str:
    parts = [name]
    for key, value in attributes.items():
        kept = _CLASSES_OF_THE_PAGE.sub("", value) if key == "class" else value
        kept = kept.replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
        parts.append(f'{key}="{kept}"')
    return f"<{' '.join(parts)}>"


def _attribute(tag: str, name: str, value: str) -> str | None:
    """Return the safe part of an attribute's value, or None when there is none."""
    if name == "style":
        return _declarations(value, hiding=True) or None
    if name == "href" and re.sub(r"[\x00-\x20]", "", value).lower().startswith("data:"):
        return None
    wanted = {"src": _DATA, "width": _SIZE, "height": _SIZE}.get(name) if tag == "img" else None
    return value if not wanted or wanted.fullmatch(value) else None


def _declarations(text: str, hiding: bool = False) -> str:
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


def _kept_within(scope: str, sheet: str) -> str:
    """Return the safe rules of a style sheet, without ``@media`` and the like.

    They are rewritten to apply only within ``scope``, a selector.
    """
    rules = []
    for selectors, body in _RULE.findall(_BLOCK.sub("", _COMMENT.sub(" ", sheet))):
        parts = [s.strip() for s in selectors.split(",")]
        safe = _declarations(body)
        if safe and all(_SELECTOR.fullmatch(s) and s.count("(") == s.count(")") for s in parts):
            rules.append(f"{', '.join(f'{scope} {s}' for s in parts)} {{{safe}}}\n")
    return "".join(rules)


def _is_safe(value: str) -> bool:
    return bool(
        _VALUE.fullmatch(value)
        and not _NEGATIVE.search(value)
        and {name.lower() for name in _FUNCTION.findall(value)} <= _FUNCTIONS
    )
