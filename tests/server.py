"""A server on loopback for tests."""

from __future__ import annotations

from http.server import ThreadingHTTPServer
from typing import Any


class QuietServer(ThreadingHTTPServer):
    """Prints nothing where a client has gone: it would stand in the output of whatever test runs then."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None: ...
