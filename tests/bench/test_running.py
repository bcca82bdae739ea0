"""Ways as processes of their own: what they are given, and what is told of one that fails."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator.bench import running
from orchestrator.bench.catalogue import Way
from orchestrator.bench.preparing import Prepared
from orchestrator.errors import UserError
from orchestrator.gpu.access import simulated_access
from orchestrator.gpu.simulated import GpuTruth, SimulatedGpu
from orchestrator.say import silent
from tests.bench.fakes import work

FAKE = Way("f", "a fake", "answers at once", "fake_way")


@pytest.fixture(autouse=True)
def fake_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(running, "WAYS", "tests.bench.ways")


def test_a_way_answers_all_and_is_timed_from_outside() -> None:
    run = running.run_way(FAKE, 2, work(), [], None)
    assert run.round == 2
    assert [(one.trial, one.prompt) for one in run.answers] == [
        ("first", 1),
        ("first", 2),
        ("second", 1),
        ("second", 2),
    ]
    assert 0 < run.to_first_window_s < run.wall_s
    assert run.generate_s == pytest.approx(0.004)
    assert run.overhead_s_per_trial == pytest.approx((run.wall_s - 0.004) / 2)
    assert (run.energy_j, run.energy_unknown_because) == (None, running.NO_GPU)


def test_ways_have_the_same_threads_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "s3cret")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run = running.run_way(FAKE, 1, work(threads=3), [], None)
    assert json.loads(run.answers[0].text) == {"OMP_NUM_THREADS": "3", "A_SECRET": None}


def test_the_energy_is_the_counters_around_the_way() -> None:
    device = SimulatedGpu()
    # each look at the counter takes a second of the device's clock
    device.truth = GpuTruth(call_s=1.0)
    gpu = simulated_access(device)
    run = running.run_way(FAKE, 1, work(), [], gpu)
    assert run.energy_j is not None
    assert run.energy_j > 0
    assert run.energy_unknown_because is None


def test_a_gpu_without_a_counter_has_no_energy() -> None:
    gpu = simulated_access(
        SimulatedGpu(truth=GpuTruth(refuses=frozenset({"nvmlDeviceGetTotalEnergyConsumption"})))
    )
    run = running.run_way(FAKE, 1, work(), [], gpu)
    assert (run.energy_j, run.energy_unknown_because) == (None, running.NO_COUNTER)


def test_a_way_that_fails_is_told_with_its_last_words() -> None:
    missing = Way("x", "a missing way", "isn't there", "no_such_way")
    with pytest.raises(UserError, match=r"a missing way failed with exit code 1.*") as told:
        running.run_way(missing, 1, work(), [], None)
    assert "No module named tests.bench.ways.no_such_way" in told.value.lines[-1]


def test_every_second_round_goes_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    other = FAKE._replace(letter="g", name="another fake")
    order = []
    monkeypatch.setattr(
        running, "run_way", lambda way, *_rest: order.append(way.letter) or _a_run()
    )
    prepared = Prepared((FAKE, other), work(), [], None)
    runs = running.run_rounds(prepared, 3, silent)
    assert "".join(order) == "fggffg"
    assert {way.letter: len(of_way) for way, of_way in runs.items()} == {"f": 3, "g": 3}


def _a_run() -> running.WayRun:
    from tests.bench.fakes import run

    return run()
