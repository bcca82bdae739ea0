"""What all tests share: no test reaches the user's caches, the network or a GPU, and none meets another's data set."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile(
    "busy", deadline=None
)  # how long an example takes says more about the host's load than about us
settings.load_profile("busy")


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
    """Signals as a terminal's shell leaves them; under nohup SIGHUP is ignored, here and in what is started here."""
    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
