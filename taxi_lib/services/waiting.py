"""Waiting until something is there."""

import time
from collections.abc import Callable
from typing import TypeVar

from taxi_lib.errors import TaxiError

Found = TypeVar("Found")


def wait_for(look: Callable[[], Found], seconds: float = 120, pause: float = 0.2) -> Found:
    """Call a function until it returns something true, and return that.

    Parameters
    ----------
    look : callable
        Returns something false, such as None or an empty list, until what you wait for is there.
    seconds, pause : float
        When to give up, and how long to wait between two calls.

    Raises
    ------
    TaxiError
        When the time is up.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TaxiError(
                f"Waited {seconds:.0f} seconds in vain: look at the server's page, or wait longer."
            )
        time.sleep(pause)
    return found
