"""The server of the review page: on loopback, for those who know its address.

The address holds a random token, so that neither another user of the machine nor a page in the same browser can read texts or
write decisions; requests under another host name (DNS rebinding) are refused. It serves one reviewer; several servers may run
on one data set.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Literal

from aiohttp import web
from pydantic import Field, ValidationError

from orchestrator.dataset.reading import reason_of
from orchestrator.errors import UserError
from orchestrator.nouns import Noun
from orchestrator.review import review_view as view
from orchestrator.review.review_queue import LONGEST_NOTE, Filters, Item, Queue, names_of

HOSTS = ("127.0.0.1", "localhost")
"""Any port: a tunnel to the machine may end at another one."""
PAGE = {
    "": ("index.html", "text/html"),
    "review.js": ("review.js", "text/javascript"),
    "review.css": ("review.css", "text/css"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Asked(Noun):
    """A decision as the page sends it."""

    execution: str
    text_sha256: str
    decision: Literal["keep", "discard", "undecided"]
    note: str = Field(default="", max_length=LONGEST_NOTE)


class ReviewServer:
    """The page and its data below /<token>/."""

    def __init__(self, queue: Queue, token: str) -> None:
        self._queue = queue
        self._token = token

    def application(self) -> web.Application:
        """What answers requests."""
        app = web.Application(middlewares=[self._guard, self._follow])
        app.on_response_prepare.append(_with_headers)
        app.add_routes(
            [
                web.get("/{token}/{name:(?:review\\.(?:js|css))?}", self._page),
                web.get("/{token}/state", self._state),
                web.get("/{token}/list", self._list),
                web.get("/{token}/execution", self._execution),
                web.get("/{token}/agreement", self._agreement),
                web.post("/{token}/decision", self._decide),
            ]
        )
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse other hosts and other tokens, before anything else is looked at."""
        if request.host.partition(":")[0] not in HOSTS:
            return _refused(403, "this is a review page of 127.0.0.1, under no other name")
        given = request.path.removeprefix("/").partition("/")[0]
        if not secrets.compare_digest(given.encode(errors="replace"), self._token.encode()):
            return _refused(404, "open the whole address that `orchestrator review` printed")
        return await handler(request)

    @web.middleware
    async def _follow(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Take in what was judged meanwhile, and tell where that can't be read."""
        try:
            self._queue.refresh()
            return await handler(request)
        except UserError as error:
            return _refused(500, str(error))

    async def _page(self, request: web.Request) -> web.Response:
        name, kind = PAGE[request.match_info["name"]]
        text = (files("orchestrator.review") / "page" / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=kind, charset="utf-8")

    async def _state(self, _request: web.Request) -> web.Response:
        items = self._queue.items.values()
        names = {column: names_of(items, column) for column in ("use_case", "model")}
        return web.json_response({"reviewer": self._queue.reviewer, "texts": len(items), **names})

    async def _list(self, request: web.Request) -> web.Response:
        try:
            filters = Filters.model_validate_strings(dict(request.query))
        except ValidationError as error:
            return _refused(400, f"no such filter: {reason_of(error)}")
        found = self._queue.selected(filters)
        entries = [view.entry(self._queue, item) for item in found.items]
        return web.json_response({"total": found.total, "done": found.done, "entries": entries})

    async def _execution(self, request: web.Request) -> web.Response:
        item = self._queue.items.get(request.query.get("id", ""))
        return _refused(404, "there is no such text") if item is None else self._details(item)

    async def _decide(self, request: web.Request) -> web.Response:
        try:
            asked = Asked.model_validate_json(await request.read())
        except ValidationError as error:
            return _refused(400, f"no decision: {reason_of(error)}")
        item = self._queue.items.get(asked.execution)
        if item is None or item.sha256 != asked.text_sha256:
            return _refused(
                409, "this text is no longer the one that was shown: load the page again"
            )
        try:
            self._queue.decide(item, asked.decision, asked.note)
        except OSError as error:
            return _refused(507, f"reviews.jsonl can't be written: {reason_of(error)}")
        self._queue.refresh()
        return self._details(item)

    async def _agreement(self, _request: web.Request) -> web.Response:
        return web.json_response(view.agreements(self._queue))

    def _details(self, item: Item) -> web.Response:
        return web.json_response(view.details(self._queue, item))


def _refused(status: int, why: str) -> web.Response:
    return web.json_response({"error": why}, status=status)


async def _with_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


async def serve(
    app: web.Application, port: int, ready: Callable[[int], None], ended: asyncio.Event
) -> None:
    """Serve on 127.0.0.1 until `ended`; `ready` is told the port. Raises UserError where it is taken."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError as error:
            what = error.strerror or error
            raise UserError(
                f"--port {port}: can't be listened on ({what}); leave it out for a free one"
            ) from error
        ready(runner.addresses[0][1])
        await ended.wait()
    finally:
        await runner.cleanup()
