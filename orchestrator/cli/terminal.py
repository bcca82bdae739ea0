"""The console that lines are written to, and streams that outlast their reader."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from orchestrator.yaml_files import printable

LOG_WIDTH = 120
"""Columns where there is no terminal (a log file)."""


class _Lasting:
    """A stream whose reader may go away (a closed terminal, `| head`): what is written after that is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or drop."""
        with self._outlasting():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        with self._outlasting():
            self._stream.flush()

    @contextlib.contextmanager
    def _outlasting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (
                errno.EPIPE,
                errno.EIO,
            ):  # a pipe's, a terminal's; a full disk may have room again
                self._give_up()

    def end(self) -> None:
        """Let nothing be left that Python's own last flush would fail over, with an exit code of its own."""
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def lasting_streams() -> Iterator[None]:
    """A sweep goes on when nobody reads what it says. Streams that were closed before are left as they are."""
    with contextlib.ExitStack() as stack:
        for stream, redirected in (
            (sys.stdout, contextlib.redirect_stdout),
            (sys.stderr, contextlib.redirect_stderr),
        ):
            if stream is not None:
                lasting = _Lasting(stream)
                stack.enter_context(redirected(lasting))
                stack.callback(lasting.end)
        yield


def console(*, quiet: bool = False) -> Console:
    """Standard output; no colours or bars where it isn't a terminal."""
    plain = Console(quiet=quiet, highlight=False)
    return plain if plain.is_terminal else Console(quiet=quiet, highlight=False, width=LOG_WIDTH)


def literal(line: str, style: str = "") -> Text:
    """Untrusted text for a terminal view: no markup, control characters spelled out."""
    return Text(printable(line), style=style)
