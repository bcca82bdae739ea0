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
    """A signal asked for a drain before any trial was started."""


class Halt:
    """Whether a sweep is to end, and why.

    Signal handlers, the budget and what workers report set it.
    """

    def __init__(self) -> None:
        self.under_way = False
        """Trials may be started. Before that a signal ends what is prepared: nothing runs."""
        self.fatal: str | None = None
        """Why the sweep can't go on."""
        self.draining: str | None = None
        """Why no new prompt starts: a signal's name or the flag of a limit."""
        self._signalled = False
        """A signal asked for a drain. Only after one does the next signal stop at once: a limit's
        drain doesn't count."""
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
        """Whether the sweep ends now: at once, or because the last running prompt is done.

        Also after a fatal report of one node the prompts of the others finish.
        """
        return self.at_once or (self.ending() and self.running() == 0)

    def signalled(self, number: int) -> None:
        """Take in a signal: Ctrl-C and each one after the first stop at once, the first drains.

        Raises KeyboardInterrupt or Drained where nothing is under way yet.
        """
        if number == signal.SIGINT and (self.at_once or not self.under_way):
            raise KeyboardInterrupt  # stopping at once hangs: end in Python's own way
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

    Gives a function that installs the handlers once more: Ray's handler for crashes takes SIGTERM
    too when it starts. Does nothing off the main thread, where Python has no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        """Hand a signal on."""
        halt.signalled(number)

    ignored = [
        n for n in DRAIN_SIGNALS if signal.getsignal(n) is signal.SIG_IGN
    ]  # nohup: a closed terminal is no reason
    mine = [signal.SIGINT, *(n for n in DRAIN_SIGNALS if n not in ignored)]
    # a program that uses this package gets its own handlers back
    before = {number: signal.getsignal(number) for number in mine}

    def install() -> None:
        """Install the handlers; once more after Ray, which puts its own there."""
        for number in mine:
            signal.signal(number, handle)

    install()
    try:
        yield install
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
