"""The searchers, driven by hand as Tune would: no Ray is started."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from ray import tune
from ray.tune.search import Searcher

from orchestrator.nouns import QUANTIZATIONS, Configuration, Machine, Prompt, Setup, Space, TrialSpec
from orchestrator.reader import read
from orchestrator.samplers import OptunaOptions
from orchestrator.tune.searcher import DesignSearcher, Study, StudySearcher, domains
from orchestrator.tune.trainable import Job

CPU = Machine(name="cpu", accelerator="cpu")


@pytest.fixture
def space() -> Space:
    return read("search_spaces", "optuna", Space)[0]


def job(index: int, asked: Configuration, use_case: str = "fantasyWorld", repeat: int = 1) -> Job:
    setup = Setup(
        seed=0,
        model="smollm2",
        revision="simulated",
        engine="simulated",
        quantization=QUANTIZATIONS["nf4"],
        use_case=use_case,
        prompts_sha256="0" * 64,
    )
    spec = TrialSpec(
        sweep_id="optuna-0",
        strategy="optunaSampling",
        index=index,
        repeat=repeat,
        order_index=index,
        asked=asked,
        setup=setup,
        prompts=(Prompt(number=1, text="Dance."),),
        model_ref="smollm2",
    )
    return Job(spec=spec, todo=(1,), order="shuffled", machine="cpu", machines={"cpu": CPU}, threads=1, n_parallel=1)


def study(name: str, budget: int, repeats: int = 1, **more: Any) -> Study:
    def jobs(index: int, asked: Configuration) -> list[Job]:
        return [job(index, asked, name, repeat) for repeat in range(1, repeats + 1)]

    return Study(name=name, budget=budget, jobs=jobs, seed=1, **more)


def spec_of(suggestion: Any) -> TrialSpec:
    return Job.model_validate(suggestion["job"]).spec


MIDDLE = Configuration(max_length=500, top_p=0.5, top_k=50, temperature=1.0)


def test_design_searcher_keeps_order_and_ends() -> None:
    searcher = DesignSearcher([job(i, MIDDLE) for i in range(3)])
    assert [spec_of(searcher.suggest(str(i))).index for i in range(3)] == [0, 1, 2]
    assert searcher.suggest("3") == Searcher.FINISHED


def test_stopped_searchers_hand_out_nothing(space: Space) -> None:
    for searcher in (DesignSearcher([job(0, MIDDLE)]), StudySearcher(space, OptunaOptions(), [study("a", 1)], [])):
        searcher.stopped = True
        assert searcher.suggest("0") == Searcher.FINISHED


def test_domains_are_rays_own_and_cover_the_space(space: Space) -> None:
    built = domains(space.narrowed({"top_k": (5, 5), "temperature": (1.0, 1.0)}))
    assert isinstance(built["max_length"], tune.search.sample.Integer)
    assert (built["max_length"].lower, built["max_length"].upper) == (100, 10001)  # the end is exclusive
    assert (built["top_k"].lower, built["top_k"].upper) == (5, 6)
    assert (built["top_p"].lower, built["top_p"].upper) == (0.0, 1.0)
    assert built["temperature"].categories == [1.0]


def best_of(space: Space, options: OptunaOptions, energy: Callable[[Configuration], float], trials: int) -> list[Configuration]:
    """Drive a study to its end; what it asked for."""
    searcher = StudySearcher(space, options, [study("a", trials)], [])
    asked = []
    for number in range(trials):
        spec = spec_of(searcher.suggest(str(number)))
        asked.append(spec.asked)
        results = {name: energy(spec.asked) for name in options.objectives}
        searcher.on_trial_complete(str(number), {**results, "done": True})
    assert searcher.suggest("end") == Searcher.FINISHED
    return asked


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", "gp", "random"])
@pytest.mark.parametrize("objectives", [{"energy_per_token_j": "min"}, {"energy_per_token_j": "min", "tokens": "max"}])
@pytest.mark.filterwarnings("ignore")
def test_every_optuna_sampler_asks_inside_the_space(space: Space, sampler: Any, objectives: Any) -> None:
    options = OptunaOptions(sampler=sampler, objectives=objectives, startup_trials=2)
    narrow = space.narrowed({"max_length": (200, 210), "top_k": (5, 5)})
    asked = best_of(narrow, options, lambda c: c.temperature, 4)
    assert len({c.model_dump_json() for c in asked}) == 4
    for configuration in asked:
        assert 200 <= configuration.max_length <= 210
        assert configuration.top_k == 5
        assert 0 <= configuration.top_p <= 1
        assert 0 <= configuration.temperature <= 2


def test_tpe_learns_from_the_energy_it_is_told(space: Space) -> None:
    asked = best_of(space, OptunaOptions(startup_trials=5), lambda c: (c.temperature - 1.9) ** 2, 40)
    early = sum(abs(c.temperature - 1.9) for c in asked[:10]) / 10
    late = sum(abs(c.temperature - 1.9) for c in asked[-10:]) / 10
    assert late < early / 2


def test_same_seed_asks_the_same(space: Space) -> None:
    assert best_of(space, OptunaOptions(), lambda c: c.top_p, 6) == best_of(space, OptunaOptions(), lambda c: c.top_p, 6)


def test_studies_take_turns_and_repeats_follow_their_first(space: Space) -> None:
    searcher = StudySearcher(space, OptunaOptions(), [study("a", 2, repeats=2), study("b", 1, repeats=2)], [])
    specs = [spec_of(searcher.suggest(str(i))) for i in range(6)]
    assert [(s.setup.use_case, s.index, s.repeat) for s in specs] == [
        ("a", 0, 1),
        ("a", 0, 2),
        ("b", 0, 1),
        ("b", 0, 2),
        ("a", 1, 1),
        ("a", 1, 2),
    ]
    assert specs[0].asked == specs[1].asked
    assert searcher.suggest("6") == Searcher.FINISHED


def test_only_first_repeats_are_told(space: Space) -> None:
    searcher = StudySearcher(space, OptunaOptions(), [study("a", 1, repeats=2)], [])
    searcher.suggest("first")
    searcher.suggest("second")
    searcher.on_trial_complete("second", {"energy_per_token_j": 1.0})
    searcher.on_trial_complete("first", {"energy_per_token_j": 2.0})
    (_, search), *_ = searcher._studies
    assert [t.value for t in search._ot_study.trials] == [2.0]


@pytest.mark.parametrize("result", [None, {}, {"energy_per_token_j": math.nan}])
def test_unknown_energy_fails_the_optuna_trial(space: Space, result: Any) -> None:
    searcher = StudySearcher(space, OptunaOptions(), [study("a", 2)], [])
    searcher.suggest("0")
    searcher.on_trial_complete("0", result)
    (_, search), *_ = searcher._studies
    assert [t.state.name for t in search._ot_study.trials] == ["FAIL"]
    assert spec_of(searcher.suggest("1")).index == 1


def test_unfinished_jobs_come_first_and_earlier_results_are_known(space: Space) -> None:
    earlier = [(MIDDLE, [0.5]), (MIDDLE.model_copy(update={"top_k": 7}), [0.25])]
    searcher = StudySearcher(space, OptunaOptions(), [study("a", 1, known=earlier, asked=3)], [job(2, MIDDLE)])
    assert spec_of(searcher.suggest("0")).index == 2
    assert spec_of(searcher.suggest("1")).index == 3
    (_, search), *_ = searcher._studies
    assert [t.value for t in search._ot_study.trials[:2]] == [0.5, 0.25]
