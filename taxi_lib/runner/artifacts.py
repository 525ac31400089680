"""How far a walkthrough has got: lines in the terminal, and a bar on Prefect's page."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_progress_artifact

from taxi_lib.runner.notebook_run import NotebookRun


class Bar:
    """A progress artifact of Prefect, brought up to date about once a second."""

    def __init__(self) -> None:
        self.done, self.line = 0.0, ""

    def tell(self, line: str, done: float) -> None:
        """Note how far it is; cheap, and from any thread."""
        self.line, self.done = line, done


@contextmanager
def bar(api: str, key: str, description: str) -> Iterator[Bar]:
    """Show a bar on Prefect's page for the task that calls this, until the block ends.

    Parameters
    ----------
    api : str
        The address of Prefect's API.
    key, description : str
        Of the progress artifact.
    """
    mark, ended = Bar(), threading.Event()
    artifact = create_progress_artifact(0.0, key=key, description=description)

    def publish() -> None:
        shown, last = "", False
        while not last:
            last = ended.wait(1)
            if mark.line != shown:
                shown = mark.line
                told = {"data": 100 * mark.done, "description": shown}
                # A plain request: Prefect's own update leaves a connection open each time.
                with suppress(requests.RequestException):  # a server that is away: it stands still
                    requests.patch(f"{api}/artifacts/{artifact}", json=told, timeout=10)

    # A thread of its own: a slow server shall not slow the notebook down.
    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        yield mark
    finally:
        ended.set()
        thread.join()


def tell_failure(run: NotebookRun) -> None:
    """Say on Prefect's page which cell failed and how, and where the evidence is."""
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


def as_key(name: str) -> str:
    """Return a name as an artifact's key may be: lower case, digits and dashes."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in name.lower())
