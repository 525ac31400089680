"""The pages that runs left, ``index.html`` and each notebook's, served read-only on loopback.

Prefect's page cannot link to a file; it links here while ``python -m taxi_lib ui`` runs.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from taxi_lib import settings
from taxi_lib.services.loopback import HOST
from taxi_lib.services.ports import check_free
from taxi_lib.services.shared_process import lock_alone
from taxi_lib.services.web_apps import serve

if TYPE_CHECKING:
    from starlette.applications import Starlette

PORT = 4201
LOCK = Path(".locks", "run-pages.lock")  # below the folder of runs
_SHOWN = {".html", ".png", ".svg", ".ipynb", ".log", ".json"}


def page_of(path: Path, port: int = PORT) -> str | None:
    """Return the address of a file of a run; None when it does not lie under ``runs/``."""
    try:
        relative = path.resolve().relative_to(settings.runs_dir().resolve())
    except ValueError:
        return None
    return f"http://{HOST}:{port}/{quote(str(relative))}"


def app(folder: Path) -> "Starlette":
    """Return the application that serves the runs in a folder, and a list of them at ``/``."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import FileResponse, HTMLResponse, Response
    from starlette.routing import Route

    def first_page(_: Request) -> Response:
        return HTMLResponse(_list_of_runs(folder))

    def file(request: Request) -> Response:
        path = (folder / request.path_params["path"]).resolve()
        path = path / "index.html" if path.is_dir() else path
        if not is_shown(path, folder):
            raise HTTPException(404, "There is no such page of a run.")
        return FileResponse(path, media_type=None if path.suffix != ".log" else "text/plain")

    return Starlette(routes=[Route("/", first_page), Route("/{path:path}", file)])


def is_shown(path: Path, folder: Path) -> bool:
    """Return whether a file is one that a run left to be read, and not a store or a hidden file."""
    home = folder.resolve()
    if path.suffix not in _SHOWN or home not in path.parents or not path.is_file():
        return False
    parts = path.relative_to(home).parts
    is_of_a_run = (home / parts[0] / "summary.json").exists()
    return is_of_a_run and not any(part.startswith(".") for part in parts)


def _list_of_runs(folder: Path) -> str:
    names = sorted((path.parent.name for path in folder.glob("*/index.html")), reverse=True)
    items = "".join(f'<li><a href="{quote(n)}/index.html">{escape(n)}</a></li>' for n in names)
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Runs</title>'
    return f"{head}<body><h1>Runs</h1><ul>{items or '<li>none yet</li>'}</ul></body></html>"


@contextmanager
def run_pages(port: int = PORT) -> Iterator[str]:
    """Serve the pages of the runs until the block ends; yield the address.

    Raises
    ------
    TaxiError
        When the port is taken.
    """
    check_free(port)
    with serve(app(settings.runs_dir()), port) as address, _listed(address):
        yield address


@contextmanager
def _listed(address: str) -> Iterator[None]:
    """Name the address in a file that is locked meanwhile, so that others see whose port it is."""
    lock_file = settings.runs_dir() / LOCK
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a+", encoding="utf-8") as file:
        if lock_alone(file):
            file.truncate(0)  # those in it have ended
        fcntl.flock(file, fcntl.LOCK_SH)
        file.write(f"{address}\n")
        file.flush()
        yield
