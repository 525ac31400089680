"""Real services on this machine, for as long as a ``with`` block or a lesson lasts.

Small ones are threads of this process and end with it. Prefect's server and worker are processes,
shared by whoever asks, that stop with their last user. Everything listens on loopback only.
"""

import logging
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import requests

from taxi_lib import recording, settings, zombies
from taxi_lib.errors import TaxiError
from taxi_lib.inbox import Inbox
from taxi_lib.keeper import kept
from taxi_lib.loopback import HOST, guarded_wsgi
from taxi_lib.ports import check_free, free_port, is_free, is_healthy
from taxi_lib.processes import Command, module


@contextmanager
def facts_api(
    failure_share: float = 0.5, failure: str = "error", slow_seconds: float = 30.0, seed: int = 0
) -> Iterator[str]:
    """Serve animal facts, and fail a share of the calls; yield the address.

    Parameters
    ----------
    failure_share, failure, slow_seconds, seed
        See :func:`taxi_lib.web_apps.make_facts_app`.
    """
    from taxi_lib.web_apps import make_facts_app, serve

    with serve(make_facts_app(failure_share, failure, slow_seconds, seed)) as address:
        yield address


@contextmanager
def webhook_sink() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Take whatever JSON is posted; yield the address, and the list that it is added to."""
    from taxi_lib.web_apps import make_sink_app, serve

    received: list[dict[str, Any]] = []
    with serve(make_sink_app(received)) as address:
        yield address, received


@contextmanager
def s3_server() -> Iterator[str]:
    """Serve S3 (moto's server, empty); yield its endpoint."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    log = logging.getLogger("werkzeug")
    before = log.level
    log.setLevel(logging.ERROR)  # else every request is a line in the notebook
    # As moto's own ThreadedMotoServer does it, which would answer the page of anybody.
    app = guarded_wsgi(DomainDispatcherApplication(create_backend_app))
    server = make_server(HOST, 0, app, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    thread.start()
    endpoint = f"http://{HOST}:{server.server_port}"
    try:
        requests.post(f"{endpoint}/moto-api/reset", timeout=30).raise_for_status()
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        log.setLevel(before)


@contextmanager
def mail_server() -> Iterator[Inbox]:
    """Take e-mail (aiosmtpd, nothing leaves this machine); yield the inbox."""
    from aiosmtpd.controller import Controller

    inbox = Inbox(HOST, free_port())
    where = {"hostname": inbox.host, "port": inbox.port, "server_hostname": "localhost"}
    controller = Controller(inbox, ready_timeout=60, **where)
    try:
        controller.start()
        yield inbox
    finally:
        controller.stop()


@contextmanager
def prefect_server(port: int | None = None) -> Iterator[str]:
    """Join the workspace's Prefect server, or start it; yield the address of its API.

    For as long as the block lasts, ``PREFECT_API_URL`` names it, for this process and for those
    that it starts. A ``PREFECT_API_URL`` that is already set is joined instead.
    Use it before Prefect is imported: Prefect reads the variable then.

    Parameters
    ----------
    port : int, optional
        For a server that has to be started; that of the last time, or a free one, when left out.

    Raises
    ------
    TaxiError
        When the server named by ``PREFECT_API_URL`` does not answer, or none can be started.
    """
    given = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if given:
        if not is_healthy(given, seconds=60):  # where nobody listens, it takes no time
            raise TaxiError(f"No server answers at PREFECT_API_URL={given}: start it, or unset it.")
        yield given
        return
    with kept_server(port) as address:
        recording.check_bound(address)
        os.environ["PREFECT_API_URL"] = address
        try:
            yield address
        finally:
            os.environ.pop("PREFECT_API_URL", None)
            recording.hand_over()


@contextmanager
def kept_server(port: int | None = None) -> Iterator[str]:
    """Join or start the server, and leave this process as it is; see :func:`prefect_server`."""
    env = os.environ | settings.environment()
    home = Path(env["PREFECT_HOME"])

    def command(before: str | None) -> Command:
        last = int(before.rsplit(":", 1)[1].removesuffix("/api")) if before else None
        # The same port again: a kernel that is still open goes on recording there.
        chosen = port or (last if last and is_free(last) else free_port())
        check_free(chosen)
        # As `prefect server start` does it, which would answer the page of anybody.
        serve = [*module("uvicorn"), "--factory", "taxi_lib.loopback:prefect_app"]
        where = ["--host", HOST, "--port", str(chosen), "--log-level", "warning"]
        start = [*serve, *where]
        page = f"http://{HOST}:{chosen}"
        # The page has to be told where its API is, and no other page may ask it.
        pages = f"{page},http://localhost:{chosen}"
        own = {"PREFECT_UI_API_URL": f"{page}/api", "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": pages}
        return Command(start, env | own, f"{page}/api", cwd=home)

    # Nobody was using the last server: whatever it shows as running has died.
    with kept(home / "server.lock", command, is_healthy, first=zombies.crash) as address:
        yield address


@contextmanager
def process_worker(pool: str) -> Iterator[str]:
    """Join the worker of a pool, or start one; yield its name.

    The pool is made when it is missing. The worker starts each run as a process on this machine.

    Parameters
    ----------
    pool : str
        A work pool of type ``process`` on the server of :func:`prefect_server`.

    Raises
    ------
    TaxiError
        When there is no server to work for, or the worker does not come up.
    """
    address = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if not address:
        raise TaxiError("A worker needs a server: use it inside prefect_server().")

    env = os.environ | settings.environment() | {"PREFECT_WORKER_QUERY_SECONDS": "2"}

    def command(_: str | None) -> Command:
        name = f"worker-{secrets.token_hex(4)}"  # one that was killed stays online for a while
        start = ["worker", "start", "--pool", pool, "--type", "process", "--name", name]
        return Command([*module("prefect"), *start], env, name)

    def online(name: str) -> bool:
        workers = []
        with suppress(requests.RequestException):  # a busy server: asked again
            where = f"{address}/work_pools/{pool}/workers/filter"
            answer = requests.post(where, json={}, timeout=30)
            workers = answer.json() if answer.ok else []
        return any(w["name"] == name and w["status"] == "ONLINE" for w in workers)

    server = f"{crc32(address.encode()):08x}"  # another server's pool is another pool
    lock_file = Path(env["PREFECT_HOME"]) / "workers" / f"{pool}-{server}.lock"
    with kept(lock_file, command, online) as name:
        yield name
