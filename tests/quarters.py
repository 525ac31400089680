"""Where a test runs a lesson, and how it sees what the lesson has left behind."""

import asyncio
import os
import re
import time
from pathlib import Path
from uuid import uuid4

import nbformat
import psutil
from nbclient import NotebookClient
from nbformat import NotebookNode

from taxi_lib.results import read_results

MARK = "TAXI_TEST_MARK"
# What Jupyter, IPython and matplotlib keep in any home.
USUAL = {".cache", ".config", ".ipython", ".jupyter", ".local"}
LOCK_OF_MLFLOW = "db_init_lock-"  # for each store it makes one among the temporary files


class Quarters:
    """Folders of one test's own: to work in, a home, and for temporary files."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.mark, self.scratch = uuid4().hex, scratch
        self.work, self.home, self.done = (folder / name for name in ("work", "home", "done"))
        for made in (self.work, self.home, self.done):
            made.mkdir()

    def execute(self, path: Path, copies: int) -> list[NotebookNode]:
        """Run copies of a lesson at the same time; the executed notebooks."""
        notebooks = [nbformat.read(path, as_version=4) for _ in range(copies)]
        own = {MARK: self.mark, "HOME": str(self.home), "TMPDIR": str(self.scratch)}
        env = os.environ | own
        where = {"metadata": {"path": str(self.work)}}

        async def run_all() -> None:
            clients = [
                NotebookClient(notebook, timeout=400, kernel_name="python3", resources=where)
                for notebook in notebooks
            ]
            await asyncio.gather(*(client.async_execute(env=env) for client in clients))

        asyncio.run(run_all())
        return notebooks

    def results_of(self, notebook: NotebookNode) -> dict:
        """Return what an executed notebook reported."""
        nbformat.write(notebook, self.done / "lesson.ipynb")
        return read_results(self.done / "lesson.ipynb")

    def files(self) -> list[str]:
        """Return what lies where a lesson has nothing to leave: its folders, and its home."""
        left = [path.name for folder in (self.work, self.scratch) for path in folder.iterdir()]
        left = [name for name in left if not name.startswith(LOCK_OF_MLFLOW)]
        return left + [path.name for path in self.home.iterdir() if path.name not in USUAL]

    def processes(self, seconds: float = 20) -> list[str]:
        """Return what still runs of all that the lesson's kernel has started: its ports, too."""
        deadline = time.monotonic() + seconds
        while (left := self._running()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    def _running(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue  # ended just now, or not ours to look at
        return found


def on_the_server() -> set[str]:
    """Return all that lessons make on a Prefect server, but for the history of their runs."""
    from prefect import get_client

    with get_client(sync_client=True) as client:
        found = {
            "automation": client.read_automations(),
            "deployment": client.read_deployments(),
            "pool": client.read_work_pools(),
            "block": client.read_block_documents(include_secrets=False),
            "variable": client.read_variables(),
            "limit": client.read_global_concurrency_limits(limit=200),
        }
    return {f"{kind} {thing.name}" for kind, things in found.items() for thing in things}


def own(things: set[str]) -> set[str]:
    """Return those that bear a lesson's own ending: only that lesson can tell when it is done."""
    return {thing for thing in things if re.search(r"-[a-f][0-9a-f]{3}$", thing)}


def lessons_left(seconds: float = 300) -> set[str]:
    """Return what lessons have left on the server, once those that still run have ended."""
    deadline = time.monotonic() + seconds
    while (left := own(on_the_server())) and time.monotonic() < deadline:
        time.sleep(1)
    return left
