"""The HTML copy of an executed notebook."""

from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter, TemplateExporter
from nbconvert.filters.highlight import Highlight2HTML

from taxi_lib.atomic_files import write_text
from taxi_lib.runner.html.pictures import Pictures
from taxi_lib.runner.html.rendering import PICTURE, Shown
from taxi_lib.runner.html.sanitiser import whole

# Even if something got past the sanitiser: no script, no frame, no address is ever asked.
_POLICY = (
    "default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
# nbconvert's page without its scripts; its body goes through the sanitiser as a whole.
_TEMPLATE = f"""
{{%- extends 'lab/index.html.j2' -%}}
{{%- block html_head_js -%}}
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
{{%- endblock -%}}
{{%- block jupyter_widgets -%}}{{%- endblock -%}}
{{%- block html_head_js_mathjax -%}}{{%- endblock -%}}
{{%- block html_head_js_mermaidjs -%}}{{%- endblock -%}}
{{%- block html_head_css -%}}
<style>
/* nbconvert's own breaks long lines of output in the middle of a word */
div pre {{word-break: normal !important; overflow-wrap: anywhere}}
/* what an output holds stays within it, whatever its style says */
.jp-OutputArea-output, .jp-MarkdownOutput {{contain: paint}}
{{{{ resources.own_style }}}}</style>
{{%- endblock -%}}
{{%- block body_loop -%}}{{{{ super() | whole }}}}{{%- endblock -%}}
{{%- block data_png -%}}
<div class="jp-RenderedImage jp-OutputArea-output {{{{ extra_class }}}}">
{{{{ output.data['{PICTURE}'] }}}}</div>
{{%- endblock -%}}
{{%- block rawcell scoped -%}}{{{{ cell.source }}}}{{%- endblock -%}}
{{%- block footer -%}}</html>{{%- endblock -%}}
"""


def write_page(notebook: Path, page: Path, beside: Path) -> None:
    """Write an executed notebook as a page that any browser shows, with nothing that can act.

    Parameters
    ----------
    notebook : pathlib.Path
        Executed, or stopped half-way.
    page : pathlib.Path
        The HTML file.
    beside : pathlib.Path
        The folder of the notebook that was executed: pictures beside it are put into the page.
    """
    shown = Shown(nbformat.read(notebook, as_version=4), Pictures(beside, notebook.parent))
    resources = {"metadata": {"name": notebook.stem}, "own_style": shown.style}
    body, _ = _Exporter().from_notebook_node(shown.notebook, resources)
    write_text(page, body)


class _Exporter(HTMLExporter):
    """nbconvert's, for cells that are harmless already; it does not read the whole page again."""

    def __init__(self) -> None:
        super().__init__(
            raw_template=_TEMPLATE,
            default_preprocessors=["nbconvert.preprocessors.HighlightMagicsPreprocessor"],
            optimistic_validation=True,  # once, not after each step
        )
        for name in ("markdown2html", "clean_html", "strip_files_prefix"):
            self.register_filter(name, _as_it_is)
        self.register_filter("whole", whole)
        self.register_filter("filter_data_type", _as_it_is)  # there is one
        self.register_filter("highlight_code", Highlight2HTML("ipython3", parent=self))

    def from_notebook_node(
        self, notebook: nbformat.NotebookNode, resources: dict[str, Any], **_: object
    ) -> tuple[str, dict[str, Any]]:
        return TemplateExporter.from_notebook_node(self, notebook, self._init_resources(resources))


def _as_it_is(value: object) -> object:
    return value
