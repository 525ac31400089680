"""MLflow's server as the workbook shows it: it opens on the experiment, and asks for no usage data.

uvicorn --factory taxi_lib.mlflow_page:app
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

from fastapi.responses import HTMLResponse

from taxi_lib import settings
from taxi_lib.loopback import App, Scope, guarded_app

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
    async def ask(scope: Scope, receive: Callable, send: Callable) -> None:
        if scope["type"] == "http" and scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
            headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
            await HTMLResponse(page, headers=headers)(scope, receive, send)
        else:
            await theirs(scope, receive, send)

    return ask
