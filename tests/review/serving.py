"""A queue made in memory, and its server in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.tables import Trials
from orchestrator.dataset.verdicts import (
    Decision,
    Verdict,
    append_decision,
    write_verdicts,
)
from orchestrator.nouns import text_sha256
from orchestrator.review.review_queue import Item, Queue
from orchestrator.review.review_server import ReviewServer, serve
from tests import builders

TOKEN = "t0ken"
STORY = "The castle stood above the sea, and every evening its lamps were lit one by one."


def trials(texts: Iterable[str], **changes: Any) -> Trials:
    """A trial a text, of a real model; other keywords change the executions."""
    found, texts = Trials(), list(texts)
    for index, text in enumerate(texts):
        use_case = "danceCoreography" if index < len(texts) // 2 else "fantasyWorld"
        of = builders.spec(
            config_index=index,
            setup=builders.setup(use_case=use_case),
            prompts=builders.prompts(builders.PROMPTS[:1]),
        )
        found.add(
            builders.record(
                of,
                executions=[builders.execution(1, of=of, output_text=text, **changes)],
                synthetic=False,
            )
        )
    return found


def queue(root: Path, texts: Iterable[str] = (STORY, STORY, STORY), reviewer: str = "ada") -> Queue:
    """Of a data set of which only the judgements are on the disk."""
    return Queue(DataSetPaths(root), trials(texts), reviewer)


def nth(of: Queue, number: int) -> Item:
    """An item by its place."""
    return list(of.items.values())[number]


def says(of: Queue, root: Path, usable: Iterable[bool | None]) -> None:
    """The machine's verdicts, in the order of the items; None: none."""
    known = {"n_words": 16, "max_repeat_run": 1, "distinct_1": 0.5, "rules": "1:abc"}
    judged = [
        Verdict.model_validate(
            dict.fromkeys(Verdict.model_fields)
            | known
            | {
                "execution": item.execution,
                "text_sha256": item.sha256,
                "usable": word,
                "quality": 0.9 if word else 0.1,
            }
            | {"reasons": () if word else ("repetition",)}
        )
        for item, word in zip(of.items.values(), usable, strict=False)
        if word is not None
    ]
    write_verdicts(DataSetPaths(root), judged)
    of.refresh()


def decides(
    of: Queue,
    root: Path,
    reviewer: str,
    number: int,
    word: str,
    *,
    note: str = "",
    reasons: tuple[str, ...] = (),
) -> None:
    """A reviewer, from another program."""
    item = nth(of, number)
    at = f"2026-01-02T03:04:05.{number:06}+00:00"
    values = {
        "execution": item.execution,
        "text_sha256": text_sha256(item.text),
        "reviewer": reviewer,
        "reasons": reasons,
        "note": note,
        "at": at,
    }
    append_decision(DataSetPaths(root), Decision.model_validate(values | {"decision": word}))
    of.refresh()


@contextlib.contextmanager
def served(of: Queue) -> Iterator[str]:
    """The address of a running server."""
    bound: list[int] = []
    up = threading.Event()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    def ready(port: int) -> None:
        bound.append(port)
        up.set()

    def run() -> None:
        loop.run_until_complete(serve(ReviewServer(of, TOKEN).application(), 0, ready, ended))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert up.wait(20)
        yield f"http://127.0.0.1:{bound[0]}/{TOKEN}/"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(20)


def ask(
    address: str,
    path: str,
    body: object = None,
    *,
    token: str = TOKEN,
    host: str | None = None,
    headers: dict[str, str] | None = None,
    method: str | None = None,
) -> tuple[int, str, http.client.HTTPMessage]:
    """Status, text and headers."""
    port = urlsplit(address).port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    content = body if isinstance(body, str | None) else json.dumps(body)
    own = {"Host": host if host is not None else f"127.0.0.1:{port}"}
    connection.request(
        method or ("GET" if body is None else "POST"),
        f"/{token}/{path}",
        content,
        own | (headers or {}),
    )
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers
