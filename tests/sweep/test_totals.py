"""What a run did, added up."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.dataset.gross_energy import BasisEnergy, GrossEnergy
from orchestrator.sweep.totals import Totals
from tests import builders
from tests.ray_tune.fake_tune import assignment

SPEC = builders.spec()


def after(*executions: dict[str, Any]) -> Totals:
    totals = Totals()
    for number, changes in enumerate(executions, 1):
        execution = builders.execution(number, of=SPEC, **changes)
        totals.execution_recorded(SPEC, builders.origin(SPEC), execution)
    return totals


def test_a_run_that_did_nothing() -> None:
    totals = Totals()
    assert (totals.trials, totals.executions, totals.failed, totals.workers_lost) == (0, 0, 0, 0)
    assert (totals.tokens, totals.energy_j, totals.window_s, totals.measured_s) == (0, 0, 0, 0)
    assert totals.energies.now() == GrossEnergy((), 0)
    assert list(totals.records) == []
    assert totals.wall_s() >= 0


def test_executions_add_up() -> None:
    totals = after({}, {"n_new_tokens": 5, "energy_j": 1.5, "window_s": 0.5})
    assert (totals.executions, totals.failed) == (2, 0)
    assert (totals.tokens, totals.energy_j, totals.window_s) == (15, 21.5, 2.5)


def test_what_failed_is_counted_and_took_its_energy() -> None:
    totals = after({}, builders.FAILED)
    assert (totals.executions, totals.failed) == (2, 1)
    assert (totals.tokens, totals.energy_j) == (10, 40.0)


def test_unknown_energy_is_counted_apart() -> None:
    totals = after({}, {"energy_j": None}, {"energy_j": None, "window_s": None})
    assert (totals.energy_j, totals.window_s, totals.measured_s) == (None, 4.0, 2.0)
    assert totals.energies.now() == GrossEnergy((BasisEnergy("energy_j", 20.0, None, 1),), 2)


def test_a_gpu_s_energy_and_a_cpu_s_are_not_added() -> None:
    energies = after({}, builders.ON_GPU).energies.now()
    assert [(one.energy_basis, one.counted_energy_j) for one in energies.of_basis] == [
        ("energy_j", 20.0),
        ("gpu_energy_counter_j", 100.0),
    ]


def test_only_whole_trials_are_counted_but_all_are_kept() -> None:
    totals = Totals()
    whole = builders.record(SPEC)
    part = builders.record(SPEC, executions=[builders.execution(1, of=SPEC)])
    totals.trial_sealed(whole)
    totals.trial_sealed(part)
    assert totals.trials == 1
    assert list(totals.records) == [whole, part]


@pytest.mark.parametrize(("retried", "failed"), [(True, 0), (False, 1)])
def test_a_trial_that_was_given_up_has_failed(retried: bool, failed: int) -> None:
    totals = Totals()
    totals.worker_lost(assignment(), "its worker died", retried=retried)
    assert (totals.workers_lost, totals.failed) == (1, failed)
