"""Rest before a trial: how it is written, and that it ends."""

from __future__ import annotations

import pytest

from orchestrator.cooldown import LONGEST_S, Cooldown, cooled_down, parse_cooldown
from orchestrator.gpu.access import GpuAccess, simulated_access
from orchestrator.gpu.simulated import GpuTruth, SimulatedGpu


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("none", Cooldown()),
        ("30s", Cooldown(seconds=30.0)),
        ("0.5s", Cooldown(seconds=0.5)),
        ("50C", Cooldown(until_c=50.0)),
    ],
)
def test_how_it_is_written(text: str, meant: Cooldown) -> None:
    assert parse_cooldown(text) == meant


@pytest.mark.parametrize("text", ["", "30", "s", "-3s", "30 s", "1e3s", "nanC", "50F"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a cooldown; give none, seconds \(30s\)"):
        parse_cooldown(text)


def warm_gpu(**truth: object) -> GpuAccess:
    """A GPU that has just worked for a minute at 175 W: it is at 47 °C, and at 37 °C when idle."""
    device = SimulatedGpu(GpuTruth.model_validate({"context_w": 75.0, **truth}))
    device.open_context()
    device.work(60.0, 100.0)
    return simulated_access(device)


def test_not_asked_for_it_takes_no_time() -> None:
    gpu = warm_gpu()
    assert cooled_down(Cooldown(), gpu) is None
    assert gpu.clock() == 60.0


def test_for_a_time() -> None:
    gpu = warm_gpu()
    assert cooled_down(Cooldown(seconds=30.0), gpu) == 30.0
    assert gpu.clock() == 90.0


def test_until_a_temperature() -> None:
    took_s = cooled_down(Cooldown(until_c=42.0), warm_gpu())
    assert took_s is not None
    assert 10 < took_s < 20, "half of the last 30 s is idle then"


def test_a_gpu_that_stays_hot_is_not_waited_for_for_ever() -> None:
    assert cooled_down(Cooldown(until_c=20.0), warm_gpu()) == pytest.approx(LONGEST_S, abs=1.0)


def test_a_gpu_that_tells_no_temperature_is_not_waited_for() -> None:
    gpu = warm_gpu(refuses={"nvmlDeviceGetTemperature"})
    assert cooled_down(Cooldown(until_c=40.0), gpu) == 0.0
