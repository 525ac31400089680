"""S3 on this machine."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from taxi_lib.services.loopback import HOST, guarded_wsgi


@contextmanager
def s3_server() -> Iterator[str]:
    """Serve an empty S3 store (moto); yield its endpoint."""
    import requests
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    log = logging.getLogger("werkzeug")
    before = log.level
    log.setLevel(logging.ERROR)  # or each request would print a line in the notebook
    # Like moto's own ThreadedMotoServer, which would answer any web page.
    app = guarded_wsgi(DomainDispatcherApplication(create_backend_app))
    server = make_server(HOST, 0, app, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    thread.start()
    endpoint = f"http://{HOST}:{server.server_port}"
    try:
        requests.post(f"{endpoint}/moto-api/reset", timeout=30).raise_for_status()
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        log.setLevel(before)
