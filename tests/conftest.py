"""What all tests share.

No test reaches the user's caches, the network or a GPU, and none meets another's data set.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from orchestrator.dataset.paths import DataSetPaths
from tests.commandline import Outcome, caller

# How long an example takes says more about the host's load than about us.
settings.register_profile("desk", deadline=None)
# The gate has the same examples each time; the desk, where they can be looked into, has new ones.
settings.register_profile("gate", deadline=None, derandomize=True)
settings.load_profile("gate" if os.environ.get("CI") else "desk")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Own cache, no hub, no token; tests of the hub put back what they need."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CODECARBON_LOG_LEVEL", "error")
    monkeypatch.setenv(
        "CUDA_VISIBLE_DEVICES", "-1"
    )  # on a GPU host, too, tests of the engine run on the CPU
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def default_signals() -> Iterator[None]:
    """Signals as a terminal's shell leaves them.

    Under nohup SIGHUP is ignored, here and in every process that is started here; in the background
    of a script SIGINT is.
    """
    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def paths(tmp_path: Path) -> DataSetPaths:
    """A data set that isn't there yet."""
    return DataSetPaths(tmp_path / "measurements")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command line in this process."""
    return caller(capsys)
