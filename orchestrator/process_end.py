"""How the process of the command line ends: with its exit code, whatever signals still come."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

DRAINED = 75
"""A sweep stopped before its end and can be resumed (EX_TEMPFAIL of sysexits.h)."""
INTERRUPTED = 130
"""Ctrl-C: 128 + SIGINT, as shells report it."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

_hangs = False


def will_hang() -> None:
    """Tell that Python can't end this process: a library would wait for what is dead."""
    global _hangs  # noqa: PLW0603 - of the process, as its end is
    _hangs = True


def at_first_signal() -> None:
    """End the process at the first signal, with DRAINED; Ctrl-C raises KeyboardInterrupt.

    For the time in which nothing else handles signals: before a sweep is prepared, and after it.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        """Leave, and don't be disturbed while leaving."""
        _ignore_signals()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(DRAINED)

    for number in SIGNALS:
        # nohup: a closed terminal is no reason
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)


def end(code: int) -> NoReturn:
    """End the process with this code. Signals that come from here on change nothing."""
    _ignore_signals()
    if _hangs:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _ignore_signals() -> None:
    """Ignore them. Python puts back handlers before it has ended, but lets this stand."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
