"""Ports of this machine, and the web services that answer on them."""

import json
import random
import socket
from contextlib import suppress
from typing import Any

from taxi_lib.errors import TaxiError

# Outgoing connections are given ports above these (from 32768 on Linux, from 49152 elsewhere), so
# a port of this range is still free when a server has started up.
_QUIET = range(20_000, 32_000)


def is_healthy(address: str, seconds: float = 10) -> bool:
    """Return whether a web service answers at its ``/health`` within some seconds."""
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        with urlopen(f"{address}/health", timeout=seconds):
            return True
    except (OSError, HTTPException, ValueError):  # ValueError: it is no address
        return False


def post_json(address: str, body: dict[str, Any], seconds: float = 60) -> Any:  # noqa: ANN401
    """Post a body to a web service and return its answer, both JSON.

    Raises
    ------
    OSError
        When it does not answer in time, or with an error.
    """
    from urllib.request import Request, urlopen

    headers = {"Content-Type": "application/json"}
    request = Request(address, json.dumps(body).encode(), headers)
    with urlopen(request, timeout=seconds) as answer:
        return json.load(answer)


def free_port() -> int:
    """Return a port of this machine on which nobody listens."""
    for port in random.SystemRandom().sample(_QUIET, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise TaxiError("100 ports of this machine were tried and are taken: stop what listens there.")


def is_free(port: int) -> bool:
    """Return whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def check_free(port: int) -> None:
    """Raise a TaxiError when something listens on a port of this machine."""
    if not is_free(port):
        raise TaxiError(f"Port {port} is taken: choose another, or stop what listens there.")
