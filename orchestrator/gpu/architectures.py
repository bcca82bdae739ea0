"""What NVML's older power query means, by the architecture of the GPU.

nvmlDeviceGetPowerUsage gives "the average over the last second" on Ampere and newer GPUs but for
GA100, and the power of the moment on GA100 and older ones (NVML's reference manual).
"""

from __future__ import annotations

import contextlib
from typing import Any

AMPERE = 7
"""NVML_DEVICE_ARCH_AMPERE: the first one with an average, but for the chip GA100."""
KNOWN_UP_TO = 10
"""NVML_DEVICE_ARCH_BLACKWELL: what a newer architecture does is unknown."""
GA100_COMPUTE_CAPABILITY = (8, 0)
"""GA100 (A100, A30, A800, A100X) is 8.0; all other Ampere chips are 8.6 or 8.7."""


def power_semantics(nvml: Any, handle: Any) -> str:
    """What nvmlDeviceGetPowerUsage gives on a device: instant, average_1s or unknown."""
    try:
        architecture = nvml.nvmlDeviceGetArchitecture(handle)
    except (nvml.NVMLError, AttributeError):
        return "unknown"
    if architecture < AMPERE:
        return "instant"
    if architecture > KNOWN_UP_TO:
        return "unknown"
    if architecture > AMPERE:
        return "average_1s"
    with contextlib.suppress(nvml.NVMLError, AttributeError):
        capability = tuple(nvml.nvmlDeviceGetCudaComputeCapability(handle))
        return "instant" if capability == GA100_COMPUTE_CAPABILITY else "average_1s"
    return "unknown"
