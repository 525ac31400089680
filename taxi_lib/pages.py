"""The HTML copy of an executed notebook."""

import re
from pathlib import Path

import bleach
import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter

from taxi_lib.storage import write_text

# What prose, tables and figures are made of; scripts, frames and handlers are not among it.
_HARMLESS_TAGS = (
    "a abbr b blockquote br code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img li ol p "
    "pre s span strong sub summary sup table tbody td tfoot th thead tr ul"
).split()
_HARMLESS_ATTRIBUTES = {
    "*": ["class", "id", "title"],
    "a": ["href"],
    "img": ["alt", "src"],
    "td": ["colspan", "rowspan"],
    "th": ["colspan", "rowspan"],
}


LONGEST = 500_000  # characters of one output that a page can show: cleaning takes their square
# nbconvert's style breaks long lines of output in the middle of a word.
_WHOLE_WORDS = "<style>div pre {word-break: normal !important; overflow-wrap: anywhere}</style>"


def write_page(notebook: Path, page: Path) -> None:
    """Write an executed notebook as a page that any browser shows, with nothing that can act.

    Parameters
    ----------
    notebook : pathlib.Path
        Executed, or stopped half-way.
    page : pathlib.Path
        The HTML file.
    """
    # nbconvert's own filter allows so little that it escapes every heading and paragraph.
    exporter = HTMLExporter(sanitize_html=True, filters={"clean_html": _harmless})
    body, _ = exporter.from_filename(str(notebook))
    write_text(page, _finish(body, notebook))


def _harmless(element: str) -> str:
    """Return HTML without what could act: pandas' style block is dropped, the rest escaped."""
    html = str(element)
    if len(html) > LONGEST:
        return f"<p>[… {len(html):,} characters of HTML: open the notebook …]</p>"
    unstyled = re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL)
    return bleach.clean(unstyled, tags=_HARMLESS_TAGS, attributes=_HARMLESS_ATTRIBUTES)


def _finish(body: str, notebook: Path) -> str:
    """Give each figure its alternative text, which nbconvert's template leaves out; and style."""
    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    texts = {
        _squeezed(output.data["image/png"]): output.metadata.get("image/png", {}).get("alt")
        for output in outputs
        if "image/png" in output.get("data", {})
    }
    soup = BeautifulSoup(body, "html.parser")
    soup.head.append(BeautifulSoup(_WHOLE_WORDS, "html.parser"))
    for image in soup.find_all("img", src=True):
        if text := texts.get(_squeezed(image["src"].rpartition("base64,")[2])):
            image["alt"] = text
    return str(soup)


def _squeezed(text: str) -> str:
    return "".join(text.split())
