"""Write the last results into ``docs/performance.md``: ``python -m benchmarks.page``.

Only the part between the two marks is written, and the picture beside the page.
"""

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.paired import MEASURES, Row, results_file
from taxi_lib.atomic_files import write_bytes, write_text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
PICTURE = PAGE.with_suffix(".svg")
MARKS = ("<!-- python -m benchmarks.page: begin -->", "<!-- python -m benchmarks.page: end -->")
# In percent, before a measure began: other programs took part of what it measured.
TOO_BUSY = 20


def read_results() -> dict[str, dict[str, Any]]:
    """Return the last results of the measures, or refuse some that were disturbed."""
    files = {name: results_file(name) for name in MEASURES}
    found = {name: json.loads(f.read_text()) for name, f in files.items() if f.exists()}
    if not found:
        sys.exit(f"There are no results yet: run python -m benchmarks {MEASURES[0]}.")
    for name, results in found.items():
        if results["busy"] > TOO_BUSY:
            sys.exit(
                f"The machine was {results['busy']:.0f} % busy with other things when {name} was "
                f"measured: run python -m benchmarks {name} again when it is idle."
            )
        results["rows"] = [Row(**row) for row in results["rows"]]
    return found


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the table, a row for each comparison, and below it where and when it was measured."""
    lines = [
        "| what | seconds | against | seconds | compared | at most | |",
        "|---|--:|---|--:|--:|--:|---|",
    ]
    lines += [_line(row) for measured in results.values() for row in measured["rows"]]
    places: dict[str, list[str]] = {}
    for name, measured in results.items():
        place = f"{measured['machine']}, on {measured['when'][:10]}"
        places.setdefault(place, []).append(f"`{name}`")
    where = [f"Measured with {place}: {', '.join(names)}." for place, names in places.items()]
    if missing := [f"`{name}`" for name in MEASURES if name not in results]:
        where.append(f"Not measured yet on an idle machine: {', '.join(missing)}.")
    return "\n".join([*lines, "", *where])


def _line(row: Row) -> str:
    ours, theirs = (_number(value, row.unit) for value in row.medians)
    bound = "" if row.bound is None else _compared(row, row.bound)
    kept = "" if row.bound is None else "kept" if row.is_kept else "**missed**"
    cells = [row.what, ours, row.against, theirs, _compared(row, row.value), bound, kept]
    return f"| {' | '.join(cells)} |"


def _number(value: float, unit: str) -> str:
    return f"{value:.3g}" if unit == "s" else f"{value:.4g} {unit}"


def _compared(row: Row, value: float) -> str:
    if row.compared == "ratio":
        return f"{value:.3g} ×"
    return f"{'+' * (row.compared == 'difference' and value >= 0)}{value:.3g} {row.unit}"


def draw(rows: list[Row]) -> bytes:
    """Return a picture, as SVG, of how much of its bound each comparison takes up."""
    bounded = [row for row in reversed(rows) if row.bound is not None]
    shares = [row.value / row.bound for row in bounded]
    colours = ["#0173b2" if row.is_kept else "#d55e00" for row in bounded]
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "performance"}):
        figure = Figure(figsize=(9, 1 + 0.35 * len(bounded)), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh([row.what for row in bounded], shares, color=colours)
        axes.bar_label(bars, [_compared(row, row.value) for row in bounded], padding=4)
        axes.axvline(1, color="black", linestyle="--")
        axes.set_xlim(min(0, *shares), 1.2 * max(1, *shares))
        kept = sum(row.is_kept for row in bounded)
        axes.set_title(f"{kept} of {len(bounded)} figures are within their bounds", loc="left")
        axes.set_xlabel("share of the bound (the dashed line is the bound)")
        picture = io.BytesIO()
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()


def fill(page: str, content: str) -> str:
    """Return the page with other content between its marks."""
    begin, end = MARKS
    between = re.compile(f"(?<={re.escape(begin)}\n).*?(?={re.escape(end)})", re.DOTALL)
    return between.sub(lambda _: f"\n{content}\n\n", page)


def main() -> None:
    """Write the table and the picture."""
    results = read_results()
    rows = [row for measured in results.values() for row in measured["rows"]]
    write_bytes(PICTURE, draw(rows))
    alt = "Bars that show for each comparison how much of its bound it takes up, missed ones in red"
    content = f"{table(results)}\n\n![{alt}]({PICTURE.name})"
    write_text(PAGE, fill(PAGE.read_text(encoding="utf-8"), content))
    missed = [row.what for row in rows if not row.is_kept]
    print(f"{PAGE.name}: {len(rows)} rows, missed: {'; '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
