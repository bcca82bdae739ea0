"""One opened GPU: NVML, its handle there, and the clock by which it is measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.errors import UserError
from orchestrator.gpu.devices import Gpu, described, index_of, library

if TYPE_CHECKING:
    from orchestrator.gpu.simulated import SimulatedGpu

MIG_ENABLED = 1
"""NVML_DEVICE_MIG_ENABLE."""
VGPU = 2
"""NVML_GPU_VIRTUALIZATION_MODE_VGPU. A GPU that is passed through whole has 1, one of a host 0."""


class Clock(Protocol):
    """A clock that never jumps, and a way to wait by it."""

    def __call__(self) -> float:
        """Seconds since some fixed moment."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class RealClock:
    """The clock of this process. On Linux all processes of a host share it."""

    def __call__(self) -> float:
        """time.perf_counter()."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """time.sleep()."""
        time.sleep(seconds)


@dataclass(frozen=True)
class GpuAccess:
    """What is needed to ask one GPU, real or simulated."""

    gpu: Gpu
    nvml: Any
    """pynvml, started, or what stands in for it."""
    handle: Any
    """NVML's of the device."""
    clock: Clock
    simulated: SimulatedGpu | None = None

    def ask(self, query: Callable[[], Any]) -> Any:
        """The answer to a query; None where this GPU or driver has none."""
        with contextlib.suppress(self.nvml.NVMLError, AttributeError):
            return query()
        return None


def compute_pids(access: GpuAccess) -> frozenset[int] | None:
    """The processes that compute on a GPU, as NVML numbers them; None: it doesn't tell."""
    nvml, handle = access.nvml, access.handle
    running = access.ask(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    return None if running is None else frozenset(process.pid for process in running)


@dataclass(frozen=True)
class GpuState:
    """The driver and how the GPU is clocked at one moment; None: not told."""

    driver_version: str | None
    cuda_driver_version: int | None
    performance_state: int | None
    sm_clock_mhz: int | None
    memory_clock_mhz: int | None


def state_of(access: GpuAccess) -> GpuState:
    """What a GPU says of itself now."""
    nvml, handle = access.nvml, access.handle
    return GpuState(
        driver_version=access.ask(nvml.nvmlSystemGetDriverVersion),
        cuda_driver_version=access.ask(nvml.nvmlSystemGetCudaDriverVersion_v2),
        performance_state=access.ask(lambda: nvml.nvmlDeviceGetPerformanceState(handle)),
        sm_clock_mhz=access.ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        memory_clock_mhz=access.ask(
            lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)
        ),
    )


def open_gpu(uuid: str) -> GpuAccess:
    """A GPU of this host.

    Raises UserError where there is none of that UUID, where it is cut into MIG slices, or where it
    is a virtual machine's part of one.
    """
    nvml, index = library(), index_of(uuid)
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    access = GpuAccess(described(nvml, index), nvml, handle, RealClock())
    mode = access.ask(lambda: nvml.nvmlDeviceGetMigMode(handle))
    if mode is not None and mode[0] == MIG_ENABLED:
        raise UserError(
            f"the GPU {uuid} is cut into MIG slices, which have no energy counter of their own: "
            "a measurement would hold all slices; use a whole GPU"
        )
    if access.ask(lambda: nvml.nvmlDeviceGetVirtualizationMode(handle)) == VGPU:
        raise UserError(
            f"the GPU {uuid} is a vGPU, a part of a GPU that other virtual machines use, too: its "
            "energy can't be told apart; use a machine to which a whole GPU is passed through"
        )
    return access


def simulated_access(device: SimulatedGpu) -> GpuAccess:
    """A GPU that isn't there."""
    from orchestrator.gpu.simulated import SimulatedNvml

    nvml = SimulatedNvml(device)
    return GpuAccess(described(nvml, 0), nvml, device, device.clock, device)
