"""What stands in a page, and that nothing in it acts: pages of outputs, without a kernel."""

import base64
import http.server
import json
import re
import threading
import time
from functools import partial
from pathlib import Path
from typing import ClassVar

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from support.browser import CHROMIUM, page_in_browser
from taxi_lib.results import left_aligned
from taxi_lib.runner.html.page import write_page

DOT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
NAMELESS = "<IPython.core.display.HTML object>"
SVG = "<svg xmlns='http://www.w3.org/2000/svg' width='9'><rect width='9' height='9'/></svg>"


def page_of(folder: Path, *cells: NotebookNode, **metadata: object) -> BeautifulSoup:
    return BeautifulSoup(text_of_page(folder, *cells, **metadata), "html.parser")


def text_of_page(folder: Path, *cells: NotebookNode, **metadata: object) -> str:
    """Write the page of some cells, which lie in a folder of their own beside a run's."""
    for name in ("beside", "run"):
        (folder / name).mkdir(exist_ok=True)
    path = folder / "run" / "01_test.ipynb"
    path.write_text(json.dumps(new_notebook() | {"cells": cells, "metadata": metadata}))
    notebook = nbformat.reads(path.read_text(), as_version=4)
    write_page(notebook, folder / "run" / "01_test.html", folder / "beside")
    return path.with_suffix(".html").read_text()


def shown(*bundles: dict, **metadata: object) -> NotebookNode:
    # Not by nbformat's functions, which check each against a schema.
    kind = {"output_type": "execute_result", "metadata": metadata, "execution_count": 1}
    return NotebookNode(new_code_cell("1"), outputs=[kind | {"data": data} for data in bundles])


def text_of(page: BeautifulSoup) -> str:
    return " ".join(page.body.get_text(" ").split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "seen"),
    [
        ({"text/vnd.mermaid": "</pre><script>x</script>", "text/plain": "graph"}, "graph"),
        ({"text/vnd.mermaid": "graph TD; A-->B"}, "graph TD; A-->B"),
        ({"application/javascript": "Bokeh.x()", "text/plain": "BOKEH"}, "BOKEH"),
        ({"application/vnd.plotly.v1+json": {"data": []}, "text/plain": "FIGURE"}, "FIGURE"),
        ({"application/vnd.plotly.v1+json": {}}, "an output of type application/vnd.plotly"),
        ({"application/json": {"a": [1]}, "text/plain": "<IPython.core.display.JSON object>"}, "a"),
        ({"text/html": "<div></div><script>drawIt()</script>", "text/plain": "PLOT"}, "PLOT"),
        ({"text/html": "<div></div><script>drawIt()</script>", "text/plain": NAMELESS}, "open the"),
        ({"text/html": "<b>kept</b><script>drawIt()</script>", "text/plain": NAMELESS}, "kept"),
        ({"text/html": "<iframe src='https://a.b/'></iframe>", "text/plain": "VIDEO"}, "VIDEO"),
        ({"text/html": "<style>#a {color: red}</style>ok", "text/plain": "no"}, "ok"),
        ({"text/html": "<select><option>drawIt()</select>", "text/plain": "CHOICE"}, "CHOICE"),
        ({"text/html": "a < b & c <", "text/plain": "no"}, "a < b & c <"),
        ({"text/html": "<div>" * 5000, "text/plain": "DEEP"}, "DEEP"),
        ({"text/html": ["<b>in", " lines</b>"]}, "in lines"),
        ({"text/latex": "$x^2$", "text/plain": "x**2"}, "x 2"),
        ({"text/latex": r"\broken{", "text/plain": "no"}, r"\broken{"),
        ({"text/markdown": "**bold** $y$", "text/plain": "no"}, "bold y"),
        ({"text/plain": "<__main__.Model object at 0x7f>"}, "<__main__.Model object at 0x7f>"),
    ],
    ids=lambda value: re.sub(r"\W+", " ", str(value))[:50],
)
def test_of_each_output_a_form_is_shown_that_needs_no_script(tmp_path: Path, data: dict, seen: str):
    page = page_of(tmp_path, shown(data))
    outputs = page.select(".jp-OutputArea-output")
    assert len(outputs) == 1 and seen in " ".join(outputs[0].get_text(" ").split())
    assert "drawIt" not in str(page) and not page.find_all("script")


def test_a_displayed_pipeline_is_its_text_without_its_script_and_style(tmp_path: Path):
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(Ridge())
    page = page_of(tmp_path, shown({"text/html": pipeline._repr_html_(), "text/plain": "Ridge()"}))
    assert text_of(page).endswith("Ridge()")
    assert not {word for word in ("function", "sk-", "var(") if word in text_of(page)}


def test_a_styled_table_keeps_its_colours_and_its_caption(tmp_path: Path):
    import pandas as pd

    table = pd.DataFrame({"a": [1, 2]}).style.highlight_max(color="lightgreen")
    table = table.set_caption("CAPTION").set_table_styles(
        [{"selector": "td", "props": "color: red"}]
    )
    page = page_of(tmp_path, shown({"text/html": table.to_html(), "text/plain": "no"}))
    assert page.caption.text == "CAPTION"
    own = page.find_all("style")[-1].text
    cell = page.select("td")[-1]["id"]
    assert re.search(rf"\.own-\d+ #{cell} {{background-color: lightgreen}}", own)
    assert re.search(r"\.own-\d+ #T_\w+ td {color: red}", own)


def test_a_left_aligned_table_is_so_in_its_page_heads_and_cells(tmp_path: Path):
    import pandas as pd

    table = left_aligned(pd.DataFrame({"step": ["count"], "message": ["too few"]})).hide()
    page = page_of(tmp_path, shown({"text/html": table.to_html(), "text/plain": "no"}))
    own = page.find_all("style")[-1].text
    assert re.search(r"\.own-\d+ #T_\w+ th {text-align: left}", own)
    cells = page.select("td")
    assert [cell.text for cell in cells] == ["count", "too few"]  # and no index
    assert all(re.search(rf"#{cell['id']}\b[^}}]*{{text-align: left}}", own) for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kept",
    [
        '<td style="text-align: right; background-color: #ff0000">1</td>',
        '<td style="background: linear-gradient(90deg, #d65f5f 50%, transparent 50%)">1</td>',
        '<td align="right" bgcolor="red" colspan="2">1</td>',
        *(f"<{tag}>1</{tag}>" for tag in "center u small kbd mark sub sup del ins s q".split()),
        "<figure><figcaption>1</figcaption></figure>",
        '<details open=""><summary>1</summary></details>',
        '<font color="red">1</font>',
    ],
)
def test_what_is_safe_stays_as_it_is(tmp_path: Path, kept: str):
    html = f"<table><tbody><tr>{kept}</tr></tbody></table>" if "<td" in kept else kept
    written = str(page_of(tmp_path, new_markdown_cell(html)))
    assert kept in written


@pytest.mark.parametrize(
    "style",
    [
        "position: fixed; top: 0",
        "background: url(https://evil.example/a.png)",
        "background-image: u\\72l(https://evil.example/a.png)",
        "background: image-set('https://evil.example/a.png' 1x)",
        "margin-top: -900px",
        "behavior: url(#x)",
        "color: red/**/;}body{display: none",
        "--x: url(https://evil.example)",
        "z-index: 9",
        "width: expression(alert(1))",
    ],
)
def test_a_style_that_loads_or_covers_something_is_left_out(tmp_path: Path, style: str):
    rule = f"<style>td {{{style}}} @import 'https://evil.example/a.css';</style><b>1</b>"
    page = page_of(
        tmp_path,
        shown({"text/html": f'<b style="{style}">1</b>'}, {"text/html": rule}),
        new_markdown_cell(f'<b style="{style}">1</b>'),
    )
    assert not [
        b["style"] for b in page.find_all("b") if b.get("style", "color: red") != "color: red"
    ]
    own = page.find_all("style")[-1].text
    assert "evil.example" not in str(page) and "fixed" not in own and "display: none" not in own


def test_pictures_have_their_size_and_their_description(tmp_path: Path):
    page = page_of(
        tmp_path,
        shown({"image/png": DOT}, **{"image/png": {"width": 30, "height": "50%", "alt": '"dot"'}}),
        shown({"image/svg+xml": SVG}),
        shown({"image/gif": "R0lGODlhAQABAAAAACw="}, width="1 onload=x", height="2em;"),
    )
    png, svg, gif = page.find_all("img")
    assert (png["width"], png["height"], png["alt"]) == ("30", "50%", '"dot"')
    assert svg["src"].startswith("data:image/svg+xml;base64,") and svg["alt"]
    assert gif["src"].startswith("data:image/gif") and set(gif.attrs) == {"alt", "src", "class"}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Make a notebook's folder with pictures in it, beside it, and led to from it."""
    beside = tmp_path / "beside"
    (beside / "plots").mkdir(parents=True)
    (beside / "plots" / "a map.png").write_bytes(base64.b64decode(DOT))
    (beside / "tiny.svg").write_text(SVG)
    (tmp_path / "outside.png").write_bytes(base64.b64decode(DOT))
    (beside / "link.png").symlink_to(tmp_path / "outside.png")
    (beside / "key.png").write_text("a secret")
    (beside / "large.png").write_bytes(base64.b64decode(DOT) + b"0" * 6_000_000)
    return beside


@pytest.mark.parametrize(
    "written",
    ["![x](plots/a%20map.png)", "<img src='plots/a map.png' width=30>", "![x](tiny.svg)"],
)
def test_pictures_beside_the_notebook_are_put_into_its_page(
    tmp_path: Path, pictures: Path, written: str
):
    prose = page_of(tmp_path, new_markdown_cell(written)).find("img")
    output = page_of(tmp_path, shown({"text/markdown": written})).find("img")
    for image in (prose, output):
        assert image["src"].startswith("data:image/")
        assert image.get("width") == ("30" if "width" in written else None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "address",
    [
        *("../outside.png", "link.png", "key.png", "large.png", "gone.png", "plots", ""),
        *(
            "/etc/hostname",
            "file:///etc/hostname",
            "https://evil.example/a.png",
            "//evil.example/a",
        ),
        *("data:text/html;base64,PGI+", "javascript:alert(1)", "attachment:gone.png", "http://["),
        "\x00",
    ],
)
def test_any_other_picture_leaves_its_description(tmp_path: Path, pictures: Path, address: str):
    cell = new_markdown_cell(f'<img alt="A MAP" src="{address}" srcset="https://evil.example 2x">')
    page = page_of(tmp_path, cell)
    assert not page.find_all("img") and "[picture: A MAP]" in text_of(page)
    assert "evil.example" not in str(page)


def test_pictures_pasted_into_prose_are_shown(tmp_path: Path):
    cell = new_markdown_cell("![a](attachment:a%20b.png) <img src='attachment:a b.png'>")
    cell.attachments = {"a b.png": {"image/png": DOT}}
    assert [i["src"] for i in page_of(tmp_path, cell).find_all("img")] == [
        f"data:image/png;base64,{DOT}"
    ] * 2


def test_a_page_begins_with_a_list_of_its_sections(tmp_path: Path):
    titles = ["What is read?", "Is `a < b`?", "What came out?"]
    sections = [new_markdown_cell(f"## {title}\n\nText.") for title in titles]
    page = page_of(tmp_path, new_markdown_cell("# 1. Test"), *sections)
    links = page.nav.find_all("a")
    assert [link.text for link in links] == ["What is read?", "Is a < b?", "What came out?"]
    assert all(page.find(id=link["href"].removeprefix("#")).name == "h2" for link in links)


def test_a_page_of_few_sections_needs_no_list_of_them(tmp_path: Path):
    assert not page_of(tmp_path, new_markdown_cell("# 1. Test\n\n## One\n\n## Two")).nav


@pytest.mark.parametrize(
    ("address", "leads_to"),
    [
        ("02_next.ipynb", "02_next.html"),
        ("02_next.ipynb#Why?", "02_next.html#Why?"),
        ("https://example.org/a.ipynb", "https://example.org/a.ipynb"),
    ],
)
def test_links_between_notebooks_lead_to_their_pages(tmp_path: Path, address: str, leads_to: str):
    page = page_of(tmp_path, new_markdown_cell(f"Next: [2. Next]({address})"))
    assert page.find("a", string="2. Next")["href"] == leads_to


def test_mathematics_is_drawn_by_the_browser_itself(tmp_path: Path):
    prose = "# Of $x^2$\n\n$$\\frac{a}{b}$$\n\n\\begin{align}c&=d\\end{align} and $\\broken{$"
    page = page_of(tmp_path, new_markdown_cell(prose))
    assert page.select("h1 math msup") and page.select("math mfrac") and page.select("math mtable")
    assert "\\broken{" in page.find("code").text


def test_tables_and_tasks_in_prose_look_as_in_jupyterlab(tmp_path: Path):
    page = page_of(tmp_path, new_markdown_cell("- [x] done\n- [ ] open\n\n|a|b|\n|-|-:|\n|1|2|"))
    assert "☑ done ☐ open" in text_of(page)
    assert page.select("td")[1]["style"] == "text-align: right"


def test_a_widget_is_shown_as_it_was_at_its_end(tmp_path: Path):
    def model(kind: str, **state: object) -> dict:
        return {"state": {"_model_name": kind, **state}}

    states = {
        "box": model("HBoxModel", children=["IPY_MODEL_text", "IPY_MODEL_bar", "IPY_MODEL_box"]),
        "text": model("HTMLModel", value="rows:&nbsp;100%"),
        "bar": model("FloatProgressModel", value=50.0, min=0.0, max=50.0),
        "bad": {"state": {"_model_name": "IntProgressModel", "value": "x"}},
    }
    metadata = {"widgets": {"application/vnd.jupyter.widget-state+json": {"state": states}}}
    views = [
        {"application/vnd.jupyter.widget-view+json": {"model_id": name}, "text/plain": "AS BEGUN"}
        for name in ("box", "gone", "bad")
    ]
    said = text_of(page_of(tmp_path, shown(*views), **metadata))
    assert "rows: 100% " + "█" * 20 in said and said.count("AS BEGUN") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "metadata",
    [
        {"tags": None},
        {"tags": ["a' onload=x"]},
        {"magics_language": "'><script>x</script>"},
        {"transient": {"remove_source": "x"}},
    ],
    ids=str,
)
def test_whatever_a_notebook_says_of_itself_its_page_is_written(tmp_path: Path, metadata: dict):
    cell = shown({"text/plain": None, "text/html": {"a": 1}}, {}, **{"text/html": "x"})
    cell.metadata, cell.id = NotebookNode(metadata), "x onload=1"
    cell.outputs += [
        {"output_type": "error", "ename": "E<b>", "evalue": "v", "traceback": None},
        {
            "output_type": "error",
            "ename": "E",
            "evalue": "v",
            "traceback": ["\x1b[31m<b>"] * 20_000,
        },
        {"output_type": "stream", "name": "<b>", "text": ["a", "b"]},
    ]
    page = page_of(
        tmp_path,
        cell,
        title="</title><script>x</script>",
        language_info={"name": "<b>", "pygments_lexer": 3},
        kernelspec={"name": "'><script>", "display_name": None},
        widgets="x",
        authors=[{"name": "<script>"}],
    )
    assert not page.find_all("script") and "E<b>: v" in text_of(page)
    assert not [tag for tag in page.find_all(True) if any(a.startswith("on") for a in tag.attrs)]


DO = "window.pwned='{}';fetch('/asked/WHO/{}')"
ACTS = [
    f"<script>{DO}</script>",
    f'<img src=x onerror="{DO}">',
    "<img src=/asked/WHO/img srcset='/asked/WHO/srcset 2x'>",
    f'<svg onload="{DO}"><script>{DO}</script><image href=/asked/WHO/svg /></svg>',
    f'<iframe srcdoc="<script>parent.{DO}</script>"></iframe>',
    "<iframe src=/asked/WHO/frame></iframe><embed src=/asked/WHO/embed>",
    "<object data=/asked/WHO/object></object><link rel=stylesheet href=/asked/WHO/link>",
    "<style>@import '/asked/WHO/import'; b {background: url(/asked/WHO/rule)}</style><b>b</b>",
    "<b style=\"background: url('/asked/WHO/style')\">b</b><body background=/asked/WHO/body>",
    "<video autoplay src=/asked/WHO/video poster=/asked/WHO/poster></video>",
    "<audio autoplay src=/asked/WHO/audio></audio><input type=image src=/asked/WHO/input>",
    f'<details open ontoggle="{DO}">x</details>',
    f'<input autofocus onfocus="{DO}"><select autofocus onfocus="{DO}"></select>',
    f'<math><mtext><table><mglyph><style><!--</style><img title="--><img src=1 onerror={DO}>">',
    f'<noscript><p title="</noscript><img src=x onerror={DO}>"></noscript>',
    f'<textarea><img title="</textarea><img src=x onerror={DO}>"></textarea>',
    f"<form><math><mtext></form><form><mglyph><style></math><img src onerror={DO}>",
    f"<a title='x<img src=x onerror={DO}>' href=\"javascript:{DO}\">a</a>",
    f"<b <script>{DO}</script>>&lt;script>{DO}&lt;/script></b>",
    f"<table background=/asked/WHO/table><td style=\"x:'\"onmouseover='{DO}'>x</table>",
    f"</main></body></html><script>{DO}</script><!--",
    "<base href=/asked/WHO/base/><p><img src=relative.png></p>",
    "<meta http-equiv=refresh content='0; url=/asked/WHO/meta'>",
]


def hostile_cells() -> list[NotebookNode]:
    """Return cells that try each of these in every place that a notebook has for it."""
    acts = [act.replace("{}", str(number)) for number, act in enumerate(ACTS)]
    kinds = "text/html text/markdown text/vnd.mermaid image/svg+xml text/latex text/plain".split()
    outputs = [{kind: act} for act in acts for kind in kinds]
    widths = [f"1 onload={act}" for act in acts[:2]]
    images = [shown({"image/png": DOT}, **{"image/png": {"width": w, "alt": w}}) for w in widths]
    script = acts[0].removeprefix("<script>").removesuffix("</script>")
    return [
        shown(*outputs, {"application/javascript": script}, {"image/png": acts[1]}),
        *images,
        *(new_markdown_cell(act) for act in acts),
        NotebookNode(new_markdown_cell(f"```mermaid\n</pre>{acts[0]}\n```"), cell_type="raw"),
        new_markdown_cell(f"$\\text{{{acts[0]}}}$ [a](javascript:{script}) ![a](/asked/WHO/md)"),
    ]


class Counting(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and notes what else is asked for."""

    asked: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        if "/asked/" in self.path:
            self.asked.add(self.path.split("/")[2])
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


# Looks into frames: a page, the same without its policy, and the same things as they were written.
WATCH = """<iframe src="run/01_test.html"></iframe><iframe src="bare.html"></iframe>
<iframe src="raw.html"></iframe><p id="seen"></p>
<script>setInterval(() => { document.getElementById("seen").textContent =
  [0, 1, 2].map(number => typeof frames[number].pwned).join(" ") }, 500)</script>"""


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
def test_a_browser_does_nothing_that_a_page_says(tmp_path: Path):
    written = text_of_page(tmp_path, *hostile_cells(), widgets={"x": ACTS[0]}, title=ACTS[0])
    written = written.replace("WHO", "page")
    (tmp_path / "run" / "01_test.html").write_text(written)
    assert written.count("Content-Security-Policy") == 1
    (tmp_path / "bare.html").write_text(written.replace("Content-Security-Policy", "x"))
    (tmp_path / "raw.html").write_text("".join(ACTS[:-1]).replace("WHO", "raw"))
    (tmp_path / "watch.html").write_text(WATCH)
    handler = partial(Counting, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        watched = page_in_browser(f"http://127.0.0.1:{server.server_port}/watch.html", tmp_path)
        server.shutdown()
    assert '<p id="seen">undefined undefined string</p>' in watched
    assert Counting.asked == {"raw"}


HARD = {
    "table": "<table>" + "<tr><td>1<td>&amp;2" * 25_000,
    "deep": "<div>" * 90_000,
    "bold": "".join(f"<b id={n}><p>" for n in range(30_000)),
    "unknown": "<x>" * 60_000 + "<p></p>" * 20_000,
    "quotes": "<a ='<a =\"" * 40_000,
    "ampersands": "&" * 45_000,
    "comments": "<!--" * 120_000,
    "rules": "<style>" + "@a{b{" * 90_000,
    "attributes": "<b " + "a=1 " * 110_000 + ">",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HARD)
def test_no_html_takes_long_to_clean(tmp_path: Path, name: str):
    cell = shown({"text/html": HARD[name], "text/plain": "PLAIN"})
    started = time.process_time()
    page = text_of_page(tmp_path, cell)
    assert time.process_time() - started < 5  # it is about one; it was up to a minute
    assert "</main>" in page


@pytest.mark.slow
def test_a_page_of_very_many_outputs_stays_small_and_says_what_it_left_out(tmp_path: Path):
    bundles = [{"text/html": f"<b>{number}</b>"} for number in range(15_000)]
    page = text_of_page(tmp_path, shown({"text/plain": "x" * 3_000_000}, *bundles))
    assert len(page) < 6_000_000
    assert "2,500,000 characters left out" in page
    assert re.search(r"… [\d,]+ more outputs: open the notebook", page)
