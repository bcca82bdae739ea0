"""The server of the review page: it listens on this machine only, under a secret address.

The address contains a random token, so that neither another user of the machine nor another page
in the browser can read texts or write decisions. Requests under another host name are refused:
by DNS rebinding, a foreign page could reach this server under its own name. So are those of other
pages, even with the token, which may have leaked. One server serves one reviewer; several servers
may run on one data set.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Literal, Self

from aiohttp import web
from pydantic import Field, ValidationError, model_validator

from orchestrator.dataset.reading import reason_of
from orchestrator.dataset.verdicts import PERSONS_REASONS, PersonsReasons
from orchestrator.errors import UserError
from orchestrator.nouns import Noun
from orchestrator.review import review_view as view
from orchestrator.review.review_queue import LONGEST_NOTE, Filters, Item, Queue, different_values

HOSTS = ("127.0.0.1", "localhost")
"""Names under which the page may be requested.

Their port isn't checked, since a tunnel to the machine may end at another one."""
OWN_SITES = ("same-origin", "none")
"""What browsers say in Sec-Fetch-Site of requests of the page itself, or of a typed address."""
PAGE_FILES = {
    "": ("index.html", "text/html"),
    "review.js": ("review.js", "text/javascript"),
    "review.css": ("review.css", "text/css"),
}
"""Path below the token -> (file, content type)."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer. Texts of a data set are untrusted: whatever they hold, nothing runs."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DecisionRequest(Noun):
    """A decision as the page sends it."""

    execution: str
    text_sha256: str
    decision: Literal["keep", "discard", "undecided"]
    reasons: PersonsReasons = ()
    """Why it is discarded."""
    note: str = Field(default="", max_length=LONGEST_NOTE)

    @model_validator(mode="after")
    def _reasons_are_for_discarding(self) -> Self:
        if self.reasons and self.decision != "discard":
            raise ValueError("only a text that is discarded has reasons")
        return self


class ReviewServer:
    """Serves the page and its data below /<token>/."""

    def __init__(self, queue: Queue, token: str) -> None:
        self._queue = queue
        self._token = token

    def application(self) -> web.Application:
        """The application that answers the requests."""
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
        """Refuse other hosts and other tokens, before anything else of a request is read."""
        if request.host.partition(":")[0] not in HOSTS:
            return _refused(403, "this review page has no other name than 127.0.0.1 and localhost")
        if _is_of_another_page(request):
            return _refused(403, "only the review page itself may send requests")
        # compare_digest() takes the same time wherever two tokens differ, so none can be guessed.
        given = request.path.removeprefix("/").partition("/")[0]
        if not secrets.compare_digest(given.encode(errors="replace"), self._token.encode()):
            return _refused(404, "open the whole address that `orchestrator review` printed")
        return await handler(request)

    @web.middleware
    async def _follow(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Read the judgements again if they have changed; answer with an error if that fails."""
        try:
            self._queue.refresh()
            return await handler(request)
        except UserError as error:
            return _refused(500, str(error))

    async def _page(self, request: web.Request) -> web.Response:
        name, kind = PAGE_FILES[request.match_info["name"]]
        text = (files("orchestrator.review") / "page" / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=kind, charset="utf-8")

    async def _state(self, _request: web.Request) -> web.Response:
        items = self._queue.items.values()
        names = {column: different_values(items, column) for column in ("use_case", "model")}
        return web.json_response(
            {"reviewer": self._queue.reviewer, "reasons": PERSONS_REASONS, **names}
        )

    async def _list(self, request: web.Request) -> web.Response:
        try:
            filters = Filters.model_validate_strings(dict(request.query))
        except ValidationError as error:
            return _refused(400, f"this filter isn't valid: {reason_of(error)}")
        selection = self._queue.selected(filters)
        entries = [view.entry(self._queue, item) for item in selection.items]
        return web.json_response(
            {"total": selection.total, "done": selection.done, "entries": entries}
        )

    async def _execution(self, request: web.Request) -> web.Response:
        item = self._queue.items.get(request.query.get("id", ""))
        if item is None:
            return _refused(404, "there is no such text")
        return self._details(item)

    async def _decide(self, request: web.Request) -> web.Response:
        try:
            decision = DecisionRequest.model_validate_json(await request.read())
        except ValidationError as error:
            return _refused(400, f"this isn't a decision: {reason_of(error)}")
        item = self._queue.items.get(decision.execution)
        # A sweep may have measured this execution again: the decision is about the older text.
        if item is None or item.sha256 != decision.text_sha256:
            return _refused(409, "this text has changed since the page showed it: reload the page")
        try:
            self._queue.decide(item, decision.decision, decision.note, decision.reasons)
        except OSError as error:
            return _refused(507, f"reviews.jsonl can't be written: {reason_of(error)}")
        self._queue.refresh()
        return self._details(item)

    async def _agreement(self, _request: web.Request) -> web.Response:
        return web.json_response(view.agreements(self._queue))

    def _details(self, item: Item) -> web.Response:
        """The answer with all that the page shows of one text."""
        return web.json_response(view.details(self._queue, item))


def _is_of_another_page(request: web.Request) -> bool:
    """Whether the browser says that a page of another origin sent a request.

    Programs that are no browsers say nothing. A browser may be led to the page from anywhere: the
    file that opens it is of another origin, too.
    """
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.host:
        return True
    opens = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
    return not opens and request.headers.get("Sec-Fetch-Site", "none") not in OWN_SITES


def _refused(status: int, why: str) -> web.Response:
    """The answer to a request that isn't served."""
    return web.json_response({"error": why}, status=status)


async def _with_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


async def serve(
    app: web.Application, port: int, ready: Callable[[int], None], ended: asyncio.Event
) -> None:
    """Serve on 127.0.0.1 until `ended` is set. `port` 0 takes a free one.

    `ready` is called with the port once the server listens. Raises UserError where the port can't
    be used.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError as error:
            what = error.strerror or error
            raise UserError(
                f"--port {port}: can't be used ({what}); leave --port out to get a free port"
            ) from error
        ready(runner.addresses[0][1])
        await ended.wait()
    finally:
        await runner.cleanup()
