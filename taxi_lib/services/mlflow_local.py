"""MLflow's server as the workbook shows it: it opens on the experiment, and asks for no usage data.

uvicorn --factory taxi_lib.services.mlflow_local:app
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from taxi_lib import settings
from taxi_lib.services.loopback import App, Scope, guarded_app
from taxi_lib.services.ports import check_free, is_healthy
from taxi_lib.services.processes import Command
from taxi_lib.services.shared_process import shared_program

# What the page may load: nothing from anywhere else.
_POLICY = (
    "default-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:"
)
# MLflow's page has its own switches, in the browser: its server's are not enough for it.
# They are kept under the names that MLflow gives them.
_SWITCHES = {
    "mlflow.settings.telemetry.enabled_v1": False,
    "mlflow.telemetry.info.alert.dismissed_v1": True,  # "MLflow collects usage data"
}


def app() -> App:
    """Return MLflow's server as ``mlflow server`` makes it, with another first page."""
    from mlflow.server import constants

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = settings.tracking_uri()
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = settings.artifact_root()[
        constants.ARTIFACT_ROOT_ENV_VAR
    ]
    import mlflow.server
    from mlflow.server.fastapi_app import app as theirs

    index = Path(mlflow.server.app.static_folder, "index.html").read_text(encoding="utf-8")
    return guarded_app(_with_first_page(theirs, _prepared(index)))


def _prepared(index: str) -> str:
    """Return the page with a script of ours before all others."""
    start = os.environ.get("TAXI_MLFLOW_START", "#/")
    switches = "".join(
        f"localStorage.setItem({json.dumps(name)}, '{json.dumps(value)}');"
        for name, value in _SWITCHES.items()
    )
    lead = f"if (['', '#/'].includes(location.hash)) location.hash = {json.dumps(start)};"
    return index.replace("<head>", f"<head><script>{switches}{lead}</script>", 1)


def _with_first_page(theirs: App, page: str) -> App:
    from fastapi.responses import HTMLResponse

    async def ask(scope: Scope, receive: Callable, send: Callable) -> None:
        if scope["type"] == "http" and scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
            headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
            await HTMLResponse(page, headers=headers)(scope, receive, send)
        else:
            await theirs(scope, receive, send)

    return ask


@contextmanager
def mlflow_page(port: int = 5000) -> Iterator[str]:
    """Serve MLflow's page on the workbook's store, on loopback; yield the experiment's address.

    Raises
    ------
    TaxiError
        When the port is taken, or the page does not come up.
    """
    if not settings.store_file():
        yield settings.tracking_uri()  # a server brings its own page
        return
    from taxi_lib.tracking import use_store

    runs = f"#/experiments/{use_store()}/runs"
    own = {
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{port},localhost:{port}",
        # Its jobs would be a process more, for what the workbook does not use.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "TAXI_MLFLOW_START": runs,
    }
    serve = ["-P", "-m", "uvicorn", "--factory", "taxi_lib.services.mlflow_local:app"]
    where = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    lock = settings.lock_file("mlflow-page.lock")

    def command(_: str | None) -> Command:
        check_free(port)
        env = os.environ | settings.environment() | own
        # Its Python looks for modules where it works: nothing of yours lies among the locks.
        start = [sys.executable, *serve, *where]
        return Command(start, env, f"http://127.0.0.1:{port}", cwd=lock.parent)

    with shared_program(lock, command, is_healthy) as address:
        yield f"{address}/{runs}"
