"""Prefect's server and workers on this machine: shared by all who ask, ended with the last."""

import os
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

from taxi_lib import settings
from taxi_lib.errors import TaxiError
from taxi_lib.services.loopback import HOST
from taxi_lib.services.ports import check_free, free_port, is_free, is_healthy, post_json
from taxi_lib.services.processes import Command, module
from taxi_lib.services.shared_process import shared_program


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
    with shared_server(port) as address:
        check_bound(address)
        os.environ["PREFECT_API_URL"] = address
        try:
            yield address
        finally:
            os.environ.pop("PREFECT_API_URL", None)
            flush_logs()


@contextmanager
def shared_server(port: int | None = None) -> Iterator[str]:
    """Join or start the server, and leave this process as it is; see :func:`prefect_server`."""
    env = os.environ | settings.environment()
    home = Path(env["PREFECT_HOME"])

    def command(before: str | None) -> Command:
        last = int(before.rsplit(":", 1)[1].removesuffix("/api")) if before else None
        # The same port again: a kernel that is still open goes on recording there.
        chosen = port or (last if last and is_free(last) else free_port())
        check_free(chosen)
        # As `prefect server start` does it, which would answer the page of anybody.
        serve = [*module("uvicorn"), "--factory", "taxi_lib.services.loopback:prefect_app"]
        where = ["--host", HOST, "--port", str(chosen), "--log-level", "warning"]
        start = [*serve, *where]
        page = f"http://{HOST}:{chosen}"
        # The page has to be told where its API is, and no other page may ask it.
        pages = f"{page},http://localhost:{chosen}"
        own = {"PREFECT_UI_API_URL": f"{page}/api", "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": pages}
        return Command(start, env | own, f"{page}/api", cwd=home)

    # Nobody was using the last server: whatever it shows as running has died.
    with shared_program(home / "server.lock", command, is_healthy, recover=crash) as address:
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
        with suppress(OSError):  # the server is busy, or the pool is not there yet
            workers = post_json(f"{address}/work_pools/{pool}/workers/filter", {}, seconds=30)
        return any(w["name"] == name and w["status"] == "ONLINE" for w in workers)

    server = f"{crc32(address.encode()):08x}"  # another server's pool is another pool
    lock_file = Path(env["PREFECT_HOME"]) / "workers" / f"{pool}-{server}.lock"
    with shared_program(lock_file, command, online) as name:
        yield name


def flush_logs() -> None:
    """Send the last log lines and events: the server may be about to stop."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        # In a thread, because in a notebook's own thread Prefect would hand back an awaitable.
        drain = threading.Thread(target=worker.drain_all, kwargs={"timeout": 10, "at_exit": False})
        drain.start()
        drain.join()


def check_bound(address: str) -> None:
    """Refuse when Prefect was imported for another server: its runs would go there in silence."""
    if "prefect" not in sys.modules:
        return
    from prefect.settings import PREFECT_API_URL

    bound = (PREFECT_API_URL.value() or "a private server").rstrip("/")
    if bound != address:
        raise TaxiError(
            f"Prefect was imported before its server was there: runs would go to {bound}, "
            f"not to {address}; restart this process (the kernel)."
        )


_UNFINISHED = ["RUNNING", "PENDING", "CANCELLING"]
_WHY = "Its process is gone: it was killed, or the machine was switched off."


def crash(address: str, **which: object) -> None:
    """Set flow runs that never ended, and their tasks, to ``Crashed``.

    Plain requests: a lesson calls this before it imports Prefect.

    Parameters
    ----------
    address : str
        Of Prefect's API.
    **which : object
        A filter of flow runs, such as ``id={"any_": […]}``.
    """
    states = {"state": {"type": {"any_": _UNFINISHED}}}
    tasks = {"state": {"type": {"any_": [*_UNFINISHED, "SCHEDULED"]}}}
    crashed = {"state": {"type": "CRASHED", "name": "Crashed", "message": _WHY}, "force": True}
    flow_runs = post_json(f"{address}/flow_runs/filter", {"flow_runs": which | states})
    ids = {"id": {"any_": [run["id"] for run in flow_runs]}}
    if flow_runs:
        body = {"flow_runs": ids, "task_runs": tasks}
        for run in post_json(f"{address}/task_runs/filter", body):
            post_json(f"{address}/task_runs/{run['id']}/set_state", crashed)
    for run in flow_runs:
        post_json(f"{address}/flow_runs/{run['id']}/set_state", crashed)
