"""Make the README's pictures from the last run: ``python tools/pictures.py``, after ``make run``.

Chromium takes a picture of Prefect's page of the newest walkthrough, and a figure is taken from
the executed lesson 1. Both go to ``notebooks/images/``, with few colours, which keeps them small.
"""

import base64
import io
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from PIL import Image

from taxi_lib import services, settings

IMAGES = Path(__file__).resolve().parents[1] / "notebooks" / "images"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FIGURE = "distribution-figure"  # the cell of lesson 1 whose figure is taken
PAGE_SIZE = (1280, 712)
SIDEBAR = 258  # pixels: Prefect's menu says nothing about the run
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]


def page_of_walkthrough(api: str) -> str:
    """Return the address of Prefect's page of the newest run of the lessons."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName
    from prefect.client.schemas.sorting import FlowRunSort

    named = FlowFilter(name=FlowFilterName(any_=["walkthrough"]))
    newest = FlowRunSort.START_TIME_DESC
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=named, sort=newest)
    run = next(run for run in runs if not run.parameters["folder"])  # lesson 14 runs notebooks, too
    return f"{api.removesuffix('/api')}/v2/runs/flow-run/{run.id}?tab=TaskRuns"


def photograph(address: str, folder: Path) -> Image.Image:
    """Return what Chromium shows at an address, once the page has been built."""
    picture = folder / "page.png"
    size = f"--window-size={PAGE_SIZE[0]},{PAGE_SIZE[1]}"
    how = ["--headless=new", f"--user-data-dir={folder / 'chromium'}", size, *QUIET]
    show = ["--virtual-time-budget=25000", f"--screenshot={picture}", address]
    subprocess.run([CHROMIUM, *how, *show], check=True, capture_output=True, timeout=180)
    return Image.open(picture).crop((SIDEBAR, 0, *PAGE_SIZE))


def figure_of(notebook: Path, cell_id: str) -> Image.Image:
    """Return the figure that a cell of an executed notebook shows."""
    cells = nbformat.read(notebook, as_version=4).cells
    (cell,) = (cell for cell in cells if cell.id == cell_id)
    (png,) = (o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {}))
    return Image.open(io.BytesIO(base64.b64decode(png)))


def save(picture: Image.Image, name: str, colours: int = 64) -> None:
    """Write a picture as a small PNG."""
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / name
    few = picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Make the two pictures of the last run in this workspace."""
    if not CHROMIUM:
        sys.exit("Chromium is not installed: install it, for example with apt-get.")
    settings.use_workspace()
    lesson = next((settings.runs_dir() / "latest").glob("01_*.ipynb"), None)
    if not lesson:
        sys.exit("The last run has no lesson 1: say `make run`.")
    with TemporaryDirectory() as folder, services.prefect_server() as api:
        save(photograph(page_of_walkthrough(api), Path(folder)), "walkthrough.png")
    save(figure_of(lesson, FIGURE), "lesson_01_densities.png")


if __name__ == "__main__":
    main()
