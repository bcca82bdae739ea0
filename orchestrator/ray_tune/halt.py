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

SAME_S = 1.0
"""The first signal within this time again is no second one: `timeout` sends SIGTERM to the driver,
and then to its process group."""
PATIENCE_S = 20.0
"""How long stopping at once may take before Ctrl-C ends it in Python's own way."""


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
        self._first: tuple[int, float] | None = None
        """The signal that asked for a drain, and when. Only after one does the next signal stop at
        once: a limit's drain doesn't count."""
        self._stopping_since_s: float | None = None
        """Since when the sweep stops at once, by time.monotonic()."""
        self.over = False
        """How the process ends is decided: signals change nothing any more."""
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

        Raises KeyboardInterrupt or Drained, once, where nothing is under way yet; and
        KeyboardInterrupt where stopping at once has taken longer than PATIENCE_S.
        """
        now_s = time.monotonic()
        if self.over:
            return
        if not self.under_way:
            # what it ends is left in order, whatever comes meanwhile
            self.over = True
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise Drained(signal.Signals(number).name)
        if self.at_once:
            self._again(number, now_s)
        elif number == signal.SIGINT:
            self.interrupted = self.at_once = True
            self._stopping_since_s = now_s
        elif self._first is None:
            self._first = (number, now_s)
            self.drain(signal.Signals(number).name)
        elif number != signal.SIGHUP and not self._is_same(number, now_s):
            self.at_once = True
            self._stopping_since_s = now_s

    def _is_same(self, number: int, now_s: float) -> bool:
        """Whether a signal is the first one, sent once more."""
        if self._first is None:
            return False
        first, since_s = self._first
        return number == first and now_s < since_s + SAME_S

    def _again(self, number: int, now_s: float) -> None:
        """A signal while the sweep stops at once. Raises KeyboardInterrupt where that hangs."""
        if self._stopping_since_s is None:
            self._stopping_since_s = now_s
        if number == signal.SIGINT and now_s > self._stopping_since_s + PATIENCE_S:
            self.over = True
            raise KeyboardInterrupt


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Keep the signals that drain waiting; afterwards Python's handlers stand again.

    Ray replaces them when it starts and when it ends. Processes and threads that are started
    meanwhile never get these signals. Does nothing off the main thread, where Python has none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DRAIN_SIGNALS)
    try:
        yield
    finally:
        for number in DRAIN_SIGNALS:
            signal.signal(number, signal.getsignal(number))
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def signals_to(halt: Halt) -> Iterator[None]:
    """Send signals to `halt` instead of ending the process.

    Does nothing off the main thread, where Python has no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        """Hand a signal on."""
        halt.signalled(number)

    # nohup: a closed terminal is no reason
    ignored = [n for n in DRAIN_SIGNALS if signal.getsignal(n) is signal.SIG_IGN]
    mine = [signal.SIGINT, *(n for n in DRAIN_SIGNALS if n not in ignored)]
    # a program that uses this package gets its own handlers back
    before = {number: signal.signal(number, handle) for number in mine}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
