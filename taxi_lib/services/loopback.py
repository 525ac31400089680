"""Who may ask the workbook's own servers: programs and pages of this machine, no page from outside.

A page from anywhere can make a browser ask ``127.0.0.1``, and read the answer under a name of its
own that leads there (DNS rebinding). The browser gives it away in the headers ``Host``, ``Origin``
and ``Sec-Fetch-Site``; programs such as Prefect's client send the first one only.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost", "[::1]")
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[..., Awaitable], Callable[..., Awaitable]], Awaitable[None]]


def fault(headers: Iterable[tuple[str, str]], port: int, path: str = "/") -> str:
    """Return in a sentence why a request is refused; empty when it may pass.

    Parameters
    ----------
    headers : iterable of (str, str)
        Names in lower case, with their values; a header that came twice is there twice.
    port : int
        Of the server that was asked.
    path : str
        What was asked for.
    """
    told: dict[str, list[str]] = {}
    for name, value in headers:
        told.setdefault(name, []).append(value.lower())
    ours = [f"{name}:{port}" for name in _NAMES]
    hosts, origins = told.get("host", []), told.get("origin", [])
    if not path.startswith("/"):
        hosts = [path]  # an address in full, as it is sent to a proxy
    if hosts not in [[name] for name in ours]:
        return f"This server answers only as {ours[0]}, not as {', '.join(hosts) or 'nobody'}."
    if origins and origins not in [[f"http://{name}"] for name in ours]:
        return f"This server answers only its own page, not one from {', '.join(origins)}."
    return "" if origins or _is_asked_for_here(told) else "Another page may only link to this one."


def _is_asked_for_here(told: dict[str, list[str]]) -> bool:
    """Tell a program, the page itself or a link that somebody followed from a foreign page."""
    link = (told.get("sec-fetch-mode"), told.get("sec-fetch-dest")) == (["navigate"], ["document"])
    return link or told.get("sec-fetch-site", ["none"]) in (["none"], ["same-origin"])


def guarded_app(app: App) -> App:
    """Return an ASGI application that refuses what must not reach another one, with HTTP 403."""

    async def ask(scope: Scope, receive: Callable, send: Callable) -> None:
        why = ""
        if scope["type"] in ("http", "websocket"):
            headers = [
                (name.decode("latin-1"), v.decode("latin-1")) for name, v in scope["headers"]
            ]
            why = fault(headers, scope["server"][1], scope["path"])
        if not why:
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": why})
        else:
            plain = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": plain})
            await send({"type": "http.response.body", "body": f"{why}\n".encode()})

    return ask


def guarded_wsgi(app: Callable) -> Callable:
    """Return a WSGI application that refuses the same."""

    def ask(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        asked = (name for name in environ if name.startswith("HTTP_"))
        headers = [(n[5:].replace("_", "-").lower(), environ[n]) for n in asked]
        if why := fault(headers, int(environ["SERVER_PORT"])):
            start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{why}\n".encode()]
        return app(environ, start_response)

    return ask


def prefect_app() -> App:
    """Return Prefect's server as ``prefect server start`` makes it, behind that guard."""
    from prefect.server.api.server import create_app

    return guarded_app(create_app(final=True))
