"""Make the pictures of pages anew: ``python tools/pictures.py``, after an upgrade of Prefect.

The lessons that are named, or all, are run with ``keep=True``, so that what they made stays on the
servers. Before a picture of a page, a lesson shows a link to it: Chromium opens that link.
Without names, the README's two pictures are made too, from the last `make run`.
All pictures go to ``notebooks/images/``, with few colours, which keeps them small.
"""

import base64
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell
from PIL import Image, ImageChops

from taxi_lib import services, settings

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
IMAGES = NOTEBOOKS / "images"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FIGURE = "distribution-figure"  # the cell of lesson 1 whose figure the README shows
PAGE_SIZE = (1280, 760)
SIDEBARS = {"prefect": 258, "mlflow": 0}  # pixels: the menu says nothing about what is shown
# pixels: what is below says nothing more
SHORT = ("13_run.png", "14_each.png", "14_run.png", "16_registry.png", "17_backfill.png")
HEIGHTS = dict.fromkeys(SHORT, 514)
MOST_BYTES = 60_000
CROPS = {  # width and height in pixels: beyond them, a page says nothing or is cut in the middle
    "08_cached.png": (1022, 710),
    "10_artifact.png": (612, 352),
    "10_block.png": (732, 496),
    "10_image.png": (612, 592),
    "17_pool.png": (612, 300),
}
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
MLFLOW = "http://127.0.0.1:5000"
LINK = re.compile(r"\]\((http://127\.0\.0\.1:[^)]+)\)")
PICTURE = re.compile(r"!\[.*?\]\(images/(\w+\.png)\)")


def pictures_in(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, str]]:
    """Yield the name of each picture in a lesson, and the link that was shown before it."""
    link = None
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown = LINK.findall(output.get("data", {}).get("text/markdown", ""))
            link = shown[-1] if shown else link
        for name in PICTURE.findall(cell.source if cell.cell_type == "markdown" else ""):
            if not link:
                sys.exit(f"{name} comes before any link: show a link to its page first.")
            yield name, link


@contextmanager
def executed(lesson: Path) -> Iterator[nbformat.NotebookNode]:
    """Run a lesson and yield it with its outputs; what it made goes when the block ends."""
    notebook = nbformat.read(lesson, as_version=4)
    declared = next(n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    notebook.cells.insert(declared + 1, new_code_cell("keep = True"))
    where = {"metadata": {"path": str(lesson.parent)}}
    client = NotebookClient(notebook, timeout=400, kernel_name="python3", resources=where)
    with client.setup_kernel():
        for number, cell in enumerate(notebook.cells):
            client.execute_cell(cell, number)
        yield notebook


def page_of_walkthrough(api: str) -> str:
    """Return the address of Prefect's page of the newest run of the lessons."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName
    from prefect.client.schemas.sorting import FlowRunSort

    named = FlowFilter(name=FlowFilterName(any_=["walkthrough"]))
    newest = FlowRunSort.START_TIME_DESC
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=named, sort=newest)
    of_lessons = (r for r in runs if not (r.parameters.get("folder") or r.parent_task_run_id))
    run = next(of_lessons)  # lesson 14 runs a folder, and each of its months
    return f"{api.removesuffix('/api')}/v2/runs/flow-run/{run.id}?tab=TaskRuns"


def photograph(address: str, folder: Path) -> Image.Image:
    """Return what Chromium shows at an address once the page has been built, without margins."""
    picture = folder / "page.png"
    size = f"--window-size={PAGE_SIZE[0]},{PAGE_SIZE[1]}"
    how = ["--headless=new", f"--user-data-dir={folder / 'chromium'}", size, *QUIET]
    show = ["--virtual-time-budget=25000", f"--screenshot={picture}", address]
    subprocess.run([CHROMIUM, *how, *show], check=True, capture_output=True, timeout=180)
    left = SIDEBARS["prefect" if "/v2/" in address else "mlflow"]
    page = Image.open(picture).convert("RGB").crop((left, 0, *PAGE_SIZE))
    corner = page.getpixel((page.width - 2, page.height - 2))
    box = ImageChops.difference(page, Image.new("RGB", page.size, corner)).getbbox() or (0, 0, 1, 1)
    return page.crop((0, 0, page.width, min(page.height, max(box[3] + 16, 240))))


def figure_of(notebook: Path, cell_id: str) -> Image.Image:
    """Return the figure that a cell of an executed notebook shows."""
    cells = nbformat.read(notebook, as_version=4).cells
    (cell,) = (cell for cell in cells if cell.id == cell_id)
    (png,) = (o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {}))
    return Image.open(io.BytesIO(base64.b64decode(png)))


def save(picture: Image.Image, name: str) -> None:
    """Write a picture as a PNG with as many colours as its size allows."""
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / name
    picture = picture.crop((0, 0, *CROPS.get(name, picture.size)))
    for colours in (64, 32, 16, 8):
        few = picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        if path.stat().st_size < MOST_BYTES:
            break
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def pictures_of_lessons(lessons: list[Path]) -> None:
    """Run lessons on servers of their own, and take the pictures that they show."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="pictures-")))
        os.environ["TAXI_RUNS_DIR"] = str(folder / "runs")
        settings.use_workspace()
        stack.enter_context(services.prefect_server())
        if any(MLFLOW in lesson.read_text() for lesson in lessons):
            stack.enter_context(services.mlflow_page())
        for lesson in lessons:
            with executed(lesson) as notebook:
                for name, link in pictures_in(notebook):
                    page = photograph(link, folder)
                    height = min(page.height, HEIGHTS.get(name, page.height))
                    save(page.crop((0, 0, page.width, height)), name)


def pictures_of_readme() -> None:
    """Take the two pictures of the last run in this workspace."""
    settings.use_workspace()
    lesson = next((settings.runs_dir() / "latest").glob("01_*.ipynb"), None)
    if not lesson:
        sys.exit("The last run has no lesson 1: say `make run`.")
    with TemporaryDirectory() as folder, services.prefect_server() as api:
        save(photograph(page_of_walkthrough(api), Path(folder)), "walkthrough.png")
    save(figure_of(lesson, FIGURE), "01_distribution.png")


def main(numbers: list[str]) -> None:
    """Make the pictures of the lessons that are named, or all pictures."""
    if not CHROMIUM:
        sys.exit("Chromium is not installed: install it, for example with apt-get.")
    if not numbers:
        pictures_of_readme()
    lessons = [p for p in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")) if PICTURE.search(p.read_text())]
    pictures_of_lessons([p for p in lessons if not numbers or p.stem[:2] in numbers])


if __name__ == "__main__":
    main(sys.argv[1:])
