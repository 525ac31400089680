"""The HTML copy of an executed notebook."""

from functools import cache
from pathlib import Path

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
/* a line of Prefect's log is an output that would not wrap */
.jp-RenderedHTML pre {{white-space: pre-wrap !important}}
/* code that an output shows, such as a function's source */
.jp-OutputArea-output pre {{font-family: var(--jp-code-font-family)}}
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

    Pictures that lie ``beside`` the notebook's source, or beside the page, are put into it.
    """
    rendered = RenderedNotebook(notebook, Pictures(beside, page.parent))
    exporter = _exporter()
    resources = {"metadata": {"name": page.stem}, "own_style": rendered.style}
    # HTMLExporter's own method would parse the whole page once more.
    body, _ = TemplateExporter.from_notebook_node(
        exporter, rendered.notebook, exporter._init_resources(resources)
    )
    write_text(page, body)


@cache  # compiling the templates takes 0.1 s
def _exporter() -> HTMLExporter:
    # The cells are harmless already, each output in one form.
    done = ("markdown2html", "clean_html", "strip_files_prefix", "filter_data_type")
    own = {"clean": clean, "highlight_code": Highlight2HTML("ipython3")}
    return HTMLExporter(
        raw_template=_TEMPLATE,
        default_preprocessors=["nbconvert.preprocessors.HighlightMagicsPreprocessor"],
        optimistic_validation=True,  # once, not after each step
        filters=dict.fromkeys(done, lambda value: value) | own,
    )
