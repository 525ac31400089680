"""The HTML copy of an executed notebook."""

from functools import cache
from pathlib import Path
from typing import Any

from nbconvert import HTMLExporter, TemplateExporter
from nbconvert.filters.highlight import Highlight2HTML
from nbformat import NotebookNode

from taxi_lib.atomic_files import write_text
from taxi_lib.runner.html.pictures import Pictures
from taxi_lib.runner.html.rendering import PICTURE, RenderedNotebook
from taxi_lib.runner.html.sanitiser import clean

# If something got past the sanitiser, a browser would still run no script, open no frame and ask
# no address.
_POLICY = (
    "default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
_NO_DESCRIPTION = "No description has been provided for this image"
# nbconvert's page without its scripts. The whole body goes through the sanitiser once more.
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
/* an output stays within its place, whatever its style says */
.jp-OutputArea-output, .jp-MarkdownOutput {{contain: paint}}
{{{{ resources.own_style }}}}</style>
{{%- endblock -%}}
{{%- block body_loop -%}}{{{{ super() | clean }}}}{{%- endblock -%}}
{{%- block data_png -%}}
{{%- set about = output.metadata -%}}
<div class="jp-RenderedImage jp-OutputArea-output {{{{ extra_class }}}}">
<img alt="{{{{ (about.alt or '{_NO_DESCRIPTION}') | escape }}}}"
 src="{{{{ output.data['{PICTURE}'] | escape }}}}"
 width="{{{{ about.width | escape }}}}" height="{{{{ about.height | escape }}}}"
 class="{{%- if about.needs_background in ['light', 'dark'] -%}}
 jp-needs-{{{{ about.needs_background }}}}-background
 {{%- endif %}}{{%- if about.unconfined %}} jp-mod-unconfined{{% endif %}}"></div>
{{%- endblock -%}}
{{%- block rawcell scoped -%}}{{{{ cell.source }}}}{{%- endblock -%}}
{{%- block footer -%}}</html>{{%- endblock -%}}
"""


def write_page(notebook: NotebookNode, page: Path, beside: Path) -> None:
    """Write a notebook as a page that any browser shows, with nothing in it that can act.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        Executed, or stopped half-way.
    page : pathlib.Path
        The HTML file.
    beside : pathlib.Path
        The folder of the notebook that was executed. Pictures there, or beside the page, are put
        into the page.
    """
    rendered = RenderedNotebook(notebook, Pictures(beside, page.parent))
    resources = {"metadata": {"name": page.stem}, "own_style": rendered.style}
    body, _ = _exporter().from_notebook_node(rendered.notebook, resources)
    write_text(page, body)


class _Exporter(HTMLExporter):
    """nbconvert's exporter for cells that are harmless already: it does not clean them again."""

    def __init__(self) -> None:
        super().__init__(
            raw_template=_TEMPLATE,
            default_preprocessors=["nbconvert.preprocessors.HighlightMagicsPreprocessor"],
            optimistic_validation=True,  # once, not after each step
        )
        # Each output has one form already: filter_data_type has nothing to choose.
        for name in ("markdown2html", "clean_html", "strip_files_prefix", "filter_data_type"):
            self.register_filter(name, _unchanged)
        self.register_filter("clean", clean)
        self.register_filter("highlight_code", Highlight2HTML("ipython3", parent=self))

    def from_notebook_node(
        self, notebook: NotebookNode, resources: dict[str, Any], **_: object
    ) -> tuple[str, dict[str, Any]]:
        return TemplateExporter.from_notebook_node(self, notebook, self._init_resources(resources))


@cache  # compiling the templates takes 0.1 s
def _exporter() -> _Exporter:
    return _Exporter()


def _unchanged(value: object) -> object:
    return value
