"""Secrets: found where a reference says that they are kept, and hidden wherever they turn up.

A notebook's outcome is taken to depend on the reference: another secret kept in the same place
does not make it stale.
"""

import os
from collections.abc import Iterable

from taxi_lib.errors import ContractError

MASK = "********"


def reveal(name: str, reference: str) -> str:
    """Return the secret that a reference stands for.

    Parameters
    ----------
    name : str
        The parameter, for the message.
    reference : str
        ``env:VARIABLE``, or ``block:NAME`` for a Secret block on Prefect's server.

    Raises
    ------
    ContractError
        When there is no such variable or block.
    """
    place, _, key = reference.partition(":")
    if place == "env":
        if key not in os.environ:
            raise ContractError(
                f"{name} is to be found in the variable {key}, which is not set: set it."
            )
        return os.environ[key]
    from prefect.blocks.system import Secret

    try:
        return str(Secret.load(key, _sync=True).get())
    except ValueError as error:
        raise ContractError(
            f"{name} is to be found in the Secret block {key!r}, which is not on Prefect's "
            "server: save it there."
        ) from error


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return a text with every secret in it hidden, also where Python shows it quoted."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASK).replace(repr(secret)[1:-1], MASK)
    return text


def mask_all(value: object, secrets: Iterable[str]) -> object:
    """Return a value with every secret hidden in its texts, lists and mappings."""
    if isinstance(value, str):
        return mask(value, secrets)
    if isinstance(value, list):
        return [mask_all(part, secrets) for part in value]
    if isinstance(value, dict):
        return type(value)({key: mask_all(part, secrets) for key, part in value.items()})
    return value
