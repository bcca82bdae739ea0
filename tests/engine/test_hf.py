"""What of the real engine needs no weights: where layers lie."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from orchestrator.engine.hf import HfEngine, _bitsandbytes, offload_fraction
from orchestrator.nouns import QUANTIZATIONS


def model(**gigabytes: float) -> Any:
    """A model with so many bytes on each device."""
    parameters = [
        SimpleNamespace(nelement=lambda n=n: int(n * 1e9) // 2, element_size=lambda: 2, device=SimpleNamespace(type=device))
        for device, n in gigabytes.items()
    ]
    return SimpleNamespace(parameters=lambda: parameters)


@pytest.mark.parametrize(
    ("bytes_by_device", "share"),
    [({"cuda": 4}, 0.0), ({"cuda": 3, "meta": 1}, 0.25), ({"cuda": 1, "cpu": 2, "meta": 1}, 0.75), ({}, 0.0)],
)
def test_what_lies_outside_the_gpu_is_counted_by_its_bytes(bytes_by_device: dict[str, float], share: float) -> None:
    assert offload_fraction(model(**bytes_by_device)) == share


def test_only_when_asked_may_layers_lie_elsewhere() -> None:
    engine = HfEngine.__new__(HfEngine)
    engine._cuda = True
    engine._torch = SimpleNamespace(cuda=SimpleNamespace(mem_get_info=lambda: (10_000, 20_000)))
    assert engine._placement(cpu_offload=False) == {"device_map": {"": 0}}, "whole on the GPU, or not at all"
    asked = engine._placement(cpu_offload=True)
    assert (asked["device_map"], asked["max_memory"][0]) == ("auto", 8_000), "room is left for cache and activations"
    assert asked["max_memory"]["cpu"] > 0
    assert set(asked["max_memory"]) == {0, "cpu"}, "never on a disk"
    engine._cuda = False
    assert engine._placement(cpu_offload=True) == {"device_map": None}


@pytest.mark.parametrize("name", ["nf4", "fp4", "int8"])
def test_bitsandbytes_is_told_of_offload_only_when_asked(name: str) -> None:
    for asked in (False, True):
        record = _bitsandbytes(QUANTIZATIONS[name], torch.float16, cpu_offload=asked)
        assert record.llm_int8_enable_fp32_cpu_offload is asked
