"""Collect the lessons' tables "Then and now" into one page: ``python tools/then_and_now.py``."""

import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "then_and_now.md"
HEADING = re.compile(r"## (?:MLflow t|T)hen and now")
COURSE = "[MLOps Zoomcamp](https://github.com/DataTalksClub/mlops-zoomcamp)"
OPENING = f"""# Then and now: Prefect 2 to 3

The course is module 3, orchestration, of DataTalksClub's {COURSE}, in its cohorts of 2022 and 2023.
These tables show its code for Prefect 2.10, what that does today, and the code for Prefect 3.
Each table comes from the end of its lesson, which runs the new spelling or says "not run here".
`tools/then_and_now.py` collects them.
"""


def collect(folder: Path) -> str:
    """Return the page: one section for each lesson that has a table."""
    sections = [OPENING]
    for path in sorted(folder.glob("[0-9]*.ipynb")):
        prose = [c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown"]
        title = prose[0].splitlines()[0].removeprefix("# ")
        for source in prose:
            if HEADING.match(source):
                table = "\n".join(line for line in source.splitlines() if line.startswith("|"))
                section = f"## [{title}]({path.name})\n\n{table}\n"
                sections.append(re.sub(r"\]\((?=[^)/:]+\.ipynb)", "](../notebooks/", section))
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(collect(ROOT / "notebooks"), encoding="utf-8")
    print(f"{PAGE.name}: {len(PAGE.read_text(encoding='utf-8').splitlines())} lines")
