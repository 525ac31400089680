"""S3 on this machine: moto's server, empty at each start."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from taxi_lib.services.loopback import HOST, guarded_wsgi


@contextmanager
def s3_server() -> Iterator[str]:
    """Serve S3 (moto's server, empty); yield its endpoint."""
    import requests
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    log = logging.getLogger("werkzeug")
    before = log.level
    log.setLevel(logging.ERROR)  # else every request is a line in the notebook
    # As moto's own ThreadedMotoServer does it, which would answer the page of anybody.
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
