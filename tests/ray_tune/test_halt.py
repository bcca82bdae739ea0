"""How a sweep ends before it is done; signals are sent to a real process."""

from __future__ import annotations

import ctypes
import inspect
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
import ray

from orchestrator.ray_tune.halt import (
    DRAIN_SIGNALS,
    PATIENCE_S,
    SAME_S,
    Drained,
    Halt,
    held_back,
    signals_to,
)
from orchestrator.ray_tune.session import _override_ray
from tests.processes import Start, heard, processes

# --- without signals ------------------------------------------------------------------------------


@pytest.fixture
def halt() -> Halt:
    """Of a sweep that is under way, with a prompt that runs."""
    halt = Halt()
    halt.under_way = True
    halt.running = lambda: 1
    return halt


def test_nothing_ends_by_itself() -> None:
    halt = Halt()
    assert not halt.stop_all()
    assert not halt.ending()
    assert (halt.draining, halt.draining_since, halt.fatal) == (None, None, None)


def test_what_stops_the_sweep_waits_for_what_runs(halt: Halt) -> None:
    running = [3]
    halt.running = lambda: running[0]
    halt.fatal = "gated"
    assert (halt.ending(), halt.stop_all()) == (True, False)
    running[0] = 0
    assert halt.stop_all(), "what ran is done"


@pytest.mark.parametrize("number", DRAIN_SIGNALS)
def test_before_anything_is_started_a_signal_ends_the_preparation(number: signal.Signals) -> None:
    halt = Halt()
    with pytest.raises(Drained, match=number.name):
        halt.signalled(number)
    assert not halt.ending()


def test_before_anything_is_started_ctrl_c_is_python_s() -> None:
    with pytest.raises(KeyboardInterrupt):
        Halt().signalled(signal.SIGINT)


def test_draining_waits_for_what_runs(halt: Halt) -> None:
    running = 2
    halt.running = lambda: running
    before = time.monotonic()
    halt.drain("--max-hours")
    assert halt.draining_since is not None
    assert before <= halt.draining_since <= time.monotonic()
    assert halt.ending(), "no further prompt"
    assert not halt.stop_all()
    running = 0
    assert halt.stop_all()
    assert not halt.at_once


def test_the_first_reason_to_drain_stays(halt: Halt) -> None:
    halt.drain("--max-kwh")
    since = halt.draining_since
    halt.drain("--max-hours")
    halt.signalled(signal.SIGTERM)
    assert (halt.draining, halt.draining_since) == ("--max-kwh", since)


@pytest.mark.parametrize("number", DRAIN_SIGNALS)
def test_a_signal_drains(number: signal.Signals, halt: Halt) -> None:
    halt.signalled(number)
    assert (halt.draining, halt.at_once, halt.interrupted) == (number.name, False, False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its only item is the time by time.monotonic()."""
    now_s = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    return now_s


@pytest.mark.parametrize("first", DRAIN_SIGNALS)
@pytest.mark.parametrize("second", [signal.SIGUSR1, signal.SIGTERM])
def test_a_second_signal_stops_at_once(
    first: signal.Signals, second: signal.Signals, halt: Halt, clock: list[float]
) -> None:
    halt.signalled(first)
    assert not halt.stop_all()
    clock[0] += SAME_S
    halt.signalled(second)
    assert halt.stop_all()
    assert (halt.draining, halt.interrupted) == (first.name, False)


@pytest.mark.parametrize("number", DRAIN_SIGNALS)
def test_a_signal_that_comes_again_in_a_moment_is_no_second_one(
    number: signal.Signals, halt: Halt, clock: list[float]
) -> None:
    """`timeout` sends it to the driver, and then to its process group."""
    halt.signalled(number)
    clock[0] += 0.9 * SAME_S
    halt.signalled(number)
    assert (halt.draining, halt.at_once) == (number.name, False)


def test_another_signal_in_the_same_moment_is_a_second_one(halt: Halt) -> None:
    halt.signalled(signal.SIGUSR1)
    halt.signalled(signal.SIGTERM)
    assert halt.at_once


def test_a_closing_terminal_may_send_its_signal_twice(halt: Halt) -> None:
    halt.signalled(signal.SIGHUP)
    halt.signalled(signal.SIGHUP)
    assert (halt.draining, halt.stop_all()) == ("SIGHUP", False)


def test_the_first_signal_after_a_budget_s_end_stops_nothing_at_once(halt: Halt) -> None:
    """A scheduler's warning while the last prompts finish anyway."""
    halt.drain("--max-hours")
    halt.signalled(signal.SIGUSR1)
    assert not halt.at_once
    halt.signalled(signal.SIGTERM)
    assert halt.at_once


def test_ctrl_c_stops_at_once_and_where_that_hangs_it_is_python_s(
    halt: Halt, clock: list[float]
) -> None:
    halt.signalled(signal.SIGINT)
    assert halt.stop_all()
    assert (halt.interrupted, halt.draining) == (True, None)
    clock[0] += PATIENCE_S
    for number in (signal.SIGINT, *DRAIN_SIGNALS):
        halt.signalled(number)
    clock[0] += 0.1
    halt.signalled(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        halt.signalled(signal.SIGINT)
    halt.signalled(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, *DRAIN_SIGNALS])
def test_what_is_being_ended_is_not_disturbed(number: signal.Signals) -> None:
    """Whatever comes while locks are released and folders removed."""
    halt = Halt()
    with pytest.raises((KeyboardInterrupt, Drained)):
        halt.signalled(number)
    for other in (signal.SIGINT, *DRAIN_SIGNALS):
        halt.signalled(other)
    assert (halt.draining, halt.at_once) == (None, False)


def test_ctrl_c_while_draining_stops_at_once(halt: Halt) -> None:
    halt.signalled(signal.SIGTERM)
    halt.signalled(signal.SIGINT)
    assert (halt.at_once, halt.interrupted, halt.draining) == (True, True, "SIGTERM")


# --- handlers -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("default_signals")
def test_handlers_are_put_back() -> None:
    numbers = (signal.SIGINT, *DRAIN_SIGNALS)
    before = [signal.getsignal(number) for number in numbers]

    def fails() -> None:
        with signals_to(Halt()):
            assert not set(before) & {signal.getsignal(number) for number in numbers}
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert [signal.getsignal(number) for number in numbers] == before


def test_ray_s_own_handler_stays_out() -> None:
    """It would end the process with an exit code of its own while Ray starts."""
    before = signal.getsignal(signal.SIGTERM)
    _override_ray()
    ray._private.utils.set_sigterm_handler(lambda *_: None)
    assert signal.getsignal(signal.SIGTERM) is before
    assert "_private.utils.set_sigterm_handler" in inspect.getsource(ray._private.worker.init)
    assert "process = ConsolePopen(" in inspect.getsource(ray._private.services.start_ray_process)
    assert "print_to_stdstream" in inspect.getsource(ray._private.worker)


@pytest.mark.usefixtures("default_signals")
def test_a_handler_that_a_library_replaces_stands_again() -> None:
    """Ray replaces it in C, which Python doesn't see, when it starts and when it ends."""
    libc = ctypes.CDLL(None)
    halt = Halt()
    halt.under_way = True
    with signals_to(halt):
        with held_back():
            libc.signal(signal.SIGTERM, 0)  # SIG_DFL
            # to this thread: a library's thread that is older would take it, and end the process
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            assert halt.draining is None
        assert halt.draining == "SIGTERM"


def test_what_is_started_meanwhile_never_gets_the_signals() -> None:
    with held_back():
        started = subprocess.run(["cat", "/proc/self/status"], capture_output=True, check=True)
    (blocked,) = [
        line.split()[1] for line in started.stdout.decode().splitlines() if "SigBlk" in line
    ]
    for number in DRAIN_SIGNALS:
        assert int(blocked, 16) & 1 << number - 1


def test_off_the_main_thread_there_are_no_handlers() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found: list[object] = []

    def other() -> None:
        with signals_to(Halt()):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [before]


# --- a process ------------------------------------------------------------------------------------

DRIVER = """
import signal, sys, time
from orchestrator.ray_tune import halt as module
from orchestrator.ray_tune.halt import Halt, signals_to
module.PATIENCE_S = 0.1
halt = Halt()
halt.running = lambda: 1
halt.under_way = "early" not in sys.argv
if "nohup" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
told = None
with signals_to(halt):
    print("ready", flush=True)
    while True:
        now = (halt.draining, halt.at_once, halt.interrupted)
        if now != told:
            told = now
            print(*now, flush=True)
        time.sleep(0.01)
"""


@pytest.fixture
def driver() -> Iterator[Start]:
    """A process that says what its halt says, whenever that changes."""
    with processes(DRIVER, stderr=subprocess.PIPE) as start:

        def ready(*arguments: str) -> subprocess.Popen[str]:
            process = start(*arguments)
            assert heard(process) == "ready"
            assert heard(process) == "None False False"
            return process

        yield ready


def test_a_process_drains_then_stops_then_ends(driver: Start) -> None:
    process = driver()
    process.send_signal(signal.SIGUSR1)
    assert heard(process) == "SIGUSR1 False False"
    process.send_signal(signal.SIGTERM)
    assert heard(process) == "SIGUSR1 True False"
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.wait(20)
    assert process.returncode in (1, -signal.SIGINT), (
        "what stops at once and doesn't is ended by Ctrl-C"
    )


def test_an_early_signal_ends_a_process_and_what_it_started(driver: Start) -> None:
    process = driver("early")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[1].endswith("Drained: SIGTERM\n")


def test_nohup_stays_nohup(driver: Start) -> None:
    """A closed terminal is no reason; another signal still is."""
    process = driver("nohup")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert heard(process) == "SIGTERM False False"
    process.send_signal(signal.SIGHUP)
    os.kill(process.pid, signal.SIGINT)
    assert heard(process) == "SIGTERM True True"
