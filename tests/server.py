"""A server on loopback for tests."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class QuietServer(ThreadingHTTPServer):
    """Prints nothing where a client has gone: the line would stand in some other test's output."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None: ...


class QuietHandler(BaseHTTPRequestHandler):
    """Prints no line for a request."""

    def log_message(self, *_: Any) -> None: ...


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """HOST:PORT of a server that answers until the block ends."""
    server = QuietServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
