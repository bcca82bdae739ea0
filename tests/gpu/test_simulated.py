"""The simulated GPU itself: its true energies are those that can be computed by hand."""

from __future__ import annotations

import pytest

from orchestrator.gpu.access import simulated_access
from orchestrator.gpu.simulated import (
    COUNTER_START_MJ,
    GpuTruth,
    Neighbour,
    SimulatedGpu,
    SimulatedNvml,
)


def test_idle_work_and_context_add_up() -> None:
    gpu = SimulatedGpu(GpuTruth(bare_w=50, context_w=75))
    gpu.clock.sleep(2.0)
    gpu.open_context()
    gpu.work(3.0, 100.0)
    gpu.clock.sleep(5.0)
    assert gpu.energy_j(0, 10) == pytest.approx(2 * 50 + 8 * 75 + 3 * 100)
    assert gpu.energy_j(2, 5) == pytest.approx(3 * 175)
    assert gpu.energy_j(4, 6) == pytest.approx(2 * 75 + 100)
    assert gpu.power_w(4.0) == pytest.approx(175)


def test_a_generation_costs_what_its_tokens_cost() -> None:
    gpu = SimulatedGpu(GpuTruth(bare_w=0, context_w=0, prompt_token_j=0.5, new_token_j=2))
    gpu.prefill(100)
    for _ in range(30):
        gpu.launch_token()
        gpu.synchronize()
    assert gpu.energy_j(0, gpu.clock()) == pytest.approx(100 * 0.5 + 30 * 2)
    assert gpu.clock() == pytest.approx(100 * 0.0002 + 30 * 0.025)


def test_drift_neighbours_and_ramp() -> None:
    drifting = SimulatedGpu(GpuTruth(bare_w=60, drift_w_per_hour=36))
    assert drifting.energy_j(0, 100) == pytest.approx(60 * 100 + 0.01 * 100**2 / 2)
    shared = SimulatedGpu(
        GpuTruth(bare_w=60, neighbours=(Neighbour(begins_s=1, ends_s=3, watts=200),))
    )
    assert shared.energy_j(0, 2) == pytest.approx(120 + 200)
    assert shared.energy_j(0, 2, neighbours=False) == pytest.approx(120)
    slow = SimulatedGpu(GpuTruth(bare_w=0, ramp_s=0.4))
    slow.work(2.0, 100.0)
    slow.clock.sleep(1.0)
    assert slow.energy_j(0, 2) == pytest.approx(200 - 0.2 * 100, rel=1e-3), "some comes later"
    assert slow.energy_j(0, 3) == pytest.approx(200), "but all of it"


def test_a_new_length_costs_once() -> None:
    gpu = SimulatedGpu(GpuTruth(bare_w=0, shape_s=0.04, shape_w=50))
    gpu.build((10, 11))
    gpu.build((11,))
    assert gpu.clock() == pytest.approx(0.08)
    assert gpu.energy_j(0, 1) == pytest.approx(4.0)


def test_the_counter_moves_in_steps_with_gain_and_lag() -> None:
    gpu = SimulatedGpu(GpuTruth(bare_w=100, gain=1.05, counter_lag_s=0.02))
    nvml = SimulatedNvml(gpu)
    gpu.clock.sleep(0.31)
    shown_mj = nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) - COUNTER_START_MJ
    assert shown_mj == pytest.approx(1.05 * 0.2 * 100 * 1000)


def test_averaged_power_follows_by_a_second() -> None:
    gpu = SimulatedGpu(GpuTruth(bare_w=80))
    nvml = SimulatedNvml(gpu)
    gpu.clock.sleep(5.0)
    gpu.work(0.5, 220.0)
    assert nvml.nvmlDeviceGetPowerUsage(gpu) == pytest.approx(190_000, rel=1e-3)
    assert nvml.nvmlDeviceGetFieldValues(gpu, [186])[0].value.uiVal == pytest.approx(300_000)


def test_a_neighbour_is_listed_while_it_is_there() -> None:
    gpu = SimulatedGpu(GpuTruth(neighbours=(Neighbour(begins_s=1, ends_s=3, watts=9, pid=7),)))
    access = simulated_access(gpu)
    seen = []
    for _ in range(4):
        running = access.nvml.nvmlDeviceGetComputeRunningProcesses(access.handle)
        seen.append([process.pid for process in running])
        gpu.clock.sleep(1.0)
    assert seen == [[], [7], [7], []]


def test_what_it_refuses_is_no_answer() -> None:
    gpu = SimulatedGpu(GpuTruth(refuses=frozenset({"nvmlDeviceGetTemperature"})))
    access = simulated_access(gpu)
    assert access.ask(lambda: access.nvml.nvmlDeviceGetTemperature(gpu, 0)) is None
    assert access.gpu.name == "SIMULATED GPU"
