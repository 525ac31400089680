"""What a page shows of a notebook: each output in one form that a browser draws by itself."""

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from taxi_lib.runner.html.pictures import Pictures
from taxi_lib.runner.html.sanitiser import Fragment
from taxi_lib.runner.screen import LONGEST, fold, settled, shortened

_MOST = 4_000_000  # characters of a page, without its pictures
_MOST_IN_PICTURES = 40_000_000
_LONGEST_ERROR = 50_000  # characters of a traceback
_EACH = 300  # characters that nbconvert writes around an output
PICTURE = "image/png"  # the template's name for a picture of any type
_PICTURES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp")
_NAMELESS = re.compile(r"<[\w.]+ object(?: at 0x\w+)?>")  # the text of IPython's own classes
_BASE64 = re.compile(r"data:image/[\w+]+;base64,[\w+/=\s]*")
# Text that is hard to read takes time in proportion to the square of its length.
_LONGEST_PROSE = 100_000  # characters
_MOST_ENVIRONMENTS = 500
_LONGEST_FORMULA = 2000
_WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_SECTION = re.compile(r'<h2 id="([^"<>]{1,200})">(.{1,500}?)<a href="#')
_FEWEST_SECTIONS, _MOST_SECTIONS = 3, 40  # of a page with a list of them
_BAR = 20  # characters
_DEEPEST_BOX = 10  # boxes within boxes


class RenderedNotebook:
    """A notebook as its page shows it: with prose and outputs as harmless HTML or plain text.

    ``style`` holds the style rules of the outputs, each for its own output.
    """

    def __init__(self, notebook: NotebookNode, pictures: Pictures) -> None:
        self.pictures, self.style, self.number = pictures, "", 0
        self.left, self.left_for_pictures = _MOST, _MOST_IN_PICTURES
        self.widgets = _widget_states(notebook.metadata)
        cells = [self._cell(cell) for cell in notebook.cells]
        _add_contents([cell for cell in cells if cell.cell_type == "markdown"])
        self.notebook = NotebookNode(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)

    def _cell(self, cell: NotebookNode) -> NotebookNode:
        tags = cell.get("metadata", {}).get("tags")
        rendered = NotebookNode(
            cell_type=cell.cell_type,
            id=re.sub(r"[^a-zA-Z0-9_-]", "", str(cell.get("id", "")))[:64] or "cell",
            metadata=NotebookNode(tags=[str(t) for t in tags] if isinstance(tags, list) else []),
            source=shortened(_text(cell.source)),
        )
        if cell.cell_type == "code":
            count = cell.get("execution_count")
            rendered.execution_count = count if isinstance(count, int) else None
            rendered.outputs = self._outputs(cell.get("outputs") or [])
        elif cell.cell_type == "markdown":
            written = _markdown(_text(cell.source))
            rendered.source = self._fragment(written, cell.get("attachments")).html
        else:
            rendered.source = f"<pre>{html.escape(rendered.source)}</pre>"
        return rendered

    def _outputs(self, outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
        rendered, left_out = [], 0
        for output in map(self._output, outputs):
            texts = [output.get("text", ""), *output.get("traceback", [])]
            cost = _EACH + sum(map(_cost, [*texts, *output.get("data", {}).values()]))
            if cost > self.left:
                left_out += 1
                continue
            self.left -= cost
            rendered.append(output)
        if left_out:
            sentence = f"[… {left_out:,} more outputs: open the notebook …]\n"
            rendered.append(_output("stream", name="stdout", text=sentence))
        return rendered

    def _output(self, output: NotebookNode) -> NotebookNode:
        kind = output.get("output_type")
        if kind == "stream":
            name = "stderr" if output.get("name") == "stderr" else "stdout"
            return _output(kind, name=name, text=shortened(settled(fold(_text(output.text)))))
        if kind == "error":
            lines = output.get("traceback") or [f"{output.get('ename')}: {output.get('evalue')}"]
            text = "\n".join(map(_text, lines)) if isinstance(lines, list) else _text(lines)
            if len(text) > _LONGEST_ERROR:
                text = f"{text[:_LONGEST_ERROR]}\n[… {len(text):,} characters: see the notebook …]"
            return _output(kind, ename="", evalue="", traceback=[text])
        form, content = self._form(_mapping(output.get("data")))
        about = _mapping(output.get("metadata"))
        for picture in _PICTURES:  # each may have its own size and description
            about = {**about, **_mapping(about.get(picture))}
        counted = {"execution_count": None} if kind == "execute_result" else {}
        kind = kind if counted else "display_data"
        return _output(kind, data={form: content}, metadata=NotebookNode(about), **counted)

    def _form(self, data: Mapping[str, Any]) -> tuple[str, str]:
        """Return the form in which an output is shown, and its content."""
        plain = _text(data.get("text/plain", ""))
        if _WIDGET_VIEW in data:
            plain = _widget_text(self.widgets, data[_WIDGET_VIEW]) or plain
            data = {"text/plain": plain}
        written = None
        if "text/html" in data:
            written = self._fragment(_text(data["text/html"]))
            if not written.live and not written.is_empty:
                return "text/html", self._styled(written)
        if drawn := self._drawn(data):
            return drawn
        named = plain and not _NAMELESS.fullmatch(plain.strip())
        if named or set(data) <= {"text/plain"}:
            return "text/plain", shortened(plain)
        if written and not (written.is_empty and written.live):
            return "text/html", self._styled(written)
        return "text/plain", _last_resort(data)

    def _drawn(self, data: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return an output as Markdown, as a formula or as a picture, if it can be one of these."""
        if "text/markdown" in data:
            written = self._fragment(_markdown(_text(data["text/markdown"])))
            if not written.is_empty:
                return "text/markdown", written.html
        if "text/latex" in data:
            formula = self._fragment(_formula(_text(data["text/latex"])))
            return "text/html", formula.html
        for kind in _PICTURES:
            content = _text(data.get(kind))
            if content and len(content) < self.left_for_pictures:
                self.left_for_pictures -= len(content)
                return PICTURE, _picture(kind, content)
        return None

    def _fragment(self, source: str, attachments: object = None) -> Fragment:
        """Return HTML made harmless, or a sentence in its place where that would take too long."""
        length = len(_BASE64.sub("", source))
        if length + 10 * source.count("&") > LONGEST or len(source) > self.left_for_pictures:
            return _notice(f"{length:,} characters of HTML")
        self.number += 1
        try:
            return Fragment(
                source, f".own-{self.number}", lambda name: self.pictures.find(name, attachments)
            )
        except ValueError as error:
            return _notice(f"HTML with {error}")

    def _styled(self, written: Fragment) -> str:
        if not written.style:
            return written.html
        self.style += written.style
        return f'<div class="{written.scope[1:]}">{written.html}</div>'


def _add_contents(prose: list[NotebookNode]) -> None:
    """Put a list of links to the sections below the first piece of prose."""
    sections = [heading for cell in prose for heading in _SECTION.findall(cell.source)]
    if _FEWEST_SECTIONS <= len(sections) <= _MOST_SECTIONS:
        plain = ((name, re.sub(r"<[^>]*>", "", text)) for name, text in sections)
        items = (f'<li><a href="#{name}">{text}</a></li>' for name, text in plain)
        prose[0].source += f"<nav><p>On this page:</p><ul>{''.join(items)}</ul></nav>"


def _notice(what: str) -> Fragment:
    fragment = Fragment(f"<p>[… {what}: open the notebook …]</p>")
    fragment.live = True  # another form of the output is better
    return fragment


def _last_resort(data: Mapping[str, Any]) -> str:
    for kind in ("text/vnd.mermaid", "application/json"):
        if kind in data:
            return shortened(_text(data[kind]))
    kinds = ", ".join(kind for kind in data if kind != "text/plain")
    return f"[an output of type {kinds}: open the notebook to see it]"


def _output(kind: str, **parts: object) -> NotebookNode:
    """Return an output. nbformat's own function would check each against a schema."""
    return NotebookNode({"output_type": kind, "metadata": NotebookNode()} | parts)


def _picture(kind: str, content: str) -> str:
    """Return a picture as a ``data:`` address."""
    code = "".join(content.split())
    if kind == "image/svg+xml":
        code = base64.b64encode(content.encode("utf-8", "replace")).decode()
    return f"data:{kind};base64,{code}"


def _cost(text: str) -> int:
    return len(_BASE64.sub("", text)) + 5 * sum(map(text.count, "&<>"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    """Return a part of a notebook as text, whatever it is: a text, JSON, nothing."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, indent=1, default=str)


def _markdown(source: str) -> str:
    """Return Markdown as HTML, which the sanitiser still has to make harmless."""
    if len(source) > _LONGEST_PROSE or source.count("\\begin{") > _MOST_ENVIRONMENTS:
        return f"<pre>{html.escape(source)}</pre>"
    return MarkdownWithMath(renderer=_Renderer(escape=False)).render(source)


def _formula(latex: str, display: str = "block") -> str:
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
        return _formula(body)

    def inline_math(self, body: str) -> str:
        return _formula(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return _formula(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def block_mermaidjs(self, code: str) -> str:
        return f"<pre>{html.escape(code.strip())}</pre>"

    def _embed_image_or_attachment(self, src: str) -> str:
        return src

    def link(self, text: str, url: str, title: str | None = None) -> str:
        # The page of another notebook of the run lies beside this one.
        if not urlsplit(url).scheme:
            url = re.sub(r"\.ipynb(?=$|#)", ".html", url)
        return super().link(text, url, title)


def _widget_states(metadata: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the last state of each widget by its number, from a notebook's metadata."""
    try:
        kept = metadata["widgets"][_WIDGET_STATE]["state"]
        return {str(number): dict(model["state"]) for number, model in kept.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _widget_text(states: Mapping[str, Mapping[str, Any]], view: object, deep: int = 0) -> str:
    """Return the texts, values and bars of a widget and of the widgets in it.

    ``view`` is the content of an output, ``{"model_id": …}``, or a widget's number.
    """
    number = view.get("model_id") if isinstance(view, Mapping) else view
    state = states.get(str(number).removeprefix("IPY_MODEL_"))
    if not state or deep > _DEEPEST_BOX:
        return ""
    children = state.get("children")
    if isinstance(children, list):
        between = "\n" if "VBox" in str(state.get("_model_name")) else " "
        return between.join(filter(None, (_widget_text(states, c, deep + 1) for c in children)))
    return " ".join(filter(None, (_without_tags(state.get("description")), _widget_value(state))))


def _widget_value(state: Mapping[str, Any]) -> str:
    if isinstance(state.get("outputs"), list):
        return "".join(_without_tags(output.get("text")) for output in state["outputs"])
    value = state.get("value")
    if "Progress" in str(state.get("_model_name")):
        try:
            low, high = float(state.get("min", 0)), float(state.get("max", 100))
            done = min(max((float(value) - low) / (high - low), 0), 1)
        except (TypeError, ValueError, ZeroDivisionError):
            return ""
        return "█" * round(_BAR * done) + "░" * round(_BAR * (1 - done))
    return _without_tags(value)


def _without_tags(value: object) -> str:
    text = "" if value is None else html.unescape(re.sub(r"<[^>]*>", "", str(value)))
    return re.sub(r"[\xa0\u2007]", " ", text).strip()
