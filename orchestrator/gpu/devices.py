"""Which GPUs are there, by NVIDIA's management library."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UserError


@dataclass(frozen=True)
class Gpu:
    """One device as NVML lists it."""

    index: int
    uuid: str
    name: str
    memory_bytes: int
    power_limit_w: float | None = None
    """What its driver keeps its power below; None: not told."""


def library() -> Any:
    """NVML, started. Raises where there is no driver."""
    import pynvml

    pynvml.nvmlInit()
    return pynvml


def list_gpus() -> list[Gpu]:
    """All GPUs of this host; [] where there is no driver."""
    try:
        nvml = library()
    except Exception:  # noqa: BLE001 - no library, no driver, no device: all mean no GPU here
        return []
    gpus = []
    for index in range(nvml.nvmlDeviceGetCount()):
        with contextlib.suppress(nvml.NVMLError):  # a GPU that is lost answers nothing
            gpus.append(described(nvml, index))
    return gpus


def described(nvml: Any, index: int) -> Gpu:
    """A device as NVML lists it. Raises NVMLError where it doesn't even tell its UUID."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    return Gpu(
        index,
        _text(nvml.nvmlDeviceGetUUID(handle)),
        _name(nvml, handle),
        _memory_bytes(nvml, handle),
        _power_limit_w(nvml, handle),
    )


def _name(nvml: Any, handle: Any) -> str:
    """The GPU's name; it may be hidden."""
    with contextlib.suppress(nvml.NVMLError):
        return _text(nvml.nvmlDeviceGetName(handle))
    return "unknown GPU"


def _memory_bytes(nvml: Any, handle: Any) -> int:
    """Of the device; of the host where the GPU shares its memory and so refuses to tell."""
    with contextlib.suppress(nvml.NVMLError):
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    import psutil

    return int(psutil.virtual_memory().total)


def _power_limit_w(nvml: Any, handle: Any) -> float | None:
    """The limit that holds now, in W; None where the GPU tells none."""
    with contextlib.suppress(nvml.NVMLError):
        return int(nvml.nvmlDeviceGetEnforcedPowerLimit(handle)) / 1000
    return None


def _text(value: str | bytes) -> str:
    """A text of NVML's, which older versions of its package give as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def visible_gpus() -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves to us: numbers in NVML's order, or UUIDs.

    Raises UserError where it is set and empty, or names a MIG slice.
    """
    gpus = list_gpus()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not gpus:
        return gpus
    if not chosen.strip():
        raise UserError(
            "CUDA_VISIBLE_DEVICES is set and empty: unset it to use this machine's GPUs, or set it "
            "to -1 to use none"
        )
    wanted = [item.strip() for item in chosen.split(",")]
    if any(item.startswith("MIG-") for item in wanted):
        raise UserError(
            "CUDA_VISIBLE_DEVICES names a MIG slice, which has no energy counter of its own; use a "
            "whole GPU"
        )
    # CUDA takes the beginning of a UUID, too
    uuids = tuple(item for item in wanted if item.startswith("GPU-"))
    return [gpu for gpu in gpus if str(gpu.index) in wanted or gpu.uuid.startswith(uuids)]


def index_of(uuid: str) -> int:
    """NVML's index of a device; CUDA's is another, since CUDA_VISIBLE_DEVICES renumbers.

    Raises UserError.
    """
    gpus = list_gpus()
    for gpu in gpus:
        if gpu.uuid == uuid:
            return gpu.index
    listed = ", ".join(gpu.uuid for gpu in gpus) or "none"
    raise UserError(
        f"the GPU {uuid} is not among those NVML lists ({listed}); MIG slices have no energy "
        "counter of their own"
    )
