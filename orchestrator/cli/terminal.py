"""The console that lines are written to, and streams that outlast their reader.

On a terminal a line is broken between words, never inside one; elsewhere (a pipe, a log file) it
stays whole, so that programs can read it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from io import TextIOWrapper
from typing import IO, TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

LONGEST_LINE = 1000
"""Most characters of a line on standard error, which may repeat what was typed or a file says."""
LOG_WIDTH = 120
"""Columns of the output where it is no terminal but, for example, a log file."""


class _Lasting:
    """A stream whose reader may go away (a closed terminal, `| head`); later output is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's own."""
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
        """Survive the error of a reader that went away."""
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
        """Send all later output nowhere."""
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
                if isinstance(stream, TextIOWrapper):
                    # a name or a sign that the locale's encoding lacks is spelled out, not an error
                    stream.reconfigure(errors="backslashreplace")
                lasting = _Lasting(stream)
                stack.enter_context(redirected(lasting))
                stack.callback(lasting.end)
        yield


def is_terminal(stream: IO[str]) -> bool:
    """Whether a person looks at what is written there."""
    return stream is not None and stream.isatty()


def fits(line: str, stream: IO[str]) -> bool:
    """Whether a line needs no folding there."""
    return not is_terminal(stream) or len(line) <= shutil.get_terminal_size().columns


def folded(line: str, stream: IO[str], hang: int = 2) -> str:
    """A line as it is printed there: on a terminal broken between words, elsewhere as it is.

    A word longer than the terminal is wide (a path, an address) stays whole, so that it can be
    copied. `hang`: spaces in front of all lines but the first, beside the line's own.
    """
    if not is_terminal(stream):
        return line
    own = len(line) - len(line.lstrip(" "))
    return textwrap.fill(
        line,
        max(20, shutil.get_terminal_size().columns),
        subsequent_indent=" " * (own + hang),
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def tell(line: str, hang: int = 2) -> None:
    """Print a line of a result, which may hold untrusted text, on standard output.

    `hang`: spaces in front of what doesn't fit in the terminal's first line.
    """
    from orchestrator.yaml_files import printable

    click.echo(folded(printable(line), sys.stdout, hang))


def console(*, quiet: bool = False) -> Console:
    """A console for standard output, without colours or bars where that is no terminal.

    In a notebook, too, it is plain text.
    """
    from rich.console import Console

    terminal = Console(quiet=quiet, highlight=False, force_jupyter=False)
    if terminal.is_terminal:
        return terminal
    return Console(quiet=quiet, highlight=False, force_jupyter=False, width=LOG_WIDTH)


def say(line: str) -> None:
    """Print a line, which may hold untrusted text of any length, on standard error."""
    from orchestrator.yaml_files import printable

    click.echo(folded(shortened(printable(line)), sys.stderr), err=True)


def shortened(line: str) -> str:
    """A line of at most LONGEST_LINE characters, whose middle is left out where it is longer.

    What is wrong stands at its end, and where at its beginning.
    """
    if len(line) <= LONGEST_LINE:
        return line
    half = LONGEST_LINE // 2 - 30
    return f"{line[:half]} ... ({len(line) - 2 * half:,} characters) ... {line[-half:]}"


def literal(line: str, style: str = "") -> Text:
    """Untrusted text for a terminal: markup has no effect, control characters are spelled out.

    `style`: how Rich shows the whole of it, for example "red".
    """
    from rich.text import Text

    from orchestrator.yaml_files import printable

    return Text(printable(line), style=style)
