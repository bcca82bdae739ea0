"""A model hub on loopback: a few routes of the real one, and its ways of saying no."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests import server

SHA = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """One repository, `org/model`, with files at one commit; `fault` spoils it."""

    files: dict[str, bytes] = field(default_factory=dict)
    gated: bool = False
    access: bool = True
    """Whether a gated repository lets us in."""
    fault: str = ""
    """'', 'html' (an access point's page), 'error' (500 on everything)."""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """(method, path, Authorization)"""

    def answer(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        if self.fault == "html":
            return 200, {"Content-Type": "text/html"}, b"<html>please log in to the network</html>"
        if self.fault == "error":
            return 500, {}, b"internal error"
        if path.startswith("/api/models/"):
            return self._info(path.removeprefix("/api/models/").partition("?")[0])
        repo, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repo != "org/model" or revision not in (SHA, "main", "v1") or name not in self.files:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        if self.gated and not self.access:
            return (
                403,
                {
                    "X-Error-Code": "GatedRepo",
                    "X-Error-Message": "Access to model org/model is restricted",
                },
                b"",
            )
        body = self.files[name]
        headers = {
            "ETag": f'"{hashlib.sha256(body).hexdigest()}"',
            "X-Repo-Commit": SHA,
            "Accept-Ranges": "bytes",
        }
        return 200, headers, body

    def _info(self, what: str) -> tuple[int, dict[str, str], bytes]:
        if what == f"org/model/tree/{SHA}":
            entries = [
                {"type": "file", "path": name, "size": len(body), "oid": "0" * 40}
                for name, body in self.files.items()
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(entries).encode()
        repo, _, revision = what.partition("/revision/")
        if repo != "org/model":
            return (
                401,
                {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"},
                b"{}",
            )
        if revision not in ("", "main", "v1", SHA):
            return (
                404,
                {
                    "X-Error-Code": "RevisionNotFound",
                    "X-Error-Message": f"Invalid rev id: {revision}",
                },
                b"{}",
            )
        siblings = [{"rfilename": name, "size": len(body)} for name, body in self.files.items()]
        content: dict[str, Any] = {
            "id": repo,
            "modelId": repo,
            "sha": SHA,
            "private": False,
            "siblings": siblings,
        }
        content["gated"] = "manual" if self.gated else False
        return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()


@contextmanager
def serving(hub: FakeHub) -> Iterator[str]:
    """The hub's address while it runs."""

    class Handler(server.QuietHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            hub.requests.append((self.command, self.path, self.headers.get("Authorization")))
            status, headers, body = hub.answer(self.command, self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = _respond  # noqa: N815 - names of http.server

    with server.serving(Handler) as address:
        yield f"http://{address}"


@contextmanager
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def use(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make huggingface_hub take that address; it read its environment when it was imported."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
