"""The work is the plan's: its trials, prompts, seeds and the values that run."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.bench.work import planned_trials
from orchestrator.dataset.sweep_plan import SweepPlan
from orchestrator.nouns import generation_seed
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.request import Request, resolve_request


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepPlan:
    monkeypatch.chdir(tmp_path)
    request = Request(
        space="lhs",
        samples=12,
        prompts=2,
        models=("smollm2",),
        use_cases=("fantasyWorld",),
        ranges=("max_length=100:120", "top_k=0:3"),
    )
    return make_plan(resolve_request(request, []))


def test_every_trial_of_the_plan_is_done_in_its_order(plan: SweepPlan) -> None:
    trials, specs = planned_trials(plan), list(plan.specs())
    assert len({one.trial for one in trials}) == len(trials) == len(specs) > 12, "with anchors"
    for planned, spec in zip(trials, specs, strict=True):
        assert spec.folder().startswith(planned.trial.split()[-1].partition("-")[0])
        assert [one.text for one in planned.generations] == [one.text for one in spec.prompts]
        assert {one.max_length for one in planned.generations} == {spec.configuration.max_length}


def test_seeds_are_those_of_a_sweep(plan: SweepPlan) -> None:
    spec = next(plan.specs())
    expected = [
        generation_seed(spec.setup.seed, spec.configuration, prompt.text, spec.repeat)
        for prompt in spec.prompts
    ]
    assert [one.seed for one in planned_trials(plan)[0].generations] == expected


def test_values_are_those_that_run(plan: SweepPlan) -> None:
    for planned, spec in zip(planned_trials(plan), plan.specs(), strict=True):
        greedy = spec.configuration.top_k == 1
        (samples,) = {one.do_sample for one in planned.generations}
        assert samples is not greedy
        assert planned.generations[0].top_k == (None if greedy else spec.configuration.top_k)
