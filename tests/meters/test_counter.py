"""The energy counter as a meter, on a simulated GPU whose true energy is known."""

from __future__ import annotations

import random
from statistics import mean, stdev
from typing import Any

import pytest

from orchestrator.gpu.access import simulated_access
from orchestrator.gpu.simulated import GpuTruth, SimulatedGpu
from orchestrator.meters import Reading
from orchestrator.meters.counter import CounterMeter

ENERGY = "gpu_energy_counter_j"


class Bench:
    """A simulated GPU with its counter."""

    def __init__(self, **truth: Any) -> None:
        self.gpu = SimulatedGpu(GpuTruth(context_w=75.0, bare_w=75.0, **truth))
        self.meter = CounterMeter(simulated_access(self.gpu))

    def window(self, seconds: float, watts: float, before_s: float = 0.0) -> tuple[Reading, float]:
        """One window of steady work, and its true energy."""
        clock = self.gpu.clock
        clock.sleep(before_s)
        self.meter.begin()
        began_s = clock()
        self.gpu.work(seconds, watts)
        ended_s = clock()
        self.meter.end()
        return self.meter.reading(began_s, ended_s), self.gpu.energy_j(began_s, ended_s)


@pytest.mark.parametrize("watts", [65.0, 265.0, 600.0])
@pytest.mark.parametrize("seconds", [0.5, 1.0, 3.0, 10.0])
def test_both_edges_are_unbiased(seconds: float, watts: float) -> None:
    """Reading the counter at the end alone loses half a step: 7 J at 140 W."""
    bench, draw = Bench(), random.Random(7)
    off_j = []
    for _ in range(40):
        length_s = seconds + draw.uniform(0, 0.1)
        reading, joules = bench.window(length_s, watts, before_s=draw.uniform(0, 0.1))
        off_j.append(reading.values[ENERGY] - joules)
    step_j = 0.1 * (watts + 75)
    assert abs(mean(off_j)) < 0.03 * step_j, "half a step would be 0.5"
    assert stdev(off_j) < 0.04 * step_j, "a closing edge anywhere in a step has 0.29"


def test_a_counter_that_stands_still_before_the_window_tells_no_power_before_it() -> None:
    """One that moves each second isn't waited for: 0 W would pass for a measurement."""
    bench = Bench(counter_step_s=1.0)
    bench.gpu.clock.sleep(10.2 - bench.gpu.clock())
    reading, _ = bench.window(5.35, 65.0)  # from 10.5 s on, and the next step is at 16 s
    assert reading.values[ENERGY] is not None
    assert reading.values["power_before_w"] is None
    assert reading.notes == {"power_before_w": "the energy counter stood still"}


def test_what_lies_before_the_window_is_not_in_it() -> None:
    """Other meters open between the counter's step and the window."""
    bench = Bench()
    bench.meter.begin()
    bench.gpu.clock.sleep(1.0)
    began_s = bench.gpu.clock()
    bench.gpu.work(2.0, 65.0)
    ended_s = bench.gpu.clock()
    bench.meter.end()
    joules = bench.meter.reading(began_s, ended_s).values[ENERGY]
    assert joules == pytest.approx(bench.gpu.energy_j(began_s, ended_s), rel=0.02)


def test_a_window_says_how_it_came_about() -> None:
    reading, _ = Bench().window(0.87, 65.0)
    values = reading.values
    assert values["counter_steps"] == 8
    assert values["counter_period_s"] == pytest.approx(0.1, rel=0.02)
    assert values["counter_rest_j"] == pytest.approx(0.07 * 140, abs=0.5)
    assert values["power_before_w"] == pytest.approx(75, rel=0.02)


def test_a_slow_counter_is_measured_not_assumed() -> None:
    """Some boards update every 20 ms, others twice a second."""
    for period_s in (0.02, 0.25):
        reading, joules = Bench(counter_step_s=period_s).window(3.21, 65.0)
        assert reading.values["counter_period_s"] == pytest.approx(period_s, rel=0.1)
        assert reading.values[ENERGY] == pytest.approx(joules, rel=0.01)


@pytest.mark.parametrize(
    ("truth", "reason"),
    [
        ({"has_counter": False}, "this GPU has no energy counter"),
        ({"counter_resets_at_s": 5.0}, "the energy counter ran backwards"),
        ({"counter_frozen_from_s": 0.0}, "the energy counter did not move in this window"),
        ({"counter_frozen_from_s": 5.0}, "the energy counter stopped: no step in 0.3 s after it"),
    ],
)
def test_a_counter_that_can_t_be_trusted_is_null_with_its_reason(
    truth: dict[str, Any], reason: str
) -> None:
    reading, _ = Bench(**truth).window(10.0, 65.0)
    assert set(reading.values.values()) == {None}
    assert reading.notes == {ENERGY: reason}


def test_a_window_within_a_step_is_null_not_zero() -> None:
    reading, _ = Bench().window(0.05, 65.0)
    assert reading.values[ENERGY] is None


def test_a_counter_that_goes_away_is_null() -> None:
    bench = Bench()
    bench.meter.begin()
    bench.gpu.clock.sleep(1.0)
    bench.gpu.truth = bench.gpu.truth.model_copy(update={"has_counter": False})
    bench.meter.end()
    assert bench.meter.reading(0.0, 1.0).notes == {ENERGY: "this GPU has no energy counter"}


def test_an_absent_counter_is_not_waited_for() -> None:
    bench = Bench(has_counter=False)
    bench.meter.begin()
    assert bench.gpu.clock() == 0.0
