"""Small web services on this machine: animal facts that sometimes fail, and a place to post to.

The facts have the form of the public APIs that the course used.
"""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from taxi_lib.services.loopback import HOST, guarded_app
from taxi_lib.services.waiting import wait_for

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.applications import Starlette

CAT_FACTS = (
    "A cat sleeps for about two thirds of the day.",
    "A cat's collarbone is not joined to any other bone.",
    "Cats cannot taste sweetness.",
    "A house cat can run at about 48 kilometres an hour.",
    "A cat's whiskers are about as wide as its body.",
)
DOG_FACTS = (
    "A dog's nose print is as unlike any other as a fingerprint.",
    "Dogs sweat through the pads of their paws.",
    "A dog has about 300 million receptors for smells.",
    "A greyhound reaches 70 kilometres an hour.",
    "Puppies are born deaf.",
)


def _facts_app(share: float, failure: str, slow_seconds: float, seed: int) -> "FastAPI":
    from fastapi import FastAPI, HTTPException
    from fastapi.responses import PlainTextResponse

    app = FastAPI(title="Animal facts", docs_url=None, redoc_url=None)
    chance, choice = random.Random(seed), random.Random(seed)

    def fail_sometimes() -> None:
        if chance.random() >= share:
            return
        if failure == "error":
            raise HTTPException(503, "Too many people want to know about animals: try again.")
        time.sleep(slow_seconds)

    @app.get("/", response_class=PlainTextResponse)
    def cat_fact_as_text() -> str:
        fail_sometimes()
        return choice.choice(CAT_FACTS)

    @app.get("/fact")
    def cat_fact(max_length: int = 140) -> dict[str, str | int]:
        fail_sometimes()
        fact = choice.choice([fact for fact in CAT_FACTS if len(fact) <= max_length] or [""])
        return {"fact": fact, "length": len(fact)}

    @app.get("/api/v2/facts")
    def dog_fact() -> dict[str, list]:
        fail_sometimes()
        return {"data": [{"type": "fact", "attributes": {"body": choice.choice(DOG_FACTS)}}]}

    return app


@contextmanager
def serve(app: "Starlette", port: int = 0) -> Iterator[str]:
    """Serve a web application from a thread, on this port or a free one; yield its address."""
    import uvicorn

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        # No log: lessons let calls time out on purpose.
        quiet = {"log_config": None, "log_level": "critical", "lifespan": "off"}
        config = uvicorn.Config(guarded_app(app), **quiet)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        wait_for(lambda: server.started or not thread.is_alive(), pause=0.01)
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)


@contextmanager
def facts_api(
    failure_share: float = 0.5, failure: str = "error", slow_seconds: float = 30.0, seed: int = 0
) -> Iterator[str]:
    """Serve facts about cats (``/``, ``/fact``) and dogs (``/api/v2/facts``); yield the address.

    Parameters
    ----------
    failure_share : float
        The share of calls that fail, from 0 to 1; the same ones for the same seed.
    failure : {"error", "slow"}
        HTTP 503, or an answer that takes ``slow_seconds``.
    slow_seconds : float
        How long a slow answer takes.
    seed : int
        Decides which calls fail and which facts are chosen.
    """
    with serve(_facts_app(failure_share, failure, slow_seconds, seed)) as address:
        yield address


@contextmanager
def webhook_sink() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Receive JSON; yield the address to post it to, and the list that it is added to."""
    from fastapi import Body, FastAPI

    app = FastAPI(title="Sink", docs_url=None, redoc_url=None)
    received: list[dict[str, Any]] = []

    @app.post("/")
    def receive(message: dict[str, Any] = Body()) -> dict[str, int]:  # noqa: B008 (FastAPI's way)
        received.append(message)
        return {"received": len(received)}

    with serve(app) as address:
        yield address, received
