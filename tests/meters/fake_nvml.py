"""A host with NVIDIA GPUs that isn't there: stands in for the module pynvml, ours and CodeCarbon's.

Every GPU draws constant watts; time moves only by `advance`, so energies are exact.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

STEP_S = 0.1
START_MJ = 123_456_789
"""What a counter has counted since the driver was loaded."""


class NVMLError(Exception):
    """NVML's base class of errors."""


class NotSupportedError(NVMLError):
    """What a GPU without the function answers."""


@dataclass
class FakeGpu:
    """One device."""

    watts: float
    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    counter: str = "linear"
    """linear, stepped (of 100 ms), frozen, backward, or absent."""
    memory_bytes: int = 80 * 2**30
    architecture: int = 9
    power_limit_w: float = 700.0
    refuses: set[str] = field(default_factory=set)
    """Names of functions that raise for this device."""


class FakeNvml:
    """The functions of pynvml that the project and CodeCarbon call."""

    NVMLError = NVMLError
    NVMLError_NotSupported = NotSupportedError
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2

    def __init__(self, *gpus: FakeGpu) -> None:
        self.gpus = gpus
        self.clock_s = 0.0
        self.inits = 0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock_s += seconds

    def _ask(self, gpu: FakeGpu, name: str) -> None:
        if name in gpu.refuses:
            raise NotSupportedError(name)

    def nvmlInit(self) -> None:  # noqa: N802 - as in pynvml
        self.inits += 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        self._ask(self.gpus[index], "nvmlDeviceGetHandleByIndex")
        return self.gpus[index]

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:  # noqa: N802
        self._ask(gpu, "nvmlDeviceGetUUID")
        return gpu.uuid

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> bytes:  # noqa: N802
        self._ask(gpu, "nvmlDeviceGetName")
        return gpu.name.encode()

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> Any:  # noqa: N802
        self._ask(gpu, "nvmlDeviceGetMemoryInfo")
        return SimpleNamespace(total=gpu.memory_bytes, free=gpu.memory_bytes, used=0)

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask(gpu, "nvmlDeviceGetEnforcedPowerLimit")
        return round(gpu.power_limit_w * 1000)

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu) -> int:  # noqa: N802
        if gpu.counter == "absent":
            raise NotSupportedError("nvmlDeviceGetTotalEnergyConsumption")
        at_s = self.clock_s
        if gpu.counter == "stepped":
            at_s = math.floor(at_s / STEP_S + 1e-9) * STEP_S
        sign = {"frozen": 0, "backward": -1}.get(gpu.counter, 1)
        return START_MJ + sign * round(at_s * gpu.watts * 1000)

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask(gpu, "nvmlDeviceGetPowerUsage")
        return round(gpu.watts * 1000)

    def nvmlDeviceGetFieldValues(self, gpu: FakeGpu, ids: list[int]) -> list[Any]:  # noqa: N802
        self._ask(gpu, "nvmlDeviceGetFieldValues")
        return [
            SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=round(gpu.watts * 1000)))
            for _ in ids
        ]

    def nvmlDeviceGetArchitecture(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask(gpu, "nvmlDeviceGetArchitecture")
        return gpu.architecture

    def nvmlDeviceGetTemperature(self, gpu: FakeGpu, _sensor: int) -> int:  # noqa: N802
        self._ask(gpu, "nvmlDeviceGetTemperature")
        return 41

    def nvmlDeviceGetClockInfo(self, gpu: FakeGpu, kind: int) -> int:  # noqa: N802
        self._ask(gpu, "nvmlDeviceGetClockInfo")
        return {self.NVML_CLOCK_SM: 1980, self.NVML_CLOCK_MEM: 2619}[kind]

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> Any:  # noqa: N802
        self._ask(gpu, "nvmlDeviceGetUtilizationRates")
        return SimpleNamespace(gpu=97, memory=50)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask(gpu, "nvmlDeviceGetCurrentClocksThrottleReasons")
        return 4


def host(*watts: float, **of_each: Any) -> FakeNvml:
    """A host with a GPU for each figure; GPU number n has the UUID of `uuid(n)`."""
    return FakeNvml(*(FakeGpu(w, uuid(n), **of_each) for n, w in enumerate(watts)))


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
