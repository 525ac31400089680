"""Prefect's server and workers on this machine; they stop after their last user."""

import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

from taxi_lib import settings
from taxi_lib.errors import TaxiError
from taxi_lib.services.loopback import HOST
from taxi_lib.services.ports import check_free, free_port, is_free, is_healthy, post_json
from taxi_lib.services.processes import Command, module, web_server
from taxi_lib.services.shared_process import shared_program


@contextmanager
def prefect_server(
    port: int | None = None,
    meanwhile: Callable[[], object] = lambda: None,
    wait: bool = True,
    database: str = "",
) -> Iterator[str]:
    """Join the workspace's Prefect server, or start it; yield the address of its API.

    Inside the block ``PREFECT_API_URL`` holds that address, also for processes that you start, and
    ``PREFECT_UI_URL`` that of its page, which Prefect's links lead to.
    If the first variable is set already, that server is joined; if the second is set, too, it
    stays. Enter the block before you import Prefect, which reads the variables at import.

    Parameters
    ----------
    port : int, optional
        For a new server; when left out, the port of the last one, or a free one.
    meanwhile : callable
        Called while the server starts, with the variable set: the time to import Prefect.
    wait : bool
        Whether to wait until the server has ended, if nobody else uses it.
    database : str
        The address of the server's database, ``postgresql+asyncpg://…``; when left out, a SQLite
        file in ``PREFECT_HOME``. Each database has a server of its own.

    Raises
    ------
    TaxiError
        When the server at ``PREFECT_API_URL`` does not answer, or none can be started.
    """
    given = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if given:
        if not is_healthy(given, seconds=60):  # at once when nothing listens there
            raise TaxiError(f"No server answers at PREFECT_API_URL={given}: start it, or unset it.")
        with _restored("PREFECT_UI_URL"):
            os.environ.setdefault("PREFECT_UI_URL", _page(given))
            yield given
        return

    def bind(address: str) -> None:
        check_bound(address)
        os.environ.update(PREFECT_API_URL=address, PREFECT_UI_URL=_page(address))
        meanwhile()

    with (
        _restored("PREFECT_API_URL", "PREFECT_UI_URL"),
        shared_server(port, bind, wait, database) as address,
    ):
        bind(address)  # again, in case the server was running already
        try:
            yield address
        finally:
            flush_logs()


def _page(api: str) -> str:
    """Return the address of a server's page: the new one, beside which 3.9 serves the old."""
    return api.removesuffix("/api") + "/v2"


@contextmanager
def _restored(*names: str) -> Iterator[None]:
    """Put environment variables back at the end of the block."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def shared_server(
    port: int | None = None,
    starting: Callable[[str], None] = lambda address: None,
    wait: bool = True,
    database: str = "",
) -> Iterator[str]:
    """Do as :func:`prefect_server` does, without changing this process's environment."""
    env = os.environ | settings.environment()
    home = Path(env["PREFECT_HOME"])

    def command(last: str | None) -> Command:
        # The same port again: a notebook that is still open goes on recording there.
        before = int(last.rsplit(":", 1)[1].removesuffix("/api")) if last else None
        chosen = port or (before if before and is_free(before) else free_port())
        check_free(chosen)
        page = f"http://{HOST}:{chosen}"
        own = {
            "PREFECT_UI_API_URL": f"{page}/api",
            # No other page may use the API.
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{page},http://localhost:{chosen}",
            # Events are there, and proactive triggers fire, after one second instead of five.
            "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",
            "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S",
            # A new schedule that the quick look at recent changes has missed waits for this one.
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "10",
        }
        if database:
            own["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
        serve = web_server("taxi_lib.services.loopback:prefect_app", chosen)
        return Command(serve, env | own, f"{page}/api", cwd=home)

    lock_file, recover = home / "server.lock", crash
    if database:  # whose runs may be those of a server on another machine
        other = f"{crc32(database.encode()):08x}"
        lock_file, recover = home / f"server-{other}.lock", lambda address: None
    # Nobody used the last server any more: runs that it shows as running have died.
    with shared_program(lock_file, command, is_healthy, recover, starting, wait) as address:
        yield address


@contextmanager
def process_worker(pool: str, say: Callable[[str], object] = lambda line: None) -> Iterator[str]:
    """Join the worker of a pool, or start one; yield its name.

    It makes the pool if need be, and runs each flow run as a process on this machine.

    Parameters
    ----------
    pool : str
        A work pool of type ``process`` on the server of :func:`prefect_server`.
    say : callable
        Called with the command that would start the worker in a terminal.

    Raises
    ------
    TaxiError
        When there is no server to work for, or the worker does not come up.
    """
    address = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if not address:
        raise TaxiError("A worker needs a server: use it inside prefect_server().")
    env = os.environ | settings.environment() | {"PREFECT_WORKER_QUERY_SECONDS": "1"}

    def command(_: str | None) -> Command:
        # A new name each time: a worker that was killed is shown as online for a while.
        name = f"worker-{secrets.token_hex(4)}"
        start = ["worker", "start", "--pool", pool, "--type", "process", "--name", name]
        return Command([*module("prefect"), *start], env, name)

    def is_online(name: str) -> bool:
        workers = []
        with suppress(OSError):  # the server is busy, or the pool is not there yet
            workers = post_json(f"{address}/work_pools/{pool}/workers/filter", {}, seconds=30)
        return any(w["name"] == name and w["status"] == "ONLINE" for w in workers)

    server = f"{crc32(address.encode()):08x}"  # another server may have a pool of the same name
    lock_file = Path(env["PREFECT_HOME"]) / "workers" / f"{pool}-{server}.lock"
    say(f"$ prefect worker start --pool {pool} --type process")
    with shared_program(lock_file, command, is_online) as name:
        yield name


def flush_logs() -> None:
    """Send the last log lines and events to the server, which may be about to stop."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        # In a thread: in a notebook's main thread it would return an awaitable.
        drain = threading.Thread(target=worker.drain_all, kwargs={"timeout": 10, "at_exit": False})
        drain.start()
        drain.join()


def check_bound(address: str) -> None:
    """Refuse if Prefect was imported for another server, where its runs would silently go."""
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
    """Set flow runs that never ended, and their task runs, to ``Crashed``.

    It uses Prefect's API without Prefect, which a lesson has not imported yet. Without a filter of
    flow runs, such as ``id={"any_": […]}``, it sets all of them.
    """
    flow_states = {"state": {"type": {"any_": _UNFINISHED}}}
    task_states = {"state": {"type": {"any_": [*_UNFINISHED, "SCHEDULED"]}}}
    crashed = {"state": {"type": "CRASHED", "name": "Crashed", "message": _WHY}, "force": True}
    runs = post_json(f"{address}/flow_runs/filter", {"flow_runs": which | flow_states})
    if runs:
        these = {"id": {"any_": [run["id"] for run in runs]}}
        body = {"flow_runs": these, "task_runs": task_states}
        for task in post_json(f"{address}/task_runs/filter", body):
            post_json(f"{address}/task_runs/{task['id']}/set_state", crashed)
    for run in runs:
        post_json(f"{address}/flow_runs/{run['id']}/set_state", crashed)
