"""The poller in its own process, on a fake NVML."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.meters.power import PowerMeter
from orchestrator.meters.samples import PollerProcess

UUID = "GPU-00000000-0000-0000-0000-000000000001"

FAKE_PYNVML = f"""
    from types import SimpleNamespace
    class NVMLError(Exception): pass
    NVML_TEMPERATURE_GPU = NVML_CLOCK_SM = NVML_CLOCK_MEM = 0
    def nvmlInit(): pass
    def nvmlDeviceGetCount(): return 1
    def nvmlDeviceGetHandleByIndex(index): return index
    def nvmlDeviceGetUUID(handle): return {UUID!r}
    def nvmlDeviceGetName(handle): return b"Fake L4"
    def nvmlDeviceGetMemoryInfo(handle): return SimpleNamespace(total=24 * 2**30, used=2**30)
    def nvmlDeviceGetFieldValues(handle, fields): raise NVMLError("not supported")
    def nvmlDeviceGetEnforcedPowerLimit(handle): return 72_000
    def nvmlDeviceGetArchitecture(handle): return 8
    def nvmlDeviceGetPowerUsage(handle): return 120_000
    def nvmlDeviceGetTemperature(handle, sensor): return 55
    def nvmlDeviceGetClockInfo(handle, clock): return 1500
    def nvmlDeviceGetUtilizationRates(handle): raise NVMLError("not supported")
    def nvmlDeviceGetCurrentClocksThrottleReasons(handle): return THROTTLE
"""


POLLED_GPU = textwrap.dedent(FAKE_PYNVML) + "THROTTLE = 4\n"  # SwPowerCap: no trouble


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a fake pynvml that the poller's process finds first."""
    (tmp_path / "pynvml.py").write_text(POLLED_GPU)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_power_of_a_window(host: Path) -> None:
    source = PollerProcess(UUID)
    meter = PowerMeter(source)
    try:
        wait_for_first_sample(source)
        meter.begin()
        began = time.perf_counter()
        time.sleep(1.6)
        ended = time.perf_counter()
        meter.end()
        reading = meter.reading(began, ended)
        assert reading.values == {
            "gpu_energy_integrated_j": pytest.approx(120 * (ended - began), rel=1e-6),
            "power_semantics": "average_1s",
            "temperature_begin_c": 55,
            "temperature_end_c": 55,
            "throttled": False,
        }
        assert reading.notes == {}
        assert source.pid != os.getpid()
        sample = reading.samples[0]
        assert (sample["temperature_c"], sample["sm_clock_mhz"], sample["utilization"]) == (
            55,
            1500,
            None,
        )
        assert 0 <= sample["at_s"] <= ended - began
    finally:
        meter.close()
    assert not psutil.pid_exists(source.pid)


def test_a_poller_that_died_gives_no_samples(host: Path) -> None:
    source = PollerProcess("GPU-of-another-host")
    psutil.wait_procs([psutil.Process(source.pid)], timeout=30)
    assert source.around(0.0, 1.0) == []
    assert source.semantics == "unknown"
    source.close()


def test_polling_too_often_is_refused() -> None:
    with pytest.raises(ValueError, match="disturb"):
        PollerProcess(UUID, 0.05)


def test_the_poller_ends_with_its_reader(host: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "orchestrator.meters.poller", UUID, "0.1"]
    poller = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert poller.stdout is not None
    assert b"power_semantics" in poller.stdout.readline()
    poller.stdout.close()  # as when the worker is killed
    assert poller.wait(timeout=30) is not None


def wait_for_first_sample(source: PollerProcess) -> None:
    deadline = time.monotonic() + 60
    while not source.around(0.0, 0.0):
        assert time.monotonic() < deadline, "the poller printed nothing"
        time.sleep(0.02)
