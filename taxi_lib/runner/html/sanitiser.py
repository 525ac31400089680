"""HTML from cells and prose, made harmless: nothing in it acts, asks the network or hides the page.

Two steps. The first reads the tags and writes them anew: known ones only, each closed, none
deeper than a person would write. That takes time in proportion to the length, where the second
alone takes its square. The second is nh3, an allow-list on the same parser that browsers have.
"""

import base64
import html
import re
from collections.abc import Callable

import nh3

from taxi_lib.runner.html import styles

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
# A tag that ends what was left open before it.
_ENDS = {
    **dict.fromkeys(_CELL, _CELL),
    **dict.fromkeys(("tbody", "tfoot", "thead"), (*_ROW, "tbody", "thead")),
    **dict.fromkeys(("dt", "dd"), ("dt", "dd", "p")),
    **dict.fromkeys("blockquote div h1 h2 h3 h4 h5 h6 ol p pre table ul".split(), ("p",)),
    "tr": _ROW,
    "li": ("li", "p"),
    "a": ("a",),
}
_ATTRIBUTES = {
    "*": set(
        "align class dir display height id lang mathvariant stretchy style title valign width "
        "accent columnalign data-mime-type linethickness notation separator".split()
    ),
    "a": {"href"},
    "col": {"span"},
    "colgroup": {"span"},
    "details": {"open"},
    "font": {"color", "face", "size"},
    "img": {"alt", "src"},
    "li": {"value"},
    "ol": {"reversed", "start", "type"},
    "table": {"bgcolor", "border", "cellpadding", "cellspacing"},
    "td": {"bgcolor", "colspan", "rowspan"},
    "th": {"bgcolor", "colspan", "rowspan", "scope"},
    "time": {"datetime"},
    "tr": {"bgcolor"},
}
_WITH_CONTENT = (
    "applet audio button canvas iframe noembed noframes object plaintext script select style svg "
    "template title video xmp"
)
_LIVE = set("applet audio canvas iframe object script video".split())
# Comments, declarations, and elements that go with all that is in them.
_APART = re.compile(
    rf"<!--.*?(?:-->|\Z)|<({'|'.join(_WITH_CONTENT.split())})(?=[\s/>]).*?(?:</\1[^>]*>|\Z)"
    r"|<[!?][^>]*(?:>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_LONELY = re.compile(r"&(?!\w|#\w)")  # which nh3 takes long to read
_TAG = re.compile(
    r"<(/?)([a-zA-Z][\w:-]*)((?:[^<>\"'=]|=\s*(?:\"[^\"]*\"|'[^']*')|[=\"'])*+)>", re.DOTALL
)
_ATTRIBUTE = re.compile(
    r"([a-zA-Z_][\w:.-]*)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'<>=`]+)))?", re.DOTALL
)
# nbconvert's style gives its own classes places over the whole window.
_CLASSES_OF_THE_PAGE = re.compile(r"(?<!\S)(?:jp|lm|cm|bp\d?)-\S*")
_DATA = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml|bmp);base64,[\w+/=\s]*")
Picture = Callable[[str], str | None]


class Fragment:
    """A piece of HTML made harmless.

    Parameters
    ----------
    source : str
        The HTML, of whatever kind.
    scope : str
        A CSS selector that its style rules are to stay within.
    picture : callable
        Gives for the address of a picture its content as a ``data:`` address, or None.

    Attributes
    ----------
    html : str
        What is left of it.
    style : str
        Its own style rules that are safe, kept within the scope.
    live : bool
        Whether it had parts that need a script, a frame or the network.

    Raises
    ------
    ValueError
        When tags lie too deep within each other.
    """

    def __init__(self, source: str, scope: str, picture: Picture) -> None:
        self.picture, self.scope = picture, scope
        self.style, self.live = "", False
        self.open: list[str] = []
        rest = _LONELY.sub("&amp;", _APART.sub(self._taken_apart, source))
        self.html = nh3.clean("".join(self._written_anew(rest)), **ALLOWED)

    @property
    def is_empty(self) -> bool:
        """Whether a reader would see nothing."""
        text = re.sub(r"<[^>]*>", "", self.html)
        return not html.unescape(text).strip() and "<img" not in self.html

    def _taken_apart(self, found: re.Match[str]) -> str:
        name = (found[1] or "").lower()
        self.live |= name in _LIVE
        if name == "style":
            self.style += styles.kept_within(self.scope, found[0].partition(">")[2])
        if name != "svg":
            return ""
        drawing = found[0]
        if "xmlns=" not in drawing.partition(">")[0]:
            drawing = drawing.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
        # In a picture nothing runs, and nothing is fetched.
        return f'<img alt="" src="{as_data("image/svg+xml", drawing.encode())}">'

    def _written_anew(self, source: str) -> list[str]:
        parts, place = [], 0
        for tag in _TAG.finditer(source):
            parts.append(source[place : tag.start()].replace("<", "&lt;"))
            place = tag.end()
            parts.extend(self._close(tag[2].lower()) if tag[1] else self._begin(tag))
        return [*parts, source[place:].replace("<", "&lt;"), *self._close_down_to(0)]

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
        if name == "input" and "disabled" in attributes:  # a task list's
            return ["☑ " if "checked" in attributes else "☐ "]
        if name not in _TAGS:
            return []
        if name == "img":
            return [self._image(attributes)]
        while self.open and self.open[-1] in _ENDS.get(name, ()):
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
        called = html.unescape(attributes.get("alt") or address)
        self.live = True
        return f"<em>[picture: {html.escape(called[:200])}]</em>" if called else ""


def as_data(kind: str, content: bytes) -> str:
    """Return a picture as an address that holds it: ``data:image/png;base64,…``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def whole(body: str) -> str:
    """Return a page's body with nothing that is not allowed, however it got in."""
    return nh3.clean(body, **ALLOWED)


def _written(name: str, attributes: dict[str, str]) -> str:
    if "class" in attributes:
        attributes["class"] = _CLASSES_OF_THE_PAGE.sub("", attributes["class"])
    shown = (
        f' {key}="{_QUOTED.sub(lambda found: _QUOTES[found[0]], value)}"'
        for key, value in attributes.items()
    )
    return f"<{name}{''.join(shown)}>"


_QUOTES = {'"': "&quot;", "<": "&lt;", ">": "&gt;"}
_QUOTED = re.compile(r"[\"<>]")


def _attribute(tag: str, name: str, value: str) -> str | None:
    """Return an attribute's value as it may stay, or None."""
    if name == "style":
        return styles.declarations(value, hiding=True) or None
    if name == "src":
        return value if _DATA.fullmatch(value) else None
    if name == "href" and re.sub(r"[\x00-\x20]", "", value).lower().startswith("data:"):
        return None
    return value


ALLOWED = {
    "tags": _TAGS,
    "attributes": _ATTRIBUTES,
    "attribute_filter": _attribute,
    "clean_content_tags": {"script", "style"},
    "url_schemes": {"http", "https", "mailto", "data"},
}
