"""Where a test runs a lesson, and how it sees what the lesson has left behind."""

import asyncio
import os
import time
from pathlib import Path
from uuid import uuid4

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from support.processes import with_variable
from taxi_lib.results import read_results

TAG = "TAXI_TEST_TAG"
# What Jupyter, IPython and matplotlib keep in any home.
USUAL = {".cache", ".config", ".ipython", ".jupyter", ".local"}
LOCK_OF_MLFLOW = "db_init_lock-"  # for each store it makes one among the temporary files
# Lessons call `named("a-pool")` for names of their own; to another lesson it may be a table.
ASK_FOR_ENDING = "own = globals().get('named'); print(own('') if callable(own) else '', end='')"


class Sandbox:
    """Folders of one test's own: to work in, a home, and for temporary files."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.tag, self.scratch = uuid4().hex, scratch
        self.work, self.home, self.done = (folder / name for name in ("work", "home", "done"))
        for made in (self.work, self.home, self.done):
            made.mkdir()

    def execute(self, path: Path, copies: int = 1) -> list[tuple[NotebookNode, str]]:
        """Run copies of a lesson at the same time.

        Returns
        -------
        list of (NotebookNode, str)
            Each executed notebook, with the ending of the names it made on Prefect's server.
        """
        notebooks = [nbformat.read(path, as_version=4) for _ in range(copies)]
        own = {TAG: self.tag, "HOME": str(self.home), "TMPDIR": str(self.scratch)}
        env = os.environ | own
        where = {"metadata": {"path": str(self.work)}}
        for notebook in notebooks:
            notebook.cells.append(new_code_cell(ASK_FOR_ENDING))

        async def run_all() -> None:
            clients = [
                NotebookClient(notebook, timeout=400, kernel_name="python3", resources=where)
                for notebook in notebooks
            ]
            await asyncio.gather(*(client.async_execute(env=env) for client in clients))

        asyncio.run(run_all())
        return [(notebook, _ending(notebook.cells.pop())) for notebook in notebooks]

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
        """Return what still runs of all that the lesson's kernel has started."""
        deadline = time.monotonic() + seconds
        while (left := with_variable(TAG, self.tag)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left


def _ending(cell: NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)
