"""Ports of this machine, and the web services on them."""

import random
import socket
from contextlib import suppress

import requests

from taxi_lib.errors import TaxiError

# Below those that systems give to outgoing connections (Linux from 32768, others from 49152):
# one of them may be gone by the time that a server has started.
_QUIET = range(20_000, 32_000)


def is_healthy(address: str, seconds: float = 10) -> bool:
    """Tell whether a web service says within some seconds that it is well, at its ``/health``."""
    try:
        return requests.get(f"{address}/health", timeout=seconds).ok
    except requests.RequestException:
        return False


def free_port() -> int:
    """Return a port of this machine that nobody uses, and that no connection will be given.

    Raises
    ------
    TaxiError
        When a hundred are taken.
    """
    for port in random.SystemRandom().sample(_QUIET, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise TaxiError("100 ports of this machine were tried and are taken: stop what listens there.")


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def check_free(port: int) -> None:
    """Refuse a port on which somebody listens.

    Raises
    ------
    TaxiError
        In one sentence, with the port.
    """
    if not is_free(port):
        raise TaxiError(f"Port {port} is taken: choose another, or stop what listens there.")
