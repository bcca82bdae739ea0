"""Idle power in its states, against a simulated GPU whose true one is known."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.baselines import MOVED, has_moved, measured_baseline
from orchestrator.dataset.environment import Baseline
from orchestrator.gpu.access import simulated_access
from orchestrator.gpu.simulated import GpuTruth, SimulatedGpu
from orchestrator.meters.counter import CounterMeter
from orchestrator.meters.power import PowerMeter
from orchestrator.meters.samples import sample_source


def baseline(power_w: float | None) -> Baseline:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    return Baseline(id="s-0", state="loaded", power_w=power_w, window_s=5.0, started_at=now)


@pytest.mark.parametrize("has_counter", [True, False])
def test_the_idle_power_before_and_with_a_context(*, has_counter: bool) -> None:
    device = SimulatedGpu(GpuTruth(bare_w=60.0, context_w=75.0, has_counter=has_counter))
    gpu = simulated_access(device)
    meters = [CounterMeter(gpu), PowerMeter(sample_source(gpu))]
    device.work(1.0, 200.0)
    bare = measured_baseline(meters, gpu.clock, state="bare", name="s-bare")
    device.open_context()
    context = measured_baseline(meters, gpu.clock, state="context", name="s-context")
    assert (bare.id, bare.state, bare.power_w) == ("s-bare", "bare", pytest.approx(60.0, rel=0.01))
    assert context.power_w == pytest.approx(75.0, rel=0.01)
    assert context.window_s == pytest.approx(5.0)


def test_averaged_power_has_forgotten_the_work_before_it() -> None:
    """A GPU without a counter that tells its mean power of the last second alone."""
    device = SimulatedGpu(GpuTruth(has_counter=False, has_instant_power=False, architecture=8))
    gpu = simulated_access(device)
    device.open_context()
    device.work(3.0, 300.0)
    meter = PowerMeter(sample_source(gpu))
    loaded = measured_baseline([meter], gpu.clock, state="loaded", name="s-0")
    assert loaded.power_w == pytest.approx(75.0, rel=0.01)


def test_without_any_meter_it_is_unknown() -> None:
    gpu = simulated_access(SimulatedGpu(GpuTruth(has_counter=False)))
    assert measured_baseline([CounterMeter(gpu)], gpu.clock, state="bare", name="s").power_w is None


@pytest.mark.parametrize(
    ("old_w", "new_w", "moved"),
    [
        (100.0, 100 * (1 + MOVED) + 1, True),
        (100.0, 109.0, False),
        (100.0, 91.0, False),
        (100.0, 89.0, True),
        (100.0, None, False),
        (None, 100.0, True),
    ],
)
def test_ten_percent_make_a_new_one(
    old_w: float | None, new_w: float | None, *, moved: bool
) -> None:
    assert has_moved(baseline(old_w), baseline(new_w)) == moved
