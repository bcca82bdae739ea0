"""How the process of the command line ends: with its exit code, whatever signals still come."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

DRAINED = 75
"""A sweep stopped before its end and can be resumed (EX_TEMPFAIL of sysexits.h)."""
INTERRUPTED = 130
"""Ctrl-C: 128 + SIGINT, as shells report it."""

TAKEN = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
SIGNALS = (signal.SIGINT, *TAKEN)

_hangs = False
_decided = False


def will_hang() -> None:
    """Tell that Python can't end this process: a library would wait for what is dead."""
    global _hangs  # noqa: PLW0603 - of the process, as its end is
    _hangs = True


def decided() -> None:
    """Tell that the exit code stands: the handlers of `at_first_signal` do nothing any more."""
    global _decided  # noqa: PLW0603 - of the process, as its end is
    _decided = True


def at_first_signal() -> None:
    """End the process at the first signal, with DRAINED; Ctrl-C raises KeyboardInterrupt.

    For the time in which nothing else handles signals: before a sweep is prepared, and after it.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        """Leave, and don't be disturbed while leaving."""
        if _decided:
            return
        _ignore_signals()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(DRAINED)

    for number in SIGNALS:
        # nohup: a closed terminal is no reason
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)
    _take_in_a_thread()


def _take_in_a_thread() -> None:
    """Let one thread take the signals of the whole process and call Python's handlers.

    Ray puts handlers of its own in place of Python's when it starts, and the system's, which end
    the process, when it ends. Signals that each thread blocks never reach those.
    """
    main = threading.main_thread().ident
    assert main is not None  # noqa: S101 - it runs

    def take() -> None:
        """Have the main thread call the handler, at once where a system call waits."""
        while True:
            _thread.interrupt_main(signal.Signals(signal.sigwait(TAKEN)))
            signal.pthread_kill(main, signal.SIGURG)

    signal.signal(signal.SIGURG, lambda _number, _frame: None)
    # threads and processes that are started from here on block them, too
    signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)
    threading.Thread(target=take, name="signals", daemon=True).start()


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
