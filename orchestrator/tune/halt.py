"""Ending a sweep before it is done: signals, budgets, and what would fail every trial alike.

Draining lets the prompts that run finish and starts nothing more; stopping at once leaves them.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

DRAIN_SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP)


class Drained(BaseException):
    """A signal asked to drain before anything was begun."""


class Halt:
    """Whether a sweep is to end, and why; set by signal handlers, by the budget and by workers' reports."""

    def __init__(self) -> None:
        self.under_way = False
        """Trials may be begun. Before, there is nothing to wait for, and a signal ends what is prepared."""
        self.fatal: str | None = None
        """Why the sweep can't go on."""
        self.draining: str | None = None
        """Why no new prompt starts: a signal's name or a budget's flag."""
        self._signalled = False
        """A signal to drain came. A budget's draining is none: the first signal after it doesn't stop at once."""
        self.at_once = False
        self.interrupted = False
        """At once, by Ctrl-C."""
        self.draining_since: float | None = None
        """By time.monotonic()."""
        self.running: Callable[[], int] = lambda: 0
        """How many trials have a prompt that runs."""

    def drain(self, why: str) -> None:
        """Start nothing more. The first reason stays."""
        if self.draining is None:
            self.draining_since = time.monotonic()
            self.draining = why

    def ending(self) -> bool:
        """Whether nothing new may start."""
        return self.at_once or self.fatal is not None or self.draining is not None

    def stop_all(self) -> bool:
        """End the sweep: at once, or when the last running prompt is done, which a node that is wrong shall not cost."""
        return self.at_once or (self.ending() and self.running() == 0)

    def signalled(self, number: int) -> None:
        """A signal came: Ctrl-C and every second one stop at once, the others drain.

        Raises KeyboardInterrupt or Drained where nothing is under way yet.
        """
        if number == signal.SIGINT and (self.at_once or not self.under_way):
            raise KeyboardInterrupt  # what stops at once doesn't: Python's own way
        if not self.under_way:
            raise Drained(signal.Signals(number).name)
        if number == signal.SIGINT:
            self.interrupted = self.at_once = True
        elif self._signalled and number == signal.SIGHUP:
            return  # a closing terminal sends it more than once
        elif self._signalled:
            self.at_once = True
        else:
            self._signalled = True
            self.drain(signal.Signals(number).name)


@contextlib.contextmanager
def signals_to(halt: Halt) -> Iterator[Callable[[], None]]:
    """Send signals to `halt` instead of ending the process.

    Gives a function that installs the handlers once more: Ray's own for crashes takes SIGTERM, too, when it starts. Does
    nothing off the main thread, where Python has no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        halt.signalled(number)

    ignored = [
        n for n in DRAIN_SIGNALS if signal.getsignal(n) is signal.SIG_IGN
    ]  # nohup: a closed terminal is no reason
    mine = [signal.SIGINT, *(n for n in DRAIN_SIGNALS if n not in ignored)]
    before = {number: signal.getsignal(number) for number in mine}

    def install() -> None:
        for number in mine:
            signal.signal(number, handle)

    install()
    try:
        yield install
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
