"""Sweeps on a simulated GPU: the energies that are measured are those that were drawn.

The engine, the meters, the poller's sampler and `execute` are the program's own; only the device is
simulated, so its true energies are known. Each rule is switched off once, and then it shows.
"""

from __future__ import annotations

import random
from statistics import mean
from typing import Any

import pytest

from orchestrator.dataset.energy import STATISTICAL_FACTOR, rel_uncertainty_of_sum
from orchestrator.dataset.flags import LEFT_OUT
from orchestrator.dataset.schema import Execution
from orchestrator.engine import Built
from orchestrator.engine.simulated import SimulatedEngine
from orchestrator.gpu.simulated import GpuTruth, Neighbour, SimulatedGpu
from orchestrator.measure import Instrumented, execute, warm_up
from orchestrator.meters import Reading
from orchestrator.meters.counter import CounterMeter
from orchestrator.meters.neighbours import NeighbourMeter
from orchestrator.meters.power import PowerMeter
from orchestrator.meters.samples import sample_source
from tests import builders

CALL_S = 0.004
"""What a question to NVML took on a virtual machine with an H100."""
LONGEST = 600
SWEEPS = 200


class Process:
    """A process of a sweep: engine, meters, and the true energies of its windows."""

    def __init__(self, seed: int = 0, **truth: Any) -> None:
        self.device = SimulatedGpu(GpuTruth(call_s=CALL_S, **truth), seed=seed)
        self.engine = SimulatedEngine(builders.setup(), "smollm2", 1, self.device)
        access = self.engine.gpu
        assert access is not None
        # CodeCarbon measures this host, not the simulated one
        meters = [
            NeighbourMeter(access, frozenset()),
            CounterMeter(access),
            PowerMeter(sample_source(access)),
        ]
        self.tools = Instrumented(self.engine, meters, clock=access.clock)

    def answer(self, max_length: int) -> tuple[Execution, float]:
        """One execution of a text of full length, and the true energy of its window."""
        spec = builders.spec(
            setup=builders.setup(length_mode="fixed"),
            configuration=builders.configuration(max_length=max_length),
        )
        execution = execute(self.tools, spec, spec.prompts[:1], "shuffled")[0].execution
        ended_s = self.ended_s
        assert execution.window_s is not None
        own_j = self.device.energy_j(ended_s - execution.window_s, ended_s, neighbours=False)
        return execution, own_j

    @property
    def ended_s(self) -> float:
        """When the last window was closed: the end of the last work."""
        return self.device.last_work_ended_s


def test_two_hundred_sweeps_recover_the_energy_and_their_intervals_cover() -> None:
    """A fifth of them have a neighbour for a while: the rows that it is in are left out."""
    draw = random.Random(3)
    off, covered, covered_alone, covered_sums = [], [], [], []
    n_left_out = 0
    neighbour = Neighbour(begins_s=12.0, ends_s=22.0, watts=200.0)
    for seed in range(SWEEPS):
        gain = 0.95 + 0.1 * (seed + 0.5) / SWEEPS  # each part of its range equally often
        process = Process(
            neighbours=(neighbour,) if seed % 5 == 0 else (),
            seed=seed,
            gain=gain,
            drift_w_per_hour=draw.gauss(0, 5),
            session_noise=0.1,
            token_noise=0.02,
            new_token_j=draw.uniform(0.5, 10),
        )
        process.device.clock.sleep(draw.uniform(0, 0.1))
        measured_j = true_j = 0.0
        rows = []
        for _ in range(5):
            execution, own_j = process.answer(round(draw.uniform(60, 400)))
            if not LEFT_OUT.isdisjoint(execution.warning_flags):
                n_left_out += 1
                continue
            counter_j = execution.gpu_energy_counter_j
            assert counter_j is not None
            assert execution.energy_rel_uncertainty is not None
            assert execution.energy_rel_statistical is not None
            measured_j, true_j = measured_j + counter_j / gain, true_j + own_j
            covered.append(abs(counter_j / own_j - 1) <= execution.energy_rel_uncertainty)
            alone = STATISTICAL_FACTOR * execution.energy_rel_statistical
            covered_alone.append(abs(counter_j / gain / own_j - 1) <= alone)
            rows.append({**vars(execution), "gpu_uuid": "GPU-1"})
        of_sum = rel_uncertainty_of_sum(rows)
        assert of_sum is not None
        covered_sums.append(abs(measured_j * gain / true_j - 1) <= of_sum)
        off.append(measured_j / true_j - 1)
    assert n_left_out > SWEEPS / 5
    assert abs(mean(off)) < 0.005
    assert max(map(abs, off)) < 0.01
    assert 0.92 <= mean(covered) <= 0.98
    assert 0.92 <= mean(covered_alone) <= 0.98
    assert 0.92 <= mean(covered_sums) <= 0.98


def test_integrated_power_agrees() -> None:
    process = Process()
    for length in (100, 200, 400):
        execution, own_j = process.answer(length)
        assert execution.gpu_energy_integrated_j == pytest.approx(own_j, rel=0.03)
        assert "meter_disagreement" not in execution.warning_flags


def per_token(process: Process, *lengths: int) -> list[float]:
    """J/token of texts of so many tokens, in order."""
    rows = [process.answer(length)[0] for length in lengths]
    return [row.energy_per_token_j for row in rows if row.energy_per_token_j is not None]


# --- each rule switched off -----------------------------------------------------------------------


def test_the_first_answers_of_a_process_cost_no_more_than_later_ones() -> None:
    """Each new length costs 40 ms here, as cuDNN's attention plans did on an H100."""
    process = Process(shape_s=0.04)
    warm_up(process.tools, LONGEST)
    first, later, longer, again = per_token(process, 200, 200, 400, 400)
    assert first == pytest.approx(later, rel=0.03)
    assert longer == pytest.approx(again, rel=0.03)


def test_without_building_the_shapes_they_do() -> None:
    process = Process(shape_s=0.04)
    process.engine.build_shapes = lambda _longest: Built()  # type: ignore[method-assign]
    warm_up(process.tools, LONGEST)
    first, later, longer, again = per_token(process, 200, 200, 400, 400)
    assert first > 1.5 * later
    assert longer > 1.3 * again


def test_without_synchronizing_the_window_misses_work() -> None:
    process = Process()
    process.engine.synchronize = lambda: None  # type: ignore[method-assign]
    execution, _ = process.answer(100)
    synchronized, own_j = Process().answer(100)
    assert synchronized.gpu_energy_counter_j == pytest.approx(own_j, rel=0.01)
    assert execution.window_s is not None
    assert synchronized.window_s is not None
    assert synchronized.window_s - execution.window_s == pytest.approx(0.025)


def test_with_the_closing_edge_anywhere_in_a_step_the_energy_is_biased(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it was before version 3: the counter read at the end, and nothing added."""

    def bias() -> float:
        process, draw = Process(), random.Random(5)
        off = []
        for _ in range(40):
            execution, own_j = process.answer(round(draw.uniform(60, 120)))
            assert execution.gpu_energy_counter_j is not None
            off.append(execution.gpu_energy_counter_j / own_j - 1)
        return mean(off)

    assert abs(bias()) < 0.003
    reading = CounterMeter.reading

    def at_steps_alone(meter: CounterMeter, began_s: float, ended_s: float) -> Reading:
        values = reading(meter, began_s, ended_s).values
        steps_j = values["gpu_energy_counter_j"] - values["counter_rest_j"]
        return Reading(values | {"gpu_energy_counter_j": steps_j})

    monkeypatch.setattr(CounterMeter, "reading", at_steps_alone)
    assert bias() < -0.015


def test_a_neighbour_s_energy_is_in_the_row_and_the_row_is_left_out() -> None:
    """+200 W of a neighbour once went in unseen."""
    neighbour = Neighbour(begins_s=2.0, ends_s=60.0, watts=200.0)
    execution, own_j = Process(neighbours=(neighbour,)).answer(400)
    assert execution.gpu_energy_counter_j is not None
    assert execution.gpu_energy_counter_j > 1.5 * own_j
    assert execution.n_foreign_processes == 1
    assert not LEFT_OUT.isdisjoint(execution.warning_flags)


def test_a_counter_that_stops_half_way_gives_way_to_the_other_meter() -> None:
    execution, own_j = Process(counter_frozen_from_s=8.0).answer(400)
    assert execution.gpu_energy_counter_j is None
    assert any("the energy counter stopped" in note for note in execution.notes)
    assert execution.energy_basis == "gpu_energy_integrated_j"
    assert execution.gpu_energy_integrated_j == pytest.approx(own_j, rel=0.02)
