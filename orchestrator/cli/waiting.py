"""Says what is waited for while nothing else can be shown, for example while Ray starts.

On a terminal one line counts the seconds; in a log file there is a line after some seconds and then
one every EVERY_S. Nothing is said of what is done at once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from orchestrator.cli.terminal import folded
from orchestrator.units import duration
from orchestrator.yaml_files import printable

if TYPE_CHECKING:
    from rich.console import Console

FIRST_S, EVERY_S = 2.0, 10.0


class Elapsed(ProgressColumn):
    """The field `figures` of a task; while its field `since` isn't None with the seconds from then.

    `since` is a time of time.monotonic().
    """

    def render(self, task: Task) -> Text:
        """Rich calls this at each redraw."""
        figures, since = task.fields["figures"], task.fields["since"]
        if since is None:
            return Text(figures)
        return Text(f"{figures} ({duration(int(time.monotonic() - since))})")


class Waiting:
    """Says one thing at a time on a console."""

    def __init__(
        self, console: Console, first_s: float = FIRST_S, every_s: float = EVERY_S
    ) -> None:
        self._console = console
        self._first_s, self._every_s = first_s, every_s
        self._bar: Progress | None = None
        self._over: threading.Event | None = None

    def say(self, line: str) -> None:
        """A line of plain text, above what is waited for."""
        self._console.print(Text(folded(printable(line), self._console.file)), soft_wrap=True)

    def begin(self, what: str) -> None:
        """From now on `what` is waited for, and nothing that was before."""
        self.end()
        since = time.monotonic()
        if self._console.is_terminal:
            # what is imported meanwhile must find the streams as they are
            self._bar = Progress(
                Elapsed(),
                console=self._console,
                refresh_per_second=1,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.add_task("", figures=what, since=since)
            self._bar.start()
        elif not self._console.quiet:
            self._over = threading.Event()
            threading.Thread(
                target=self._repeat, args=(what, since, self._over), name="waiting", daemon=True
            ).start()

    def end(self) -> None:
        """It has come, or is not waited for any more."""
        if self._bar is not None:
            self._bar.stop()
        if self._over is not None:
            self._over.set()
        self._bar = self._over = None

    @contextlib.contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Say it while the block runs."""
        self.begin(what)
        try:
            yield
        finally:
            self.end()

    def _repeat(self, what: str, since: float, over: threading.Event) -> None:
        """A line after the first seconds, and one every so many more, until it is over."""
        if over.wait(self._first_s):
            return
        self.say(f"{what} ...")
        while not over.wait(self._every_s):
            self.say(f"{what}: {duration(round(time.monotonic() - since))} so far")
