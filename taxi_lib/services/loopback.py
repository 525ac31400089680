"""Which requests the workbook's own servers answer: those of this machine's programs and pages.

Any web page can make a browser send a request to ``127.0.0.1``. It can even read the answer if its
own host name leads there (DNS rebinding). The browser's headers ``Host``, ``Origin`` and
``Sec-Fetch-Site`` show that; programs such as Prefect's client send only the first.
"""

import gc
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost", "[::1]")
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[..., Awaitable], Callable[..., Awaitable]], Awaitable[None]]


def refusal(headers: Iterable[tuple[str, str]], port: int, path: str = "/") -> str:
    """Return a sentence that says why a request is refused; empty when it is allowed.

    The headers' names are in lower case; the port is that of the server.
    """
    sent: dict[str, list[str]] = {}
    for name, value in headers:
        sent.setdefault(name, []).append(value.lower())
    ours = [f"{name}:{port}" for name in _NAMES]
    hosts, origins = sent.get("host", []), sent.get("origin", [])
    if not path.startswith("/"):
        hosts = [path]  # a whole address, as it is sent to a proxy
    if hosts not in [[name] for name in ours]:
        return f"This server answers only as {ours[0]}, not as {', '.join(hosts) or 'nobody'}."
    if origins and origins not in [[f"http://{name}"] for name in ours]:
        return f"This server answers only its own page, not one from {', '.join(origins)}."
    # From here on it was sent by a program, by our own page, or because somebody followed a link.
    link = (sent.get("sec-fetch-mode"), sent.get("sec-fetch-dest")) == (["navigate"], ["document"])
    is_ours = sent.get("sec-fetch-site", ["none"]) in (["none"], ["same-origin"])
    return "" if origins or link or is_ours else "Another page may only link to this one."


def guarded_app(app: App) -> App:
    """Return an ASGI application that refuses such requests with HTTP 403, and passes on others."""

    async def answer(scope: Scope, receive: Callable, send: Callable) -> None:
        why = ""
        if scope["type"] in ("http", "websocket"):
            headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]]
            why = refusal(headers, scope["server"][1], scope["path"])
        if not why:
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": why})
        else:
            plain = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": plain})
            await send({"type": "http.response.body", "body": f"{why}\n".encode()})

    return answer


def guarded_wsgi(app: Callable) -> Callable:
    """Return a WSGI application that does the same as :func:`guarded_app`."""

    def answer(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        names = (name for name in environ if name.startswith("HTTP_"))
        headers = [(n[5:].replace("_", "-").lower(), environ[n]) for n in names]
        if why := refusal(headers, int(environ["SERVER_PORT"])):
            start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{why}\n".encode()]
        return app(environ, start_response)

    return answer


def prefect_app() -> App:
    """Return Prefect's server as ``prefect server start`` makes it, guarded like this."""
    gc.disable()  # searching all that this imports takes 0.6 s and finds nothing
    from prefect.server.api.server import create_app

    app = guarded_app(create_app(final=True))
    gc.freeze()
    gc.enable()
    return app
