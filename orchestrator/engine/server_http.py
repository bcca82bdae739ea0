"""HTTP to an OpenAI-compatible server: facts that it tells, and answers as they are streamed.

Doesn't know which server it is, nor what its answers are good for.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")

CONNECT_S = 5.0
FACTS_S = 10.0
"""A server that is idle answers a question about itself within it."""
SILENT_S = 600.0
"""A stream without a byte for so long is taken for hung, where no other limit was given."""
GRACE_S = 5.0
"""A text whose time is over ends with its next piece; where none comes, after so long."""
LONGEST_ANSWER_BYTES = 4_000_000
"""Of facts and errors no more is read."""
LONGEST_MESSAGE = 300
"""Characters of a server's own words that are passed on."""
KEY = "OPENAI_API_KEY"
"""The variable that holds the server's key, where it wants one."""


class ServerError(Exception):
    """A server that can't be reached, or that answers what can't be used: one sentence."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """Of HTTP; None: there was no answer, or it broke off."""


class SlowError(ServerError):
    """An answer that was not whole when its time was over."""

    def __init__(self, message: str, n_chunks: int) -> None:
        super().__init__(message)
        self.n_chunks = n_chunks
        """Pieces of text that had come."""


@dataclass
class Answer:
    """What a server streamed. Numbers are as it told them; None: not told."""

    text: str = ""
    finish_reason: str | None = None
    first_text_s: float | None = None
    """Seconds from the request to the first piece of text, thoughts included."""
    n_chunks: int = 0
    """Pieces of text that came: each holds a token or more."""
    n_prompt_tokens: int | None = None
    n_cached_tokens: int | None = None
    """Of the prompt's tokens those that the server had kept from an earlier request."""
    n_new_tokens: int | None = None

    def take(self, chunk: Any, at_s: float) -> None:
        """Add a chunk that came at `at_s` after the request.

        Raises ServerError for an error of the server, and for what is no chunk.
        """
        if not isinstance(chunk, dict):
            raise ServerError(f"it streamed {_short(repr(chunk))}, which is no chunk of an answer")
        if "error" in chunk:
            raise ServerError(f"it broke off with: {_short(_message(chunk))}")
        self._take_usage(chunk.get("usage"))
        for choice in chunk.get("choices") or []:
            delta = choice.get("delta") or {}
            thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
            piece = choice.get("text") or delta.get("content") or ""
            self.text += piece
            if piece or thought:
                self.n_chunks += 1
                if self.first_text_s is None:
                    self.first_text_s = at_s
            self.finish_reason = choice.get("finish_reason") or self.finish_reason

    def _take_usage(self, usage: Any) -> None:
        """The counts; of several the last ones, since some servers tell them with each chunk."""
        if not isinstance(usage, dict):
            return
        self.n_prompt_tokens = _count(usage.get("prompt_tokens"))
        self.n_new_tokens = _count(usage.get("completion_tokens"))
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict):
            self.n_cached_tokens = _count(details.get("cached_tokens"))


def _count(value: Any) -> int | None:
    """A count that a server told; None where it is none."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None


def _message(body: Any) -> str:
    """A server's own words in the body of an error: each kind of server has its place for them."""
    if isinstance(body, dict):
        for key in ("error", "message", "detail"):
            if body.get(key):
                return _message(body[key])
    return str(body)


def _short(text: str) -> str:
    """A server's words on one line, no longer than a message may be."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:LONGEST_MESSAGE]}..."


class Client:
    """Asks one server, with a connection for each question.

    Servers close connections that are silent for seconds, and a question that meets the close would
    be lost; a new one takes some 0.2 ms on one host. It runs in a thread of its own, since whoever
    calls may be in a loop of asyncio, as notebooks are. Follows no redirect and no proxy: what
    answers is what listens at the address.
    """

    def __init__(self, url: str) -> None:
        """`url`: up to /v1, which it includes."""
        self.url = url
        self.root = url.removesuffix("/v1")
        """Where a server's own questions begin, those outside of OpenAI's protocol."""
        self._loop = asyncio.new_event_loop()
        self._session: aiohttp.ClientSession | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="server", daemon=True)
        self._thread.start()

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work gives. Raises ServerError where there is no usable answer."""
        import aiohttp

        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except aiohttp.ClientConnectorError as error:
            raise ServerError(f"nobody answers there ({error.strerror or error})") from error
        except aiohttp.ClientPayloadError as error:
            raise ServerError("the connection broke off in the middle of an answer") from error
        except (aiohttp.ClientError, OSError) as error:
            said = str(error) or type(error).__name__
            raise ServerError(f"the connection broke off ({_short(said)})") from error
        except ValueError as error:  # no JSON, no UTF-8, or a line without an end
            raise ServerError(f"its answer can't be read ({_short(str(error))})") from error

    def _opened(self) -> aiohttp.ClientSession:
        """The session, made at its first use: aiohttp wants to be in its loop then."""
        import aiohttp

        if self._session is None:
            key = os.environ.get(KEY)
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            connector = aiohttp.TCPConnector(force_close=True)
            self._session = aiohttp.ClientSession(headers=headers, connector=connector)
        return self._session

    def facts(self, url: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON at an address, by GET or, with a body, by POST. Raises ServerError."""
        return self._wait_for(self._facts(url, body))

    async def _facts(self, url: str, body: dict[str, Any] | None) -> Any:
        """As `facts`."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=FACTS_S, sock_connect=CONNECT_S)
        method = "GET" if body is None else "POST"
        options: dict[str, Any] = {"json": body, "timeout": timeout, "allow_redirects": False}
        try:
            async with self._opened().request(method, url, **options) as response:
                await _check_status(response)
                return json.loads(await _read(response))
        except TimeoutError as error:
            raise ServerError(f"no answer within {FACTS_S:g} s") from error

    def told(self, path: str) -> dict[str, Any] | None:
        """The JSON object at a path of the server's own; None where it has none such."""
        try:
            facts = self.facts(self.root + path)
        except ServerError:
            return None
        return facts if isinstance(facts, dict) else None

    def stream(self, endpoint: str, body: dict[str, Any], timeout_s: float | None) -> Answer:
        """An answer, streamed to its end.

        Raises SlowError at the first piece of text after `timeout_s` or GRACE_S later, or after
        SILENT_S without a byte, and ServerError where the server refuses, breaks off or answers
        nonsense. The connection is closed then, by which servers know that nobody waits for the
        rest.
        """
        return self._wait_for(self._stream(endpoint, body, timeout_s))

    async def _stream(self, endpoint: str, body: dict[str, Any], timeout_s: float | None) -> Answer:
        """As `stream`."""
        import aiohttp

        answer, began_s = Answer(), time.perf_counter()
        limit_s = None if timeout_s is None else timeout_s + GRACE_S
        timeout = aiohttp.ClientTimeout(
            total=limit_s, sock_connect=CONNECT_S, sock_read=limit_s or SILENT_S
        )
        options: dict[str, Any] = {"json": body, "timeout": timeout, "allow_redirects": False}
        try:
            async with self._opened().post(f"{self.url}/{endpoint}", **options) as response:
                await _check_status(response)
                async for line in response.content:
                    if not line.startswith(b"data:"):
                        continue
                    data = line.removeprefix(b"data:").strip()
                    if data == b"[DONE]":
                        break
                    at_s = time.perf_counter() - began_s
                    answer.take(json.loads(data), at_s)
                    if timeout_s is not None and at_s > timeout_s and answer.n_chunks:
                        raise SlowError("its time is over", answer.n_chunks)
        except TimeoutError as error:
            silent = f"no byte for {SILENT_S:g} s, after {answer.n_chunks} pieces of text"
            raise SlowError(silent, answer.n_chunks) from error
        return answer

    def close(self) -> None:
        """Let go of the session and end the thread; more calls do nothing."""
        if self._loop.is_closed():
            return
        if self._session is not None:
            self._wait_for(self._session.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, of a long one the beginning."""
    body = b""
    async for part in response.content.iter_any():
        body += part
        if len(body) > LONGEST_ANSWER_BYTES:
            break
    return body


async def _check_status(response: aiohttp.ClientResponse) -> None:
    """Raise ServerError with the server's own words, unless it says that all is well."""
    if response.status == 200:  # noqa: PLR2004 - OK
        return
    told = (await _read(response)).decode(errors="replace")
    try:
        said = _message(json.loads(told))
    except ValueError:
        said = told
    raise ServerError(f"HTTP {response.status}: {_short(said)}", response.status)
