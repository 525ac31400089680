"""What a page shows of a notebook: of each output one form that a browser draws by itself."""

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from nbformat import NotebookNode

from taxi_lib.runner.html import prose, widgets
from taxi_lib.runner.html.pictures import Pictures
from taxi_lib.runner.html.sanitiser import Fragment
from taxi_lib.runner.screen import LONGEST, fold, settled, shortened

_MOST = 4_000_000  # characters of a page, without its pictures
_MOST_IN_PICTURES = 40_000_000
_LONGEST_ERROR = 50_000  # characters of a traceback
_EACH = 300  # characters that nbconvert writes around an output
PICTURE = "image/png"  # where nbconvert's template finds the picture, of whatever kind
_PICTURES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp")
_SIZE = re.compile(r"\d{1,5}(?:\.\d+)?(?:%|px)?")
_NAMELESS = re.compile(r"<[\w.]+ object(?: at 0x\w+)?>")  # what IPython's own classes say
_BASE64 = re.compile(r"data:image/[\w+]+;base64,[\w+/=\s]*")
_NO_DESCRIPTION = "No description has been provided for this image"


class Shown:
    """A notebook as its page shows it.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        Executed, or stopped half-way; whatever its outputs and metadata hold.
    pictures : Pictures
        Finds what prose and outputs name.

    Attributes
    ----------
    notebook : nbformat.NotebookNode
        Its cells, with prose and outputs as harmless HTML or plain text.
    style : str
        The style rules of the outputs, each for its own output.
    """

    def __init__(self, notebook: NotebookNode, pictures: Pictures) -> None:
        self.pictures, self.style, self.number = pictures, "", 0
        self.left, self.left_for_pictures = _MOST, _MOST_IN_PICTURES
        self.states = widgets.states_of(notebook.metadata)
        cells = [self._cell(cell) for cell in notebook.cells]
        self.notebook = NotebookNode(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)

    def _cell(self, cell: NotebookNode) -> NotebookNode:
        tags = cell.get("metadata", {}).get("tags")
        shown = NotebookNode(
            cell_type=cell.cell_type,
            id=re.sub(r"[^a-zA-Z0-9_-]", "", str(cell.get("id", "")))[:64] or "cell",
            metadata=NotebookNode(tags=[str(t) for t in tags] if isinstance(tags, list) else []),
            source=shortened(_text(cell.source)),
        )
        if cell.cell_type == "code":
            count = cell.get("execution_count")
            shown.execution_count = count if isinstance(count, int) else None
            shown.outputs = self._outputs(cell.get("outputs") or [])
        elif cell.cell_type == "markdown":
            written = self._fragment(prose.as_html(_text(cell.source)), cell.get("attachments"))
            shown.source = written if isinstance(written, str) else written.html
        else:
            shown.source = f"<pre>{html.escape(shown.source)}</pre>"
        return shown

    def _outputs(self, outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
        shown, left_out = [], 0
        for output in outputs:
            one = self._output(output)
            texts = [one.get("text", ""), *one.get("traceback", []), *one.get("data", {}).values()]
            cost = _EACH + sum(map(_cost, texts))
            if cost > self.left:
                left_out += 1
                continue
            self.left -= cost
            shown.append(one)
        if left_out:
            sentence = f"[… {left_out:,} more outputs: open the notebook …]\n"
            shown.append(_output("stream", name="stdout", text=sentence))
        return shown

    def _output(self, output: NotebookNode) -> NotebookNode:
        kind = output.get("output_type")
        if kind == "stream":
            name = "stderr" if output.get("name") == "stderr" else "stdout"
            return _output(kind, name=name, text=shortened(settled(fold(_text(output.text)))))
        if kind == "error":
            lines = output.get("traceback")
            lines = [_text(line) for line in lines] if isinstance(lines, list) else []
            last = f"{output.get('ename')}: {output.get('evalue')}"
            text = "\n".join(lines or [last])
            if len(text) > _LONGEST_ERROR:
                text = f"{text[:_LONGEST_ERROR]}\n[… {len(text):,} characters: see the notebook …]"
            return _output(kind, ename="", evalue="", traceback=[text])
        kind = kind if kind == "execute_result" else "display_data"
        data, told = (output.get(n) for n in ("data", "metadata"))
        form, content = self._form(data if isinstance(data, Mapping) else {}, told)
        counted = {"execution_count": None} if kind == "execute_result" else {}
        return _output(kind, data={form: content}, **counted)

    def _form(self, data: Mapping[str, Any], told: object) -> tuple[str, str]:
        """Return the form in which an output is shown, and its content."""
        plain = _text(data.get("text/plain", ""))
        if widgets.VIEW in data:
            plain = widgets.as_text(self.states, data[widgets.VIEW]) or plain
            data = {"text/plain": plain}
        if set(data) <= {"text/plain"}:
            return "text/plain", shortened(plain)
        written = self._fragment(_text(data["text/html"])) if "text/html" in data else None
        if isinstance(written, Fragment) and not (written.live or written.is_empty):
            return "text/html", self._with_style(written)
        drawn = self._other_form(data, told)
        if drawn:
            return drawn
        if plain and not _NAMELESS.fullmatch(plain.strip()):
            return "text/plain", shortened(plain)
        return self._last_form(data, written)

    def _other_form(self, data: Mapping[str, Any], told: object) -> tuple[str, str] | None:
        if "text/markdown" in data:
            written = self._fragment(prose.as_html(_text(data["text/markdown"])))
            if isinstance(written, Fragment) and not written.is_empty:
                return "text/markdown", written.html
        if "text/latex" in data:
            return "text/html", Fragment(prose.formula(_text(data["text/latex"])), "", _none).html
        for kind in _PICTURES:
            if kind in data:
                content = _text(data[kind])
                if len(content) < self.left_for_pictures:
                    self.left_for_pictures -= len(content)
                    return PICTURE, _picture(kind, content, told)
        return None

    def _last_form(
        self, data: Mapping[str, Any], written: Fragment | str | None
    ) -> tuple[str, str]:
        if isinstance(written, str):
            return "text/html", written
        if written and not (written.is_empty and written.live):
            return "text/html", self._with_style(written)
        for kind in ("text/vnd.mermaid", "application/json"):
            if kind in data:
                return "text/plain", shortened(_text(data[kind]))
        kinds = ", ".join(kind for kind in data if kind != "text/plain")
        return "text/plain", f"[an output of type {kinds}: open the notebook to see it]"

    def _fragment(self, source: str, attachments: object = None) -> Fragment | str:
        """Return HTML made harmless, or the sentence that stands for what is too much."""
        length = len(_BASE64.sub("", source))
        if length + 10 * source.count("&") > LONGEST or len(source) > self.left_for_pictures:
            return f"<p>[… {length:,} characters of HTML: open the notebook …]</p>"
        pasted = attachments if isinstance(attachments, Mapping) else {}
        self.number += 1
        try:
            return Fragment(source, f".own-{self.number}", lambda name: self._find(name, pasted))
        except ValueError as error:
            return f"<p>[… HTML with {error}: open the notebook …]</p>"

    def _find(self, name: str, pasted: Mapping) -> str | None:
        try:
            return self.pictures.find(name, pasted)
        except (ValueError, TypeError, AttributeError):  # an address or a cell that is none
            return None

    def _with_style(self, written: Fragment) -> str:
        if not written.style:
            return written.html
        self.style += written.style
        return f'<div class="{written.scope[1:]}">{written.html}</div>'


def _output(kind: str, **parts: object) -> NotebookNode:
    """Return an output; nbformat's own function would check each against a schema."""
    return NotebookNode(output_type=kind, metadata=NotebookNode(), **parts)


def _picture(kind: str, content: str, told: object) -> str:
    """Return an image element, with what its output says of its size and what it shows."""
    told = told if isinstance(told, Mapping) else {}
    own = told.get(kind) if isinstance(told.get(kind), Mapping) else {}
    said = {k: v for k, v in (*told.items(), *own.items()) if isinstance(v, str | int | float)}
    code = "".join(content.split())
    if kind == "image/svg+xml":
        code = base64.b64encode(content.encode("utf-8", "replace")).decode()
    sizes = "".join(
        f' {name}="{said[name]}"'
        for name in ("width", "height")
        if _SIZE.fullmatch(str(said.get(name, "")))
    )
    needs = said.get("needs_background")
    names = [f"jp-needs-{needs}-background"] if needs in ("light", "dark") else []
    names += ["jp-mod-unconfined"] if said.get("unconfined") else []
    alt = html.escape(str(said.get("alt") or _NO_DESCRIPTION))
    source = html.escape(f"data:{kind};base64,{code}")
    return f'<img alt="{alt}" src="{source}" class="{" ".join(names)}"{sizes}>'


def _none(_: str) -> None:
    return None


def _cost(text: str) -> int:
    if text.startswith("<img"):
        return 0  # a picture: counted by itself
    return len(_BASE64.sub("", text)) + 5 * sum(map(text.count, "&<>"))


def _text(value: object) -> str:
    """Return a part of a notebook as text: a list of lines, JSON, or what ought to be a text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return "" if value is None else json.dumps(value, indent=1, default=str)
