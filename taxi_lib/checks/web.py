"""A web service whose answers only the check knows, so that a learner's code has to ask it."""

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Service:
    """A service that runs.

    Parameters
    ----------
    address : str
        Such as ``http://127.0.0.1:45678``.
    fact : str
        What it answers; no other service says the same.
    calls : list of str
        The path of each call so far.
    """

    address: str = ""
    fact: str = field(default_factory=lambda: f"A cat has {secrets.randbelow(10**9)} hairs.")
    calls: list[str] = field(default_factory=list)


@contextmanager
def service(failures: float = 0, status: int = 503) -> Iterator[Service]:
    """Serve one fact as `taxi_lib.services.facts_api` does: ``/``, ``/fact``, ``/api/v2/facts``.

    What is posted is taken and counted.

    Parameters
    ----------
    failures : float
        How many calls fail before the first that is answered; ``math.inf`` for all of them.
    status : int
        The status of a call that fails.
    """
    made = Service()
    dogs = {"data": [{"type": "fact", "attributes": {"body": made.fact}}]}
    as_json = {"/fact": {"fact": made.fact, "length": len(made.fact)}, "/api/v2/facts": dogs}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in as_json:
                self._answer("application/json", json.dumps(as_json[self.path]))
            else:
                self._answer("text/plain", made.fact)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer("application/json", json.dumps({"received": len(made.calls) + 1}))

        def _answer(self, kind: str, body: str) -> None:
            made.calls.append(self.path)
            if len(made.calls) <= failures:
                self._send(status, "application/json", '{"detail": "Try again."}')
            else:
                self._send(200, kind, body)

        def _send(self, status: int, kind: str, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        made.address = f"http://127.0.0.1:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever, args=[0.05], daemon=True)
        thread.start()
        try:
            yield made
        finally:
            httpd.shutdown()
