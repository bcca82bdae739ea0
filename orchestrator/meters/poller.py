"""Polls one GPU through NVML and prints a line a sample, until its reader is gone.

It is a process of its own, so that polling takes no time of the process that generates.

    python -m orchestrator.meters.poller GPU-UUID INTERVAL_S

The first line is a JSON object {"power_semantics": "instant" | "average_1s" | "unknown"}, then a
JSON list a sample in the order of `FIELDS`. Time is time.perf_counter(), which on Linux is one
clock for all processes. Power and throttling are read each time, the rest about once a second: each
NVML call takes milliseconds. What the GPU refuses is null.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

from orchestrator.gpu.access import GpuAccess, open_gpu
from orchestrator.gpu.architectures import power_semantics

FIELDS = (
    "at_s",
    "power_w",
    "temperature_c",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "utilization",
    "memory_used_bytes",
    "throttle_reasons",
)
"""What a sample holds, in order."""
SLOW_EVERY_S = 1.0
POWER_INSTANT_FIELD = 186
"""NVML_FI_DEV_POWER_INSTANT: instantaneous power in milliwatts, where the driver has it."""


class Sampler:
    """Reads the samples of one GPU."""

    def __init__(self, access: GpuAccess) -> None:
        self._access = access
        self._due_slow_s = 0.0
        self._power_w: Callable[[], float | None] = self._usage_w
        self.semantics = power_semantics(access.nvml, access.handle)
        """What the power is: instant, average_1s or unknown."""
        if access.ask(self._instant_w) is not None:
            self._power_w, self.semantics = self._instant_w, "instant"

    def _instant_w(self) -> float | None:
        """Watts of this moment; None where the GPU refuses."""
        nvml, handle = self._access.nvml, self._access.handle
        field = nvml.nvmlDeviceGetFieldValues(handle, [POWER_INSTANT_FIELD])[0]
        return field.value.uiVal / 1000 if field.nvmlReturn == 0 else None

    def _usage_w(self) -> float | None:
        """Watts by the older query, which on some GPUs is an average over a second."""
        return float(self._access.nvml.nvmlDeviceGetPowerUsage(self._access.handle)) / 1000

    def sample(self) -> list[Any]:
        """A sample in the order of FIELDS; the slow fields are None but for once a second."""
        access, began_s = self._access, self._access.clock()
        watts = access.ask(self._power_w)
        at_s = (began_s + access.clock()) / 2
        throttle = access.ask(
            lambda: access.nvml.nvmlDeviceGetCurrentClocksThrottleReasons(access.handle)
        )
        slow: list[Any] = [None] * (len(FIELDS) - 3)
        if began_s >= self._due_slow_s:
            slow, self._due_slow_s = self._slow_fields(), began_s + SLOW_EVERY_S
        return [at_s, watts, *slow, throttle]

    def _slow_fields(self) -> list[Any]:
        """Temperature, clocks, utilization, memory; None where the device refuses."""
        nvml, handle = self._access.nvml, self._access.handle
        queries: list[Callable[[], Any]] = [
            lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
            lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used,
        ]
        return [self._access.ask(query) for query in queries]


def poll(uuid: str, interval_s: float) -> None:
    """Print samples until the reader closes the pipe.

    `uuid`: of the GPU. `interval_s`: between two samples. Raises BrokenPipeError when the reader is
    gone.
    """
    access = open_gpu(uuid)
    sampler = Sampler(access)
    print(json.dumps({"power_semantics": sampler.semantics}), flush=True)  # noqa: T201 - the pipe is the interface
    while True:
        began_s = access.clock()
        print(json.dumps(sampler.sample()), flush=True)  # noqa: T201
        access.clock.sleep(max(0.0, began_s + interval_s - access.clock()))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        poll(sys.argv[1], float(sys.argv[2]))
