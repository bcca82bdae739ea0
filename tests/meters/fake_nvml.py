"""A host with NVIDIA GPUs that isn't there: stands in for the module pynvml, ours and CodeCarbon's.

Every GPU draws constant watts; time moves only by `advance`, so energies are exact.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator.gpu.access import GpuAccess
from orchestrator.gpu.devices import described
from orchestrator.gpu.simulated import (
    COUNTER_START_MJ,
    GpuTruth,
    NVMLError,
    SimulatedClock,
    SimulatedGpu,
    SimulatedNvml,
)

__all__ = ["NVMLError"]

START_MJ = COUNTER_START_MJ
COUNTERS: dict[str, dict[str, Any]] = {
    "linear": {"counter_step_s": 1e-6},
    "stepped": {"counter_step_s": 0.1},
    "frozen": {"counter_frozen_from_s": 0.0},
    "absent": {"has_counter": False},
}
"""How a counter behaves -> the truth of such a GPU."""


class FakeNvml(SimulatedNvml):
    """Simulated GPUs that share one clock."""

    @property
    def clock(self) -> SimulatedClock:
        return self.gpus[0].clock

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if self.gpus:
            self.clock.sleep(seconds)

    def access(self, index: int = 0) -> GpuAccess:
        """One of the GPUs, opened."""
        return GpuAccess(described(self, index), self, self.gpus[index], self.clock)


def host(*watts: float, counter: str = "linear", **truth: Any) -> FakeNvml:
    """A host with a GPU for each figure; GPU number n has the UUID of `uuid(n)`."""
    clock = SimulatedClock()
    values = {"name": "NVIDIA H100 80GB HBM3", **COUNTERS[counter], **truth}
    return FakeNvml(
        *(
            SimulatedGpu(GpuTruth(bare_w=w, context_w=w, **values), uuid(n), clock=clock)
            for n, w in enumerate(watts)
        )
    )


def changed(gpu: SimulatedGpu, **truth: Any) -> None:
    """Let a GPU behave otherwise from now on."""
    gpu.truth = gpu.truth.model_copy(update=truth)


def uuid(index: int) -> str:
    """As NVML writes it. All begin with the letters that CodeCarbon strips from a MIG's name."""
    return f"GPU-{index}1111111-2222-3333-4444-555555555555"


@contextmanager
def installed(nvml: FakeNvml, codecarbon: bool = False) -> Iterator[FakeNvml]:
    """Our pynvml is the fake one, and CodeCarbon's too if asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pynvml", nvml)
        if codecarbon:
            from codecarbon.core import gpu, gpu_nvidia, hardware_cache

            patch.setattr(gpu_nvidia, "pynvml", nvml)
            patch.setattr(gpu, "pynvml", nvml)
            patch.setattr(gpu_nvidia, "PYNVML_AVAILABLE", True)
            patch.setattr(gpu, "PYNVML_AVAILABLE", True)
            patch.setattr(gpu, "is_nvidia_system", lambda: True)
            patch.setattr(hardware_cache, "_plans", {})  # what it found of the real host
        yield nvml
