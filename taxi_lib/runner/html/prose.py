"""Prose as HTML, with mathematics that a browser draws by itself."""

import html
import re
from contextlib import suppress

from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

# Text that is hard to read takes time in proportion to the square of its length.
_LONGEST = 100_000  # characters
_MOST_ENVIRONMENTS = 500
_LONGEST_FORMULA = 2000


def as_html(source: str) -> str:
    """Return Markdown as HTML, which the sanitiser still has to make harmless."""
    if len(source) > _LONGEST or source.count("\\begin{") > _MOST_ENVIRONMENTS:
        return f"<pre>{html.escape(source)}</pre>"
    return MarkdownWithMath(renderer=_Renderer(escape=False)).render(source)


def formula(latex: str, display: str = "block") -> str:
    """Return a formula, with or without dollars around it, as MathML, or else its source.

    ``display`` is ``"block"`` for a formula on a line of its own, or ``"inline"``.
    """
    inner = re.sub(r"^(\$\$?|\\\[|\\\()(.*?)(\$\$?|\\\]|\\\))$", r"\2", latex.strip(), flags=re.S)
    with suppress(Exception):  # the converter raises many types
        if len(inner) <= _LONGEST_FORMULA:
            return convert(inner, display=display, xmlns="")
    return f"<code>{html.escape(latex)}</code>"


class _Renderer(IPythonRenderer):
    """nbconvert's renderer without scripts. Pictures are left to the sanitiser."""

    def block_math(self, body: str) -> str:
        return formula(body)

    def inline_math(self, body: str) -> str:
        return formula(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return formula(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def block_mermaidjs(self, code: str) -> str:
        return f"<pre>{html.escape(code.strip())}</pre>"

    def _embed_image_or_attachment(self, src: str) -> str:
        return src
