"""Names of one lesson's own on a Prefect server that others may be using at the same time."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from taxi_lib.errors import TaxiError


@contextmanager
def own_names() -> Iterator[Callable[[str], str]]:
    """Yield a function that makes a name this run's own, and remove what bears one at the end.

    ``named("taxi-pool")`` becomes ``"taxi-pool-a3f2"``. Deployments, work pools, blocks,
    variables, automations and concurrency limits with that ending are removed when the block
    ends; flow runs stay, as the server's history.

    Raises
    ------
    TaxiError
        At the end, when the server would not remove some of them.
    """
    # The letter keeps it apart from every year: nobody else's train-2021 shall be removed.
    ending = f"-{secrets.choice('abcdef')}{secrets.token_hex(2)[1:]}"
    try:
        yield lambda name: f"{name}{ending}"
    finally:
        _remove(ending)


def _remove(ending: str) -> None:
    from prefect import get_client
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    left = []

    with get_client(sync_client=True) as client:
        blocks = client.read_block_documents(include_secrets=False)
        found = [
            # An automation or a deployment may lean on a block or a pool: they go first.
            (client.delete_automation, client.read_automations(), "id"),
            (client.delete_deployment, client.read_deployments(), "id"),
            (client.delete_work_pool, client.read_work_pools(), "name"),
            (client.delete_block_document, blocks, "id"),
            (client.delete_variable_by_name, client.read_variables(), "name"),
            (
                client.delete_global_concurrency_limit_by_name,
                client.read_global_concurrency_limits(limit=200),
                "name",
            ),
        ]
        for remove, things, key in found:
            for thing in things:
                if (thing.name or "").endswith(ending):
                    try:
                        with suppress(ObjectNotFound):  # the lesson has removed it already
                            remove(getattr(thing, key))
                    except PrefectHTTPStatusError as error:
                        left.append(f"{thing.name} ({error.response.status_code})")
    if left:
        raise TaxiError(f"Prefect's server kept {', '.join(left)}: remove them on its page.")
