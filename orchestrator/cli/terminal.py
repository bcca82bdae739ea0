"""Figures as a person reads them, and the terminal to which they are written."""

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

J_PER_WH = 3600.0
LOG_WIDTH = 120
"""Columns of the output where it is no terminal but, for example, a log file."""


class _Lasting:
    """A stream whose reader may go away (a closed terminal, `| head`); later output is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text, or drop it if nobody reads any more."""
        with self._outlasting():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop what is left if nobody reads any more."""
        with self._outlasting():
            self._stream.flush()

    @contextlib.contextmanager
    def _outlasting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # a closed pipe gives EPIPE, a closed terminal EIO. Other errors may pass (a full disk
            # may have room again), so later output is still tried
            if error.errno in (errno.EPIPE, errno.EIO):
                self._give_up()

    def end(self) -> None:
        """Flush for the last time.

        Python flushes once more when it exits; if that fails, it exits with a code of its own.
        """
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
    """Let the program outlive its terminal: output that nobody can read is dropped.

    A stream that was closed before the program started stays as it is.
    """
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
    """A console for standard output, without colours or bars where that is no terminal."""
    terminal = Console(quiet=quiet, highlight=False)
    if terminal.is_terminal:
        return terminal
    return Console(quiet=quiet, highlight=False, width=LOG_WIDTH)


def literal(line: str, style: str = "") -> Text:
    """Untrusted text for a terminal: markup has no effect, control characters are spelled out."""
    return Text(printable(line), style=style)


def duration(seconds: float) -> str:
    """Seconds as a person says them: 4 s, 2.5 min, 12 min, 3.5 h, 2.1 days."""
    if seconds < 90:  # noqa: PLR2004 - "1.2 min" says less than "74 s"
        return f"{seconds:.0f} s"
    for limit, size, unit in ((90 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{_two_digits(seconds / size)} {unit}"
    return f"{seconds / 86400:.1f} days"


def _two_digits(value: float) -> str:
    """One decimal below 10, else none."""
    if value < 10:  # noqa: PLR2004
        return f"{value:.1f}"
    return f"{value:.0f}"


def energy(joules: float | None) -> str:
    """An energy in J below 1 kJ, in Wh below 1 kWh, else in kWh; n/a where it is unknown."""
    if joules is None:
        return "n/a"
    if joules < 1000:  # noqa: PLR2004
        return f"{joules:.1f} J"
    wh = joules / J_PER_WH
    if wh < 1000:  # noqa: PLR2004
        return f"{wh:.2f} Wh"
    return f"{wh / 1000:.2f} kWh"


def number(value: float | None) -> str:
    """A number with three significant digits; n/a where it is unknown."""
    if value is None:
        return "n/a"
    return f"{value:.3g}"
