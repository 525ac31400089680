"""Pages of our own: the list of a run's notebooks, and two runs beside each other.

They need no script, no network and no server, and all that comes from a run is escaped.
"""

from collections.abc import Iterable
from html import escape

from taxi_lib.runner.console import printable

_STYLE = """
:root {color-scheme: light dark}
body {font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem}
h1 {font-size: 1.5rem} h2 {font-size: 1.15rem; margin-top: 2rem}
table {border-collapse: collapse; width: 100%} th {text-align: left; font-weight: 600}
th, td {padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8885; vertical-align: top}
td.number {text-align: right; font-variant-numeric: tabular-nums}
pre {background: #8881; padding: .6rem .8rem; overflow-x: auto; white-space: pre-wrap}
img {max-width: 100%; background: white} figure {margin: 0}
.sides {display: grid; grid-template-columns: 1fr 1fr; gap: 1rem} .quiet {opacity: .7}
.status {border-radius: .3rem; padding: 0 .4rem; border: 1px solid currentColor}
.failed {color: #c0392b} .skipped {color: #a06000} .completed {color: #1e7d46}
"""
_POLICY = "default-src 'none'; img-src data: 'self'; style-src 'unsafe-inline'; base-uri 'none'"


def page(title: str, parts: Iterable[str]) -> str:
    """Return a page with a title, and parts that are HTML already."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{text(title)}</title><style>{_STYLE}</style>"
        f"<body><h1>{text(title)}</h1>{''.join(parts)}</body></html>\n"
    )


def text(value: object) -> str:
    """Return a value as text that a page shows as it is."""
    return escape(printable(str(value)))


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table whose cells are HTML already; those that begin with a digit are numbers."""
    head = "".join(f"<th>{text(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(content: str) -> str:
    kind = ' class="number"' if content[:1].isdigit() and len(content) < 12 else ""
    return f"<td{kind}>{content}</td>"


def status(word: str) -> str:
    """Return a status as a label, which reads without its colour as well."""
    return f'<span class="status {text(word)}">{text(word)}</span>'


def code(source: str) -> str:
    """Return code, or another text with its line breaks."""
    return f"<pre>{text(source)}</pre>"


def picture(png: str, about: str) -> str:
    """Return a picture that the page holds itself, from PNG in base64."""
    if not png:
        return '<p class="quiet">no figure</p>'
    return f'<figure><img alt="{text(about)}" src="data:image/png;base64,{text(png)}"></figure>'
