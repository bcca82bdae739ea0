"""Which GPUs are ours, and when a window opens."""

from __future__ import annotations

import pytest

from orchestrator.errors import UserError
from orchestrator.meters import nvml
from orchestrator.meters.nvml import CounterMeter, Gpu, visible_gpus

FOUR = [Gpu(index, f"GPU-{index}{index}-x", "Fake", 2**34) for index in range(4)]


@pytest.mark.parametrize(
    ("chosen", "indices"),
    [
        (None, [0, 1, 2, 3]),
        ("3", [3]),
        ("2,0", [0, 2]),
        ("GPU-11-x", [1]),
        ("GPU-22", [2]),
        ("-1", []),
        ("9", []),
    ],
)
def test_cuda_visible_devices_is_heeded(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, indices: list[int]
) -> None:
    monkeypatch.setattr(nvml, "list_gpus", lambda: FOUR)
    if chosen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert [gpu.index for gpu in visible_gpus()] == indices


def test_an_empty_one_is_refused_where_there_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(nvml, "list_gpus", lambda: FOUR)
    with pytest.raises(UserError, match="set and empty"):
        visible_gpus()
    monkeypatch.setattr(nvml, "list_gpus", list)
    assert visible_gpus() == []


class Counter(CounterMeter):
    """A counter that steps at every third look."""

    def __init__(self, step_every: int | None) -> None:
        self.looks = 0
        self.step_every = step_every

    def _counter_mj(self) -> int | None:
        self.looks += 1
        return None if self.step_every is None else 1000 * (self.looks // self.step_every)


def test_a_window_waits_for_the_counter_to_move(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(step_every=3)
    counter.settle()
    assert counter.looks == 3
    absent = Counter(step_every=None)
    absent.settle()
    assert absent.looks == 1
    monkeypatch.setattr(nvml, "SETTLE_S", 0.02)
    frozen = Counter(step_every=10**9)
    frozen.settle()
    assert frozen.looks > 1
