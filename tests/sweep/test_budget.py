"""Budgets, under a clock that is set by hand.

What would pass a limit isn't started, and what reaches one ends the run.
"""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.nouns import TrialSpec
from orchestrator.ray_tune.trainable import Assignment
from orchestrator.sweep.budget import Budget, RunLimits
from tests import builders
from tests.ray_tune.fake_tune import assignment

BOUNDS = {1: 100, 2: 200, 3: 300}
"""Most new tokens of each prompt: 600 a trial."""

HOUR_S = 3600.0


class Desk:
    """A budget with its clock and what it drained for."""

    def __init__(self, n_gpus: int = 0, **limits: float) -> None:
        self.now_s = 5000.0
        self.drained: list[str] = []
        self.budget = Budget(
            RunLimits(**limits), n_gpus, self.bound, self.drained.append, lambda: self.now_s
        )

    def bound(self, spec: TrialSpec, number: int) -> int:
        assert number in {p.number for p in spec.prompts}, (
            "only prompts of this attempt are asked for"
        )
        return BOUNDS[number]

    def begin(
        self, index: int = 0, prompts: tuple[int, ...] = (1, 2, 3), **setup: Any
    ) -> str | None:
        return self.budget.begin(self.assignment(index, prompts, **setup))

    def assignment(
        self, index: int = 0, prompts: tuple[int, ...] = (1, 2, 3), **setup: Any
    ) -> Assignment:
        spec = builders.spec(config_index=index, setup=builders.setup(**setup))
        return assignment(
            spec.model_copy(
                update={"prompts": tuple(p for p in spec.prompts if p.number in prompts)}
            )
        )

    def done(self, prompt: int, index: int = 0, **changes: Any) -> None:
        """An execution; time passes with its window."""
        spec = builders.spec(config_index=index)
        execution = builders.execution(prompt, of=spec, **changes)
        self.now_s += execution.window_s or 0.0
        self.budget.execution_recorded(spec, builders.origin(spec), execution)

    def seal(self, index: int = 0) -> None:
        self.budget.trial_sealed(builders.record(builders.spec(config_index=index)))


def test_without_limits_everything_is_started() -> None:
    desk = Desk()
    for index in range(3):
        assert desk.begin(index) is None
        for prompt in (1, 2, 3):
            desk.done(prompt, index, window_s=1e6, energy_kwh=1e6)
    assert desk.drained == []


# --- time -----------------------------------------------------------------------------------------


def test_before_anything_is_known_trials_are_started() -> None:
    desk = Desk(hours=1e-6)
    assert desk.begin(0) is None
    assert desk.begin(1) is None


def test_time_passes_by_itself() -> None:
    desk = Desk(hours=1.0)
    desk.now_s += HOUR_S - 1
    assert desk.begin(0) is None
    desk.now_s += 1
    assert desk.begin(1) == "--max-hours"


@pytest.mark.parametrize(("left_s", "started"), [(61.0, True), (60.0, False), (59.0, False)])
def test_a_trial_that_would_pass_the_time_is_not_started(left_s: float, started: bool) -> None:
    """10 s for a bound of 100 tokens: 60 s for the 600 of a trial."""
    desk = Desk(hours=1.0)
    desk.begin(0)
    desk.done(1, window_s=10.0)
    desk.now_s = 5000.0 + HOUR_S - left_s
    assert desk.begin(1) == (None if started else "--max-hours")


def test_a_shorter_attempt_may_still_fit() -> None:
    desk = Desk(hours=1.0)
    desk.begin(0)
    desk.done(1, window_s=10.0)
    desk.now_s = 5000.0 + HOUR_S - 15
    assert desk.begin(1) == "--max-hours"
    assert desk.begin(2, (1,)) is None


def test_each_variant_is_foreseen_by_what_it_took_itself() -> None:
    """A quantization that is ten times as fast still fits where the slow one doesn't."""
    desk = Desk(hours=1.0)
    desk.begin(0)
    desk.done(1, window_s=10.0)
    desk.now_s = 5000.0 + HOUR_S - 30
    assert desk.begin(1) == "--max-hours"
    assert desk.begin(1, quantization="none") is None, "nothing is known of it yet"
    assert desk.begin(2, use_case="danceCoreography") == "--max-hours", "use cases share a model"


def test_trials_at_once_take_their_time_at_once() -> None:
    desk = Desk(hours=1.0)
    for index in range(8):
        assert desk.begin(index) is None
    desk.done(1, 0, window_s=10.0)
    desk.now_s = 5000.0 + HOUR_S - 61
    assert desk.begin(8) is None, "the others run beside it"


def test_the_foresight_follows_the_mean() -> None:
    """100 tokens of bound in 10 s, then 200 in 50 s: 0.2 s a token, 120 s a trial."""
    desk = Desk(hours=1.0)
    desk.begin(0)
    desk.done(1, window_s=10.0)
    desk.done(2, window_s=50.0)
    desk.now_s = 5000.0 + HOUR_S - 121
    assert desk.begin(1) is None
    desk.now_s += 1
    assert desk.begin(2) == "--max-hours"


def test_a_prompt_that_was_not_tried_says_nothing() -> None:
    """Memory was known to run out: no window. It must not make tokens look cheap."""
    desk = Desk(hours=1.0)
    desk.begin(0)
    desk.done(3, **builders.FAILED, window_s=None, energy_kwh=None)
    desk.done(1, window_s=10.0)
    desk.now_s = 5000.0 + HOUR_S - 60
    assert desk.begin(1) == "--max-hours"


def test_a_limit_that_is_reached_ends_the_flow() -> None:
    desk = Desk(hours=1.0)
    desk.begin(0)
    desk.done(1, window_s=HOUR_S - 1)
    assert desk.drained == []
    desk.done(2, window_s=1.0)
    assert desk.drained == ["--max-hours"]


@pytest.mark.parametrize(("n_gpus", "hours"), [(1, 8.0), (4, 2.0)])
def test_gpu_time_is_that_of_all_gpus(n_gpus: int, hours: float) -> None:
    desk = Desk(n_gpus, gpu_hours=8.0)
    desk.now_s += hours * HOUR_S - 1
    assert desk.begin(0) is None
    desk.now_s += 1
    assert desk.begin(1) == "--max-gpu-hours"


def test_gpu_time_is_foreseen() -> None:
    desk = Desk(2, gpu_hours=2.0)
    desk.begin(0)
    desk.done(1, window_s=10.0)
    desk.now_s = 5000.0 + HOUR_S - 60
    assert desk.begin(1) == "--max-gpu-hours"


# --- energy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "started"), [(0.71, True), (0.69, False)])
def test_a_trial_that_would_pass_the_energy_is_not_started(limit: float, started: bool) -> None:
    """0.1 kWh for a bound of 100, and 0.6 more for the next trial."""
    desk = Desk(kwh=limit)
    desk.begin(0, (1,))
    desk.done(1, energy_kwh=0.1)
    desk.seal(0)
    assert desk.begin(1) == (None if started else "--max-kwh")


@pytest.mark.parametrize(("limit", "started"), [(1.21, True), (1.19, False)])
def test_what_the_running_trials_have_left_counts_too(limit: float, started: bool) -> None:
    """0.1 taken, 0.5 left of the first trial, 0.6 of the next."""
    desk = Desk(kwh=limit)
    desk.begin(0)
    desk.done(1, energy_kwh=0.1)
    assert desk.begin(1) == (None if started else "--max-kwh")


@pytest.mark.parametrize("end", ["sealed", "lost"])
def test_a_trial_that_is_over_has_nothing_left(end: str) -> None:
    desk = Desk(kwh=0.75)
    desk.begin(0)
    desk.done(1, energy_kwh=0.1)
    assert desk.begin(1) == "--max-kwh"
    if end == "sealed":
        desk.seal(0)
    else:
        desk.budget.worker_lost(desk.assignment(0, (2, 3)), "gone", retried=True)
    assert desk.begin(1) is None


def test_a_trial_that_was_refused_is_not_under_way() -> None:
    desk = Desk(kwh=1.19)
    desk.begin(0)
    desk.done(1, energy_kwh=0.1)
    assert desk.begin(1) == "--max-kwh"
    assert desk.begin(2, (1,)) is None, "0.1 + 0.5 + 0.1"


def test_what_was_lost_is_counted_again_when_it_is_started_again() -> None:
    desk = Desk(kwh=1.15)
    desk.begin(0)
    desk.done(1, energy_kwh=0.1)
    desk.budget.worker_lost(desk.assignment(0, (2, 3)), "gone", retried=True)
    assert desk.begin(0, (2, 3)) is None
    assert desk.begin(1) == "--max-kwh"


def test_energy_that_is_reached_ends_the_flow() -> None:
    desk = Desk(kwh=0.5)
    desk.begin(0)
    desk.done(1, energy_kwh=0.2)
    desk.done(2, **builders.FAILED, energy_kwh=0.25)
    assert desk.drained == []
    desk.done(3, energy_kwh=0.05)
    assert desk.drained == ["--max-kwh"]


def test_unknown_energy_is_no_energy() -> None:
    desk = Desk(kwh=0.5)
    desk.begin(0)
    desk.done(1, energy_kwh=None, energy_j=None)
    assert desk.drained == []
    assert desk.begin(1) is None


# --- an observer of the sweep ---------------------------------------------------------------------


def test_the_rest_of_what_an_observer_hears_changes_nothing() -> None:
    desk = Desk(hours=1.0, kwh=1.0)
    desk.begin(0)
    desk.budget.model_loaded(builders.origin())
    desk.budget.trial_started(builders.spec(), builders.origin())
    desk.budget.disk_full("full")
    desk.seal(7)
    desk.done(1, index=7)
    assert desk.drained == []


def test_the_earliest_flag_is_told() -> None:
    desk = Desk(1, hours=1.0, gpu_hours=1.0, kwh=1.0)
    desk.now_s += 2 * HOUR_S
    assert desk.begin(0) == "--max-hours"
