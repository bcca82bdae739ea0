"""From a prepared sweep to what Ray Tune hands out, for a sampler that learns."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.sweep_plan import PlannedTrial, SweepPlan
from orchestrator.nouns import TrialSpec
from orchestrator.ray_tune.driver import Placement, Slots
from orchestrator.ray_tune.searcher import SweepSearcher
from orchestrator.sweep.assignments import AssignmentFactory, RunOptions, searcher_of
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.prepare import prepare
from orchestrator.sweep.request import Request, resolve_request
from tests import builders
from tests.samplers.counting import MIDDLE, Counting

MODEL, USE_CASE = "simulated-smollm2", "fantasyWorld"


class Sweep:
    """A sweep of two prompts under three configurations, on a sampler that only counts."""

    def __init__(self, out: Path, **flags: Any) -> None:
        request = Request(
            space="optuna",
            engines=("simulated",),
            models=("smollm2",),
            use_cases=(USE_CASE,),
            samples=3,
            prompts=2,
            repeats=2,
            out=out,
            **flags,
        )
        resolved = resolve_request(request, [])
        self.sampler = Counting()
        counting = replace(resolved.sampler, start=lambda *_: self.sampler)
        self.resolved = replace(resolved, sampler=counting)
        drawn = make_plan(self.resolved)
        self.plan: SweepPlan = drawn.with_revisions({MODEL: "simulated"})
        self.paths = DataSetPaths(out)

    def measured_before(
        self, index: int, top_k: int, prompts: tuple[int, ...] = (1, 2), **changes: Any
    ) -> None:
        """A trial that an earlier run sealed with some of its prompts."""
        repeat, setup = changes.pop("repeat", 1), changes.pop("setup", 0)
        trial = PlannedTrial(
            strategy=self.plan.strategy, setup=setup, config_index=index, repeat=repeat
        )
        spec = self.plan.spec(trial, index, MIDDLE.model_copy(update={"top_k": top_k}))
        items = [builders.measured(number, of=spec, **changes) for number in prompts]
        builders.seal_trial(self.paths, spec, items, builders.origin(spec, machine="cpu"))

    def searcher(self) -> SweepSearcher:
        """What a run asks that finds this data set."""
        prepared = prepare(self.resolved, self.plan)
        placement = Placement(cpu=1, gpu=0, at_once=99, per_host=99)
        factory = AssignmentFactory(prepared, prepared.parts[0], RunOptions(), placement)
        return searcher_of(factory, itertools.count(), Slots(99), lambda _assignment: None)


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.chdir(tmp_path)
    return Sweep(tmp_path / "measurements")


def handed_out(searcher: SweepSearcher) -> list[TrialSpec]:
    """All that it hands out while nothing ends."""
    specs = []
    for number in itertools.count():
        suggestion = searcher.suggest(str(number))
        if not isinstance(suggestion, dict):
            return specs
        specs.append(suggestion["assignment"].assignment.spec)
    return specs


def test_each_variant_has_a_study_that_starts_as_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real sampler: its first configurations are random, and the same for each variant."""
    monkeypatch.chdir(tmp_path)
    request = Request(
        space="optuna",
        engines=("simulated",),
        quantizations=("nf4", "none"),
        models=("smollm2",),
        use_cases=(USE_CASE,),
        samples=4,
        prompts=1,
        machine="cpu",
    )
    resolved = resolve_request(request, [])
    plan = make_plan(resolved).with_revisions({MODEL: "simulated"})
    prepared = prepare(resolved, plan)
    assert prepared.n_missing() == plan.n_executions() == 2 * 4
    placement = Placement(cpu=1, gpu=0, at_once=99, per_host=99)
    factory = AssignmentFactory(prepared, prepared.parts[0], RunOptions(), placement)
    searcher = searcher_of(factory, itertools.count(), Slots(99), lambda _assignment: None)
    proposed: dict[str, list[Any]] = {"nf4": [], "none": []}
    for spec in handed_out(searcher):
        proposed[spec.setup.quantization.name].append((spec.config_index, spec.configuration))
    assert proposed["nf4"] == proposed["none"]
    assert [index for index, _ in proposed["nf4"]] == [0, 1, 2, 3]


def test_a_resumed_study_counts_its_own_variant_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = Sweep(tmp_path / "measurements", quantizations=("nf4", "none"))
    sweep.measured_before(0, top_k=71, setup=1)
    specs = handed_out(sweep.searcher())
    left = [(s.setup.quantization.name, s.config_index) for s in specs if s.repeat == 1]
    assert left == [("nf4", 0), ("nf4", 1), ("nf4", 2), ("none", 1), ("none", 2)]


def test_a_new_sweep_asks_for_all(sweep: Sweep) -> None:
    specs = handed_out(sweep.searcher())
    assert [(s.config_index, s.repeat, s.configuration.top_k) for s in specs] == [
        (0, 1, 1),
        (0, 2, 1),
        (1, 1, 2),
        (1, 2, 2),
        (2, 1, 3),
        (2, 2, 3),
    ]
    assert sweep.sampler.told == []


def test_a_sampler_is_told_what_earlier_runs_measured(sweep: Sweep) -> None:
    """Whole first repeats only; then it asks for the rest, after what is unfinished."""
    sweep.measured_before(0, top_k=71)
    sweep.measured_before(0, top_k=71, repeat=2, energy_per_token_j=9.0)
    sweep.measured_before(1, top_k=72, prompts=(1,))
    searcher = sweep.searcher()
    ((top_k, figures),) = sweep.sampler.told
    assert top_k == 71
    assert figures is not None
    assert figures["energy_per_token_j"] == 2.0
    assert figures["quality"] is not None
    first, *rest = handed_out(searcher)
    assert (first.config_index, first.attempt) == (1, 2)
    assert [prompt.number for prompt in first.prompts] == [2]
    assert [(s.config_index, s.repeat) for s in rest] == [(1, 2), (2, 1), (2, 2)]
    searcher.finished(first, {"energy_per_token_j": 3.0})
    assert sweep.sampler.told[1:] == [(72, {"energy_per_token_j": 3.0})]
