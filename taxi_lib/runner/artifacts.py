"""What a run shows on Prefect's page: a progress bar for each notebook, and each failure."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests
from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
)

from taxi_lib.runner.notebook_run import NotebookRun
from taxi_lib.services.pages import page_of


class Bar:
    """How far a notebook is; published about once a second."""

    def __init__(self) -> None:
        self.done, self.line = 0.0, ""

    def update(self, line: str, done: float) -> None:
        """Note how far it is. This is cheap, and safe from any thread."""
        self.line, self.done = line, done


@contextmanager
def progress_bar(api: str, key: str, description: str) -> Iterator[Bar]:
    """Show a bar on Prefect's page for the task that calls this, until the block ends.

    Parameters
    ----------
    api : str
        The address of Prefect's API.
    key, description : str
        Of the progress artifact.
    """
    bar, ended = Bar(), threading.Event()
    artifact = create_progress_artifact(0.0, key=key, description=description)

    def publish() -> None:
        shown, last = "", False
        while not last:
            last = ended.wait(1)
            if bar.line != shown:
                shown = bar.line
                state = {"data": 100 * bar.done, "description": shown}
                # A plain request: Prefect's own update leaves a connection open each time.
                with suppress(requests.RequestException):  # while the server is away
                    requests.patch(f"{api}/artifacts/{artifact}", json=state, timeout=10)

    # In a thread, so that a slow server does not slow the notebook down.
    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        yield bar
    finally:
        ended.set()
        thread.join()


def show_failure(run: NotebookRun) -> None:
    """Show on Prefect's page which cell failed and how, and where the evidence is."""
    source = f"\n\n```python\n{run.cell}\n```" if run.cell else ""
    get_run_logger().error("%s failed at %s%s", run.name, run.error, source)
    files = "".join(
        f"\n- [{Path(name).name}]({Path(name).as_uri()}): `{name}`" for name in run.files
    )
    create_markdown_artifact(
        key=f"failed-{as_key(run.name)}",
        description=f"{run.name}: {run.error}",
        markdown=f"# {run.name} failed\n\n{run.error}{source}\n\n{files}",
    )


def link_page(run: NotebookRun) -> None:
    """Link from the task that calls this to the notebook's page, where the pages are served."""
    address = page_of(Path(run.html)) if run.html else None
    if address:
        create_link_artifact(
            link=address,
            link_text=f"The executed notebook {run.name}",
            key=f"page-{as_key(run.name)}",
            description="`python -m taxi_lib ui` serves it",
        )


def as_data_uri(picture: bytes) -> str:
    """Return a picture, as PNG, as an address that holds it, for an image artifact."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def as_key(name: str) -> str:
    """Return a name as an artifact's key: lower case, digits and dashes."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in name.lower())
