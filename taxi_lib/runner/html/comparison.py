"""The page of two runs side by side: what differs, the code, and the figures of both."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taxi_lib.runner.compare import Compared
from taxi_lib.runner.evidence import Evidence
from taxi_lib.runner.html import plain


def comparison_page(before: Path, now: Path, notebooks: list[Compared]) -> str:
    """Return the page: the notebooks that differ, then the names of those that are alike."""
    return plain.page(f"{before.name} and {now.name}", _parts(before, now, notebooks))


def _parts(before: Path, now: Path, notebooks: list[Compared]) -> Iterator[str]:
    yield f"<p>Before: <code>{plain.text(before)}</code><br>Now: <code>{plain.text(now)}</code></p>"
    for each in (one for one in notebooks if one.changes or one.figures):
        yield f"<h2>{plain.text(each.name)}</h2>"
        cells = ([plain.text(value) for value in row.values()] for row in each.rows())
        yield plain.table(("", "before", "now", "difference"), cells)
        if any(change.what == "its code" for change in each.changes):
            yield plain.code(code_differences(each.before, each.now))
        for place, was, new in each.figures:
            sides = "".join(plain.picture(png, f"{place} of {each.name}") for png in (was, new))
            yield f'<p>{plain.text(place)}</p><div class="sides">{sides}</div>'
    alike = [one.name for one in notebooks if not (one.changes or one.figures)]
    yield f'<p class="quiet">No difference: {plain.text(", ".join(alike) or "none")}.</p>'


def code_differences(before: Evidence, now: Evidence) -> str:
    """Return which lines of which code cells differ, in nbdime's words."""
    from nbdime import diff_notebooks  # takes 0.3 s, and is not always needed
    from nbdime.prettyprint import PrettyPrintConfig, pretty_print_notebook_diff

    was, new = _code(before), _code(now)
    words = io.StringIO()
    config = PrettyPrintConfig(out=words, use_git=False, use_diff=False, use_color=False)
    pretty_print_notebook_diff("before", "now", was, diff_notebooks(was, new), config)
    return words.getvalue()


def _code(side: Evidence) -> Any:  # noqa: ANN401 (a notebook of nbformat)
    """Return a notebook of the code cells alone, without what papermill has put in."""
    from nbformat.v4 import new_code_cell, new_notebook

    cells = [
        new_code_cell("".join(cell["source"]), id=cell.get("id") or f"cell-{number}")
        for number, cell in enumerate(side.cells())
        if cell["cell_type"] == "code"
        and "injected-parameters" not in cell.get("metadata", {}).get("tags", [])
    ]
    return new_notebook(cells=cells)
