"""Opening one GPU."""

from __future__ import annotations

import pytest

from orchestrator.errors import UserError
from orchestrator.gpu.access import open_gpu
from tests.meters.fake_nvml import host, installed, uuid


def test_a_gpu_that_is_cut_into_slices_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its counter would hold the work of all slices."""
    nvml = host(300)
    monkeypatch.setattr(nvml, "nvmlDeviceGetMigMode", lambda _handle: [1, 1])
    with installed(nvml), pytest.raises(UserError, match="is cut into MIG slices"):
        open_gpu(uuid(0))


def test_a_gpu_that_knows_no_slices_is_opened() -> None:
    with installed(host(300, refuses=frozenset({"nvmlDeviceGetMigMode"}))):
        assert open_gpu(uuid(0)).gpu.uuid == uuid(0)
