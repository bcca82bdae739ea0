"""Polls one GPU through NVML and prints a line a sample, until its reader is gone.

It is a process of its own, so that polling takes no time of the process that generates.

    python -m orchestrator.meters.poller GPU-UUID INTERVAL_S

The first line is a JSON object {"power_semantics": "instant" | "average_1s" | "unknown"}, then a
JSON list a sample in the order of `orchestrator.meters.telemetry.FIELDS`. Time is
time.perf_counter(), which on Linux is one clock for all processes. Power is read each time, the
rest about once a second: each NVML call takes milliseconds. What the GPU refuses is null.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from orchestrator.meters.nvml import index_of, library

SLOW_EVERY_S = 1.0
POWER_INSTANT_FIELD = 186
"""NVML_FI_DEV_POWER_INSTANT: instantaneous power in milliwatts, where the driver has it."""
INSTANT_UP_TO = 6
"""NVML_DEVICE_ARCH_TURING.

nvmlDeviceGetPowerUsage averages over 1 s from Ampere on, but for GA100 (NVML's documentation).
"""


def power_reader(nvml: Any, handle: Any) -> tuple[Callable[[], float | None], str]:
    """How to read watts of a device, and what they mean.

    `nvml`: the library, started. `handle`: NVML's of the device. Returns the function that reads
    watts, and "instant", "average_1s" or "unknown".
    """

    def instant() -> float | None:
        """Watts of this moment; None where the GPU refuses."""
        value = nvml.nvmlDeviceGetFieldValues(handle, [POWER_INSTANT_FIELD])[0]
        return value.value.uiVal / 1000 if value.nvmlReturn == 0 else None

    def usage() -> float | None:
        """Watts by the older query, which on some GPUs is an average over a second."""
        return float(nvml.nvmlDeviceGetPowerUsage(handle)) / 1000

    with contextlib.suppress(nvml.NVMLError, AttributeError, IndexError):
        if instant() is not None:
            return instant, "instant"
    with contextlib.suppress(nvml.NVMLError, AttributeError):
        name = str(nvml.nvmlDeviceGetName(handle))
        old = (
            nvml.nvmlDeviceGetArchitecture(handle) <= INSTANT_UP_TO
            or "A100" in name
            or "A30" in name
        )
        return usage, "instant" if old else "average_1s"
    return usage, "unknown"


def slow_fields(nvml: Any, handle: Any) -> list[float | None]:
    """Temperature, clocks, utilization, memory, throttle reasons; None where the device refuses."""
    queries: list[Callable[[], Any]] = [
        lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
        lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
        lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used,
        lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
    ]
    return [_try(nvml, query) for query in queries]


def _try(nvml: Any, query: Callable[[], Any]) -> Any:
    """The answer, or None where this GPU or driver has none."""
    with contextlib.suppress(nvml.NVMLError, AttributeError):
        return query()
    return None


def poll(uuid: str, interval_s: float) -> None:
    """Print samples until the reader closes the pipe.

    `uuid`: of the GPU. `interval_s`: between two samples. Raises BrokenPipeError when the reader is
    gone.
    """
    nvml = library()
    handle = nvml.nvmlDeviceGetHandleByIndex(index_of(uuid))
    power_w, semantics = power_reader(nvml, handle)
    print(json.dumps({"power_semantics": semantics}), flush=True)  # noqa: T201 - the pipe is the interface
    due_slow = 0.0
    while True:
        began = time.perf_counter()
        watts = _try(nvml, power_w)
        at = (began + time.perf_counter()) / 2
        slow: list[float | None] = [None] * 6
        if began >= due_slow:
            slow, due_slow = slow_fields(nvml, handle), began + SLOW_EVERY_S
        print(json.dumps([at, watts, *slow]), flush=True)  # noqa: T201
        time.sleep(max(0.0, began + interval_s - time.perf_counter()))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        poll(sys.argv[1], float(sys.argv[2]))
