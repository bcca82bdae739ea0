"""Which GPUs are opened: whole ones only, since only those have an energy of their own."""

from __future__ import annotations

import pynvml
import pytest

from orchestrator.errors import UserError
from orchestrator.gpu.access import MIG_ENABLED, VGPU, open_gpu
from orchestrator.gpu.simulated import SimulatedNvml
from tests.meters.fake_nvml import host, installed, uuid


def test_the_constants_are_nvml_s() -> None:
    assert pynvml.NVML_DEVICE_MIG_ENABLE == MIG_ENABLED
    assert pynvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU == VGPU


@pytest.mark.parametrize(
    "mode",
    [pynvml.NVML_GPU_VIRTUALIZATION_MODE_NONE, pynvml.NVML_GPU_VIRTUALIZATION_MODE_PASSTHROUGH],
)
def test_a_whole_gpu_is_opened(mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedNvml, "nvmlDeviceGetVirtualizationMode", lambda *_: mode)
    with installed(host(300)):
        assert open_gpu(uuid(0)).gpu.uuid == uuid(0)


def test_a_gpu_that_doesn_t_tell_is_taken_for_whole() -> None:
    queries = frozenset({"nvmlDeviceGetVirtualizationMode", "nvmlDeviceGetMigMode"})
    with installed(host(300, refuses=queries)):
        assert open_gpu(uuid(0)).gpu.uuid == uuid(0)


@pytest.mark.parametrize(
    ("query", "answer", "why"),
    [
        ("nvmlDeviceGetVirtualizationMode", VGPU, "is a vGPU, a part of a GPU that other virtual"),
        ("nvmlDeviceGetMigMode", [MIG_ENABLED, MIG_ENABLED], "is cut into MIG slices"),
    ],
)
def test_a_part_of_a_gpu_is_refused(
    query: str, answer: object, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimulatedNvml, query, lambda *_: answer)
    with installed(host(300)), pytest.raises(UserError, match=why):
        open_gpu(uuid(0))
