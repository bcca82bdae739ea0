"""How a process ends, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import process_end
from tests.processes import Start, heard, processes

CODE = """
import atexit, ctypes, signal, sys, time
from orchestrator import process_end
if "early" in sys.argv:
    process_end.at_first_signal()
    ctypes.CDLL(None).signal(signal.SIGTERM, 0)  # as Ray does at its end: the system's default
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        time.sleep(0.5)  # undisturbed
        print("left in order", flush=True)
if "hangs" in sys.argv:
    process_end.will_hang()
    atexit.register(time.sleep, 60)

class Slow:
    def __del__(self):
        print("leaving", flush=True)
        time.sleep(0.5)

slow = Slow()
print("buffered")
process_end.end(3)
"""


@pytest.fixture
def start() -> Iterator[Start]:
    with processes(CODE, stderr=subprocess.PIPE) as begin:
        yield begin


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGHUP, 75), (signal.SIGINT, -2)]
)
def test_the_first_signal_ends_it_and_others_change_nothing(
    start: Start, number: signal.Signals, code: int
) -> None:
    process = start("early")
    assert heard(process) == "ready"
    for each in (number, signal.SIGTERM, signal.SIGINT, number):
        process.send_signal(each)
        time.sleep(0.1)
    said, errors = process.communicate(timeout=20)
    assert (said, process.returncode) == ("left in order\n", code), errors


def test_signals_while_python_ends_change_nothing(start: Start) -> None:
    """Python puts the system's handlers back before it has ended."""
    process = start()
    assert heard(process) == "buffered"
    assert heard(process) == "leaving"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        process.send_signal(number)
    assert (process.wait(20), process.communicate()[1]) == (3, "")


def test_what_would_hang_ends_with_its_code_and_its_output(start: Start) -> None:
    process = start("hangs")
    assert process.communicate(timeout=20) == ("buffered\n", "")
    assert process.returncode == 3


TUNE = """
import os, signal, sys, time
from orchestrator.__main__ import run
from orchestrator.cli import live, run_result, tune_command
import orchestrator.sweep.requested
from orchestrator.sweep.run import RunOutcome

number, when = signal.Signals[sys.argv.pop()], sys.argv.pop()

def signalled(*_):
    os.kill(os.getpid(), number)
    time.sleep(0.5)
    return 3

orchestrator.sweep.requested.run_sweep = lambda *_, **__: RunOutcome()
run_result.as_json = lambda *_: {}
if when == "leaving":
    live.Live.finished = signalled
    tune_command.exit_code = lambda *_: 3
else:
    tune_command.exit_code = signalled
run()
"""


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("number", process_end.SIGNALS)
@pytest.mark.parametrize("when", ["leaving", "last"])
def test_a_signal_after_a_sweep_s_end_changes_no_exit_code(
    tmp_path: Path, number: signal.Signals, when: str
) -> None:
    """Neither while its locks are released, nor when its own handlers stand no more."""
    flags = ("--json", "--space", "lhs", "--engine", "simulated", "--model", "smollm2")
    with processes(TUNE, stderr=subprocess.PIPE) as begin:
        process = begin("tune", *flags, "--out", str(tmp_path / "m"), when, number.name)
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (3, "{}\n"), errors
