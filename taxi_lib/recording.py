"""Where a process records its runs: bound to one Prefect server, told to it in full."""

import sys
import threading

from taxi_lib.errors import TaxiError


def hand_over() -> None:
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
