"""NVIDIA's management library: which GPUs are there, and the energy counter of one of them.

The counter (nvmlDeviceGetTotalEnergyConsumption) holds millijoules since the driver was loaded, on
Volta and newer GPUs and some older ones. It belongs to the whole device: other processes on it are
counted too. It moves in steps of about 100 ms.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UserError
from orchestrator.meters import Reading

COUNTER_PERIOD_S = 0.1
"""Update period of the counter, as measured on an H100; bounds the error at the window's edges."""
SETTLE_S = 0.3
"""A counter that hasn't moved for this long is not waited for: an idle or frozen one."""


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
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = _text(nvml.nvmlDeviceGetUUID(handle))
            gpus.append(
                Gpu(
                    index,
                    uuid,
                    _name(nvml, handle),
                    _memory_bytes(nvml, handle),
                    _power_limit_w(nvml, handle),
                )
            )
    return gpus


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

    Raises UserError where it is set and empty.
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


class CounterMeter:
    """Joules of one GPU by its energy counter.

    None with a reason where the counter is absent, stands still or runs backwards.
    """

    def __init__(self, uuid: str) -> None:
        self._nvml = library()
        self._handle = self._nvml.nvmlDeviceGetHandleByIndex(index_of(uuid))
        self._before_mj: int | None = None
        self._after_mj: int | None = None

    def _counter_mj(self) -> int | None:
        """The counter now, in mJ; None where the GPU doesn't answer."""
        with contextlib.suppress(self._nvml.NVMLError):
            return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        return None

    def settle(self) -> None:
        """Wait until the counter has just moved.

        Then all meters that read it open within one step, and the step that was under way is not
        charged to the window.
        """
        before, deadline = self._counter_mj(), time.perf_counter() + SETTLE_S
        while before is not None and self._counter_mj() == before:
            if time.perf_counter() >= deadline:
                return
            time.sleep(0.002)

    def begin(self) -> None:
        """Read the counter."""
        self._before_mj = self._counter_mj()

    def end(self) -> None:
        """Read the counter again."""
        self._after_mj = self._counter_mj()

    def reading(self, began_s: float, ended_s: float) -> Reading:  # noqa: ARG002 - a meter's
        """The difference of both values, in joules."""
        before_mj, after_mj = self._before_mj, self._after_mj
        column = "gpu_energy_counter_j"
        if after_mj is None or before_mj is None:
            return Reading({column: None}, {column: "this GPU has no energy counter"})
        if after_mj < before_mj:
            return Reading({column: None}, {column: "the energy counter ran backwards"})
        if after_mj == before_mj:
            return Reading(
                {column: None}, {column: "the energy counter did not move in this window"}
            )
        return Reading({column: (after_mj - before_mj) / 1000})

    def close(self) -> None:
        """Do nothing: NVML belongs to the whole process."""
