"""The poller in its own process, on a fake NVML, and the integral of what it prints."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.meters.poller import power_reader, slow_fields
from orchestrator.meters.telemetry import PowerMeter, integrate

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


def test_integral_of_constant_and_rising_power() -> None:
    constant = [(t / 10, 100.0) for t in range(21)]
    assert integrate(constant, 0.05, 1.95) == pytest.approx(190.0)
    rising = [(t / 10, 10.0 * t) for t in range(21)]  # 100 W more each second
    assert integrate(rising, 0.0, 2.0) == pytest.approx(200.0)
    assert integrate(rising, 0.25, 0.35) == pytest.approx(3.0)


@pytest.mark.parametrize(
    "samples", [[], [(0.5, 100.0), (2.0, 100.0)], [(0.0, 100.0), (0.9, 100.0)]]
)
def test_samples_that_miss_an_edge_are_no_integral(samples: list[tuple[float, float]]) -> None:
    assert integrate(samples, 0.1, 1.0) is None


def test_power_of_a_window(host: Path) -> None:
    telemetry = PowerMeter(UUID)
    try:
        wait_for_first_sample(telemetry)
        began = time.perf_counter()
        time.sleep(0.6)
        ended = time.perf_counter()
        reading = telemetry.reading(began, ended)
        assert reading.values["gpu_energy_integrated_j"] == pytest.approx(
            120 * (ended - began), rel=1e-6
        )
        assert reading.notes == {}
        assert reading.flags == frozenset()
        assert telemetry.power_semantics == "average_1s"
        assert telemetry._process.pid != os.getpid()
        later = telemetry.reading(began, began + 1.5)
        assert later.samples
        sample = later.samples[0]
        assert (sample["temperature_c"], sample["sm_clock_mhz"], sample["utilization"]) == (
            55,
            1500,
            None,
        )
        assert 0 <= sample["at_s"] <= 1.5
    finally:
        telemetry.close()
    assert telemetry._process.poll() is not None


def test_a_slowed_gpu_is_flagged(host: Path) -> None:
    with (host / "pynvml.py").open("a") as stream:
        stream.write("THROTTLE = 0x40\n")
    telemetry = PowerMeter(UUID)
    try:
        wait_for_first_sample(telemetry)
        began = time.perf_counter()
        time.sleep(2.5)  # the slow fields come about once a second, later on a busy host
        assert "throttled" in telemetry.reading(began, time.perf_counter()).flags
    finally:
        telemetry.close()


def test_a_poller_that_died_gives_null_with_a_reason(host: Path) -> None:
    telemetry = PowerMeter("GPU-of-another-host")
    telemetry._process.wait(timeout=30)
    reading = telemetry.reading(0.0, 1.0)
    assert reading.values == {"gpu_energy_integrated_j": None, "power_semantics": "unknown"}
    assert "don't cover" in reading.notes["gpu_energy_integrated_j"]
    telemetry.close()


def test_polling_too_often_is_refused() -> None:
    with pytest.raises(ValueError, match="disturb"):
        PowerMeter(UUID, 0.05)


def test_the_poller_ends_with_its_reader(host: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "orchestrator.meters.poller", UUID, "0.1"]
    poller = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert poller.stdout is not None
    assert b"power_semantics" in poller.stdout.readline()
    poller.stdout.close()  # as when the worker is killed
    assert poller.wait(timeout=30) is not None


@pytest.mark.parametrize(
    ("architecture", "name", "semantics"),
    [
        (5, "Tesla T4", "instant"),
        (7, "NVIDIA A100-SXM-64GB", "instant"),
        (7, "RTX A6000", "average_1s"),
    ],
)
def test_what_power_means_by_architecture(architecture: int, name: str, semantics: str) -> None:
    nvml = nvml_of(architecture=architecture, name=name)
    assert power_reader(nvml, 0)[1] == semantics


def test_the_instant_field_is_preferred() -> None:
    nvml = nvml_of(instant_mw=90_000)
    read, semantics = power_reader(nvml, 0)
    assert (read(), semantics) == (90.0, "instant")


def test_what_the_gpu_refuses_is_null() -> None:
    assert slow_fields(nvml_of(), 0) == [None] * 6


def nvml_of(architecture: int | None = None, name: str = "Fake", instant_mw: int | None = None):
    """An NVML that knows only what is given."""

    class Nvml:
        class NVMLError(Exception):
            pass

        NVML_TEMPERATURE_GPU = NVML_CLOCK_SM = NVML_CLOCK_MEM = 0

        def nvmlDeviceGetFieldValues(self, _handle: int, _fields: list[int]):  # noqa: N802 - NVML's name
            if instant_mw is None:
                raise self.NVMLError
            value = type("Value", (), {"uiVal": instant_mw})
            return [type("Field", (), {"nvmlReturn": 0, "value": value})]

        def nvmlDeviceGetName(self, _handle: int) -> str:  # noqa: N802
            return name

        def nvmlDeviceGetArchitecture(self, _handle: int) -> int:  # noqa: N802
            if architecture is None:
                raise self.NVMLError
            return architecture

    return Nvml()


def wait_for_first_sample(telemetry: PowerMeter) -> None:
    deadline = time.monotonic() + 60
    while not telemetry._samples:
        assert time.monotonic() < deadline, "the poller printed nothing"
        time.sleep(0.02)
