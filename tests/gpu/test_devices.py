"""Which GPUs are ours."""

from __future__ import annotations

import pytest

from orchestrator.errors import UserError
from orchestrator.gpu import devices
from orchestrator.gpu.devices import Gpu, visible_gpus

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
    monkeypatch.setattr(devices, "list_gpus", lambda: FOUR)
    if chosen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert [gpu.index for gpu in visible_gpus()] == indices


def test_a_slice_of_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-0a0a0a0a")
    monkeypatch.setattr(devices, "list_gpus", lambda: FOUR)
    with pytest.raises(UserError, match="names a MIG slice"):
        visible_gpus()


def test_an_empty_one_is_refused_where_there_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(devices, "list_gpus", lambda: FOUR)
    with pytest.raises(UserError, match="set and empty"):
        visible_gpus()
    monkeypatch.setattr(devices, "list_gpus", list)
    assert visible_gpus() == []
