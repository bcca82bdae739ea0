"""Integrated power and throttling, on a simulated GPU whose true energy is known."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.gpu.access import simulated_access
from orchestrator.gpu.simulated import GpuTruth, SimulatedGpu
from orchestrator.meters import Reading
from orchestrator.meters.power import LONGEST_GAP_S, PowerMeter, integrate
from orchestrator.meters.samples import Sample, sample_source


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


def test_a_gap_in_the_samples_is_no_straight_line() -> None:
    """8 s without a sample were once bridged: 2197 J for 1720 J."""
    sampled = [(t / 10, 100.0) for t in range(21)]
    gap = [sample for sample in sampled if not 0.4 < sample[0] < 0.6 + LONGEST_GAP_S]
    assert integrate(sampled, 0.05, 1.95) is not None
    assert integrate(gap, 0.05, 1.95) is None
    assert integrate(gap, 1.25, 1.95) == pytest.approx(70.0), "a gap outside matters nothing"


def window(seconds: float = 5.0, before_s: float = 1.25, **truth: Any) -> tuple[Reading, float]:
    """A window of steady work, and its true energy."""
    gpu = SimulatedGpu(GpuTruth(**truth))
    access = simulated_access(gpu)
    meter = PowerMeter(sample_source(access))
    gpu.clock.sleep(before_s)
    meter.begin()
    began_s = gpu.clock()
    gpu.work(seconds, 100.0)
    ended_s = gpu.clock()
    meter.end()
    gpu.clock.sleep(2.0)
    return meter.reading(began_s, ended_s), gpu.energy_j(began_s, ended_s)


def test_instant_power_gives_the_energy() -> None:
    reading, joules = window(20.0)
    assert reading.values["gpu_energy_integrated_j"] == pytest.approx(joules, rel=0.005)
    assert reading.values["power_semantics"] == "instant"


@pytest.mark.parametrize(("seconds", "least"), [(1.0, 0.2), (5.0, 0.04)])
def test_power_that_is_an_average_misses_the_load_of_a_short_window(
    seconds: float, least: float
) -> None:
    """The reason why such an energy counts in long windows only (dataset/energy.py)."""
    reading, joules = window(seconds, has_instant_power=False)
    assert reading.values["power_semantics"] == "average_1s"
    assert reading.values["gpu_energy_integrated_j"] < (1 - least) * joules


def test_a_gap_is_null_with_a_reason() -> None:
    reading, _ = window(unpolled=((2.0, 4.0),))
    assert reading.values["gpu_energy_integrated_j"] is None
    assert reading.notes == {
        "gpu_energy_integrated_j": "power samples don't cover the window, or 0.5 s lack one"
    }


@pytest.mark.parametrize(
    "spans",
    [
        ((0.0, 99.0),),
        ((2.0, 2.95),),
        ((1.2, 1.28),),
    ],
    ids=["the whole of it", "between two slow samples", "at an edge"],
)
def test_throttling_is_seen(spans: tuple[tuple[float, float], ...]) -> None:
    reading, _ = window(throttled=spans)
    assert (reading.values["throttled"], reading.flags) == (True, {"throttled"})


def test_throttling_of_a_short_window_is_seen() -> None:
    """A window between two samples has none of its own."""
    reading, _ = window(0.03, throttled=((1.2, 1.4),))
    assert reading.flags == {"throttled"}


class OneMask:
    """A source of samples that all have one mask of reasons."""

    semantics = "instant"

    def __init__(self, mask: int) -> None:
        self._mask = mask

    def around(self, began_s: float, ended_s: float) -> list[Sample]:
        return [
            (at_s, 100.0, 40, None, None, None, None, self._mask) for at_s in (began_s, ended_s)
        ]

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("mask", "slowed"),
    [(0x0, False), (0x1, False), (0x8, True), (0x20, True), (0x40, True), (0x80, True)],
    ids=["nothing", "idle", "hardware", "heat by software", "heat by hardware", "power supply"],
)
def test_what_slows_a_gpu_down(mask: int, slowed: bool) -> None:
    assert PowerMeter(OneMask(mask)).reading(0.0, 0.5).values["throttled"] is slowed


def test_a_gpu_that_does_not_throttle() -> None:
    reading, _ = window(throttled=((9.0, 10.0),))
    assert (reading.values["throttled"], reading.flags) == (False, frozenset())


def test_a_gpu_that_does_not_tell_is_unknown() -> None:
    refuses = frozenset({"nvmlDeviceGetCurrentClocksThrottleReasons"})
    reading, _ = window(refuses=refuses)
    assert reading.values["throttled"] is None
    assert reading.notes == {"throttled": "this GPU doesn't tell whether it slows itself down"}
    assert reading.flags == frozenset()
