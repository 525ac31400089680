"""MLflow's server as the workbook shows it: it opens on the experiment and collects no usage data.

uvicorn --factory taxi_lib.services.mlflow_local:app
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from taxi_lib import settings
from taxi_lib.services.loopback import HOST, App, Scope, guarded_app
from taxi_lib.services.ports import check_free, is_healthy
from taxi_lib.services.processes import Command, web_server
from taxi_lib.services.shared_process import shared_program

# The page may load nothing from other servers.
_POLICY = (
    "default-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:"
)
# The server's settings are not enough: MLflow's page has its own, in the browser's storage.
_SWITCHES = {
    "mlflow.settings.telemetry.enabled_v1": False,
    "mlflow.telemetry.info.alert.dismissed_v1": True,  # "MLflow collects usage data"
    "mlflow.workflowType_v1": "machine_learning",  # or a run is shown without its metrics
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,  # it needs a language model
}


def app() -> App:
    """Return MLflow's server as ``mlflow server`` makes it, with our own first page."""
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
    """Return MLflow's page with a script of ours before all others."""
    start = os.environ.get("TAXI_MLFLOW_START", "#/")
    switches = "".join(
        f"localStorage.setItem({json.dumps(name)}, '{json.dumps(value)}');"
        for name, value in _SWITCHES.items()
    )
    lead = f"if (['', '#/'].includes(location.hash)) location.hash = {json.dumps(start)};"
    return index.replace("<head>", f"<head><script>{switches}{lead}</script>", 1)


def _with_first_page(theirs: App, page: str) -> App:
    from fastapi.responses import HTMLResponse

    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
    first = HTMLResponse(page, headers=headers)

    async def answer(scope: Scope, receive: Callable, send: Callable) -> None:
        is_first = scope.get("path") == "/" and scope.get("method") in ("GET", "HEAD")
        await (first if is_first else theirs)(scope, receive, send)

    return answer


@contextmanager
def mlflow_page(port: int = 5000) -> Iterator[str]:
    """Serve MLflow's page on the workbook's store; yield the address of the experiment.

    Raises
    ------
    TaxiError
        When the port is taken, or the page does not come up.
    """
    if not settings.has_database():
        yield settings.tracking_uri()  # its server has a page, too
        return
    from taxi_lib.tracking import use_store

    runs = f"#/experiments/{use_store()}/runs"
    own = {
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{port},localhost:{port}",
        # Its jobs would be one more process, for what the workbook does not use.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "TAXI_MLFLOW_START": runs,
    }
    lock = settings.lock_file("mlflow-page.lock")

    def command(_: str | None) -> Command:
        check_free(port)
        env = os.environ | settings.environment() | own
        # MLflow imports modules from its working directory: there are none beside the locks.
        serve = web_server("taxi_lib.services.mlflow_local:app", port)
        return Command(serve, env, f"http://{HOST}:{port}", cwd=lock.parent)

    with shared_program(lock, command, is_healthy) as address:
        yield f"{address}/{runs}"
