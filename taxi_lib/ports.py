"""Ports of this machine, and the web services on them."""

import socket

import requests

from taxi_lib.errors import TaxiError


def is_healthy(address: str) -> bool:
    """Tell whether a web service says that it is well, at its ``/health``."""
    try:
        return requests.get(f"{address}/health", timeout=10).ok
    except requests.RequestException:
        return False


def free_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
