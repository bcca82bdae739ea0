"""What is said while Ray starts and models load."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import pytest
from rich.console import Console

from orchestrator.cli.waiting import Waiting

PATIENCE_S = 20.0


def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


def lines(log: io.StringIO) -> list[str]:
    return log.getvalue().splitlines()


def test_a_log_gets_a_line_and_then_one_every_some_seconds(log: io.StringIO) -> None:
    waiting = Waiting(Console(file=log), first_s=0.01, every_s=0.01)
    with waiting.during("Starting Ray"):
        until(lambda: len(lines(log)) > 2)
    n = len(lines(log))
    assert lines(log)[0] == "Starting Ray ..."
    assert lines(log)[1] == "Starting Ray: 0 s so far"
    waiting.begin("Loading")
    until(lambda: "Loading ..." in lines(log))
    waiting.end()
    waiting.end()
    assert lines(log).index("Loading ...") <= n + 1, "one line may have been on its way"


def test_what_is_done_at_once_is_not_said(log: io.StringIO) -> None:
    with Waiting(Console(file=log), first_s=60.0).during("Checking"):
        pass
    assert log.getvalue() == ""


def test_it_ends_with_an_error(log: io.StringIO) -> None:
    waiting = Waiting(Console(file=log), first_s=0.05)
    with pytest.raises(KeyboardInterrupt), waiting.during("Checking"):
        raise KeyboardInterrupt
    time.sleep(0.1)
    assert log.getvalue() == ""


def test_a_terminal_gets_one_line_that_is_taken_away(log: io.StringIO) -> None:
    waiting = Waiting(Console(file=log, force_terminal=True, width=80))
    with waiting.during("Starting Ray"):
        until(lambda: "Starting Ray (0 s)" in log.getvalue())
        waiting.say("a line")
    assert "a line\n" in log.getvalue()
    assert log.getvalue().endswith("\x1b[2K"), "what was waited for is erased"


def test_quiet_is_quiet(log: io.StringIO) -> None:
    waiting = Waiting(Console(file=log, quiet=True), first_s=0.01, every_s=0.01)
    with waiting.during("Starting Ray"):
        time.sleep(0.05)
    assert log.getvalue() == ""
