"""The searcher, driven by hand as Tune would: no Ray is started."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
from ray import tune
from ray.tune.search import Searcher

from orchestrator.nouns import Configuration, Space, TrialSpec
from orchestrator.samplers import OptunaOptions
from orchestrator.tune.searcher import Study, SweepSearcher, domains, model_key
from orchestrator.tune.trainable import Job
from orchestrator.yaml_files import read
from tests import builders
from tests.tune import fake_tune

FINISHED = Searcher.FINISHED
MIDDLE = Configuration(max_length=500, top_p=0.5, top_k=50, temperature=1.0)


@pytest.fixture
def space() -> Space:
    return read("search_spaces", "optuna", Space)[0]


def job(
    index: int,
    asked: Configuration = MIDDLE,
    use_case: str = "fantasyWorld",
    repeat: int = 1,
    **setup: Any,
) -> Job:
    return fake_tune.job(
        strategy="optunaSampling",
        index=index,
        repeat=repeat,
        asked=asked,
        setup=builders.setup(use_case=use_case, **setup),
        prompts=builders.prompts(["Dance."]),
    )


def study(name: str, budget: int, repeats: int = 1, **more: Any) -> Study:
    def jobs(index: int, asked: Configuration) -> list[Job]:
        return [job(index, asked, name, repeat) for repeat in range(1, repeats + 1)]

    return Study(name=name, budget=budget, jobs=jobs, seed=1, **more)


def learning(
    space: Space, *studies: Study, jobs: list[Job] | None = None, **options: Any
) -> SweepSearcher:
    one = {"objectives": {"energy_per_token_j": "min"}}
    return SweepSearcher(
        jobs or [], studies=list(studies), space=space, options=OptunaOptions(**(one | options))
    )


def job_of(suggestion: Any) -> Job:
    assert isinstance(suggestion, dict), suggestion
    return Job.model_validate(suggestion["job"])


def spec_of(suggestion: Any) -> TrialSpec:
    return job_of(suggestion).spec


def optuna_trials(searcher: SweepSearcher) -> list[Any]:
    ((_, search),) = searcher._studies
    return list(search._ot_study.trials)


# --- prepared jobs ---------------------------------------------------------------------------------------------------


def test_prepared_jobs_keep_their_order_and_end() -> None:
    searcher = SweepSearcher([job(i) for i in (2, 0, 1)])
    assert [spec_of(searcher.suggest(str(i))).index for i in range(3)] == [2, 0, 1]
    for i in range(3):
        assert searcher.suggest("waiting") is None, "one of those under way may come again"
        searcher.on_trial_complete(str(i))
    assert searcher.suggest("end") == FINISHED


def test_nothing_to_do_is_the_end() -> None:
    assert SweepSearcher([]).suggest("0") == FINISHED


@pytest.mark.parametrize("error", [True, False])
def test_a_lost_job_comes_again_at_the_end(error: bool) -> None:
    searcher = SweepSearcher([job(0), job(1)])
    lost = job_of(searcher.suggest("0"))
    searcher.on_trial_complete("0", error=error)
    searcher.again(lost)
    assert [spec_of(searcher.suggest(i)).config_index for i in "12"] == [1, 0]
    searcher.on_trial_complete("1")
    assert searcher.suggest("3") is None
    searcher.on_trial_complete("2")
    assert searcher.suggest("3") == FINISHED


def test_a_loss_of_the_last_one_is_not_the_end() -> None:
    """Tune tells the searcher first that a trial is over, then the callback that it was lost, and asks only after both."""
    searcher = SweepSearcher([job(0)])
    lost = job_of(searcher.suggest("0"))
    assert searcher.suggest("1") is None
    searcher.on_trial_complete("0", error=True)
    searcher.again(lost)
    assert spec_of(searcher.suggest("1")).config_index == 0


def test_what_is_unknown_ends_nothing() -> None:
    searcher = SweepSearcher([job(0)])
    searcher.suggest("0")
    searcher.on_trial_complete("never heard of", {"done": True})
    assert searcher.suggest("1") is None


def test_places_are_numbered_at_handing_out() -> None:
    searcher = SweepSearcher([job(0), job(1)], orders=itertools.count(40))
    lost = job_of(searcher.suggest("0"))
    searcher.again(lost)
    orders = [lost.spec.order_index] + [spec_of(searcher.suggest(i)).order_index for i in "12"]
    assert orders == [40, 41, 42]


def test_a_job_is_handed_out_as_it_was_prepared() -> None:
    prepared = job(3)
    assert job_of(SweepSearcher([prepared]).suggest("0")) == prepared


# --- budgets ---------------------------------------------------------------------------------------------------------


def test_a_job_that_is_not_allowed_ends_the_sweep() -> None:
    asked: list[int] = []

    def allows(one: Job) -> str | None:
        asked.append(one.spec.config_index)
        return "--max-kwh" if one.spec.config_index == 1 else None

    searcher = SweepSearcher([job(0), job(1), job(2)], allows=allows)
    assert spec_of(searcher.suggest("0")).config_index == 0
    assert searcher.stopped is None
    for _ in range(3):
        assert searcher.suggest("1") == FINISHED, "even while one is under way"
    assert asked == [0, 1], "and no smaller one is looked for"
    assert searcher.stopped == "--max-kwh"


def test_a_study_is_not_asked_once_the_sweep_ends(space: Space) -> None:
    searcher = learning(space, study("a", 5))
    searcher._allows = lambda _job: "--max-hours"
    assert searcher.suggest("0") == FINISHED
    assert searcher.suggest("1") == FINISHED
    assert len(optuna_trials(searcher)) == 1, "the one that was refused"


# --- memory ----------------------------------------------------------------------------------------------------------


def test_jobs_know_the_shortest_length_at_which_memory_ran_out() -> None:
    searcher = SweepSearcher(
        [job(i) for i in range(4)], oom_tokens={model_key(job(0).spec.setup): {"pc": 900}}
    )
    assert job_of(searcher.suggest("0")).oom_tokens == {"pc": 900}
    searcher.ran_out(job(0).spec.setup, "pc", 1000)
    assert job_of(searcher.suggest("1")).oom_tokens == {"pc": 900}
    searcher.ran_out(job(0).spec.setup, "pc", 800)
    searcher.ran_out(job(0).spec.setup, "colab", 100)
    assert job_of(searcher.suggest("2")).oom_tokens == {"pc": 800, "colab": 100}


def test_another_use_case_or_seed_needs_the_same_memory() -> None:
    searcher = SweepSearcher([job(0, use_case="danceCoreography", seed=99)])
    searcher.ran_out(job(0).spec.setup, "pc", 800)
    assert job_of(searcher.suggest("0")).oom_tokens == {"pc": 800}


@pytest.mark.parametrize(
    "setup", [{"quantization": "int8"}, {"model": "mistral"}, {"compute_dtype": "float32"}]
)
def test_another_model_needs_other_memory(setup: dict[str, Any]) -> None:
    searcher = SweepSearcher([job(0, **setup)])
    searcher.ran_out(job(0).spec.setup, "pc", 800)
    assert job_of(searcher.suggest("0")).oom_tokens == {}


def test_a_job_that_comes_again_knows_what_was_learned_meanwhile() -> None:
    searcher = SweepSearcher([job(0)])
    lost = job_of(searcher.suggest("0"))
    searcher.ran_out(lost.spec.setup, "pc", 800)
    searcher.again(lost)
    assert (lost.oom_tokens, job_of(searcher.suggest("1")).oom_tokens) == ({}, {"pc": 800})


# --- studies ---------------------------------------------------------------------------------------------------------


def test_domains_are_rays_own_and_cover_the_space(space: Space) -> None:
    built = domains(space.narrowed({"top_k": (5, 5), "temperature": (1.0, 1.0)}))
    assert isinstance(built["max_length"], tune.search.sample.Integer)
    assert (built["max_length"].lower, built["max_length"].upper) == (
        100,
        10001,
    )  # the end is exclusive
    assert (built["top_k"].lower, built["top_k"].upper) == (5, 6)
    assert (built["top_p"].lower, built["top_p"].upper) == (0.0, 1.0)
    assert built["temperature"].categories == [1.0]


def best_of(
    space: Space, options: dict[str, Any], energy: Callable[[Configuration], float], trials: int
) -> list[Configuration]:
    """Drive a study to its end; what it asked for."""
    searcher = learning(space, study("a", trials), **options)
    asked = []
    for number in range(trials):
        spec = spec_of(searcher.suggest(str(number)))
        asked.append(spec.configuration)
        figures = dict.fromkeys(OptunaOptions(**options).objectives, energy(spec.configuration))
        searcher.finished(spec, figures)
        searcher.on_trial_complete(str(number), {"done": True})
    assert searcher.suggest("end") == FINISHED
    return asked


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", "gp", "random"])
@pytest.mark.parametrize("objectives", [{"energy_per_token_j": "min"}, OptunaOptions().objectives])
@pytest.mark.filterwarnings("ignore")
def test_every_optuna_sampler_asks_inside_the_space(
    space: Space, sampler: Any, objectives: Any
) -> None:
    options = {"sampler": sampler, "objectives": objectives, "startup_trials": 2}
    narrow = space.narrowed({"max_length": (200, 210), "top_k": (5, 5)})
    asked = best_of(narrow, options, lambda c: c.temperature, 4)
    assert len({c.model_dump_json() for c in asked}) == 4
    for configuration in asked:
        assert 200 <= configuration.max_length <= 210
        assert configuration.top_k == 5
        assert 0 <= configuration.top_p <= 1
        assert 0 <= configuration.temperature <= 2


def test_tpe_learns_from_the_energy_it_is_told(space: Space) -> None:
    asked = best_of(space, {"startup_trials": 5}, lambda c: (c.temperature - 1.9) ** 2, 40)
    early = sum(abs(c.temperature - 1.9) for c in asked[:10]) / 10
    late = sum(abs(c.temperature - 1.9) for c in asked[-10:]) / 10
    assert late < early / 2


def test_same_seed_asks_the_same(space: Space) -> None:
    assert best_of(space, {}, lambda c: c.top_p, 6) == best_of(space, {}, lambda c: c.top_p, 6)


def test_studies_take_turns_and_repeats_follow_their_first(space: Space) -> None:
    searcher = learning(space, study("a", 2, repeats=2), study("b", 1, repeats=2))
    specs = [spec_of(searcher.suggest(str(i))) for i in range(6)]
    assert [(s.setup.use_case, s.index, s.repeat) for s in specs] == [
        ("a", 0, 1),
        ("a", 0, 2),
        ("b", 0, 1),
        ("b", 0, 2),
        ("a", 1, 1),
        ("a", 1, 2),
    ]
    assert specs[0].configuration == specs[1].configuration
    assert searcher.suggest("6") is None


def test_only_first_repeats_are_told(space: Space) -> None:
    searcher = learning(space, study("a", 1, repeats=2))
    first, second = spec_of(searcher.suggest("first")), spec_of(searcher.suggest("second"))
    searcher.finished(second, {"energy_per_token_j": 1.0})
    searcher.finished(first, {"energy_per_token_j": 2.0})
    assert [t.value for t in optuna_trials(searcher)] == [2.0]


@pytest.mark.parametrize(
    "figures", [None, {}, *({"energy_per_token_j": value} for value in (None, math.nan, math.inf))]
)
def test_unknown_energy_fails_the_optuna_trial(space: Space, figures: Any) -> None:
    searcher = learning(space, study("a", 2))
    searcher.finished(spec_of(searcher.suggest("0")), figures)
    assert [t.state.name for t in optuna_trials(searcher)] == ["FAIL"]
    assert spec_of(searcher.suggest("1")).config_index == 1


def test_one_unknown_of_two_objectives_fails_it_too(space: Space) -> None:
    searcher = learning(
        space, study("a", 1), objectives={"energy_per_token_j": "min", "tokens": "max"}
    )
    searcher.finished(spec_of(searcher.suggest("0")), {"energy_per_token_j": 1.0, "tokens": None})
    assert [t.state.name for t in optuna_trials(searcher)] == ["FAIL"]


def test_a_lost_trial_is_told_once_it_is_whole(space: Space) -> None:
    """Under Tune's new name and as its second attempt."""
    searcher = learning(space, study("a", 1))
    lost = job_of(searcher.suggest("0"))
    searcher.on_trial_complete("0", error=True)
    assert [t.state.name for t in optuna_trials(searcher)] == ["RUNNING"]
    searcher.again(lost.model_copy(update={"spec": lost.spec.model_copy(update={"attempt": 2})}))
    again = spec_of(searcher.suggest("1"))
    searcher.finished(again, {"energy_per_token_j": 3.0})
    searcher.finished(again, {"energy_per_token_j": 9.0})
    assert [t.value for t in optuna_trials(searcher)] == [3.0]


def test_what_no_study_asked_for_is_told_to_none(space: Space) -> None:
    searcher = learning(space, study("a", 1), jobs=[job(7)])
    searcher.finished(spec_of(searcher.suggest("0")), {"energy_per_token_j": 1.0})
    assert optuna_trials(searcher) == []


def test_unfinished_jobs_come_first_and_earlier_results_are_known(space: Space) -> None:
    earlier = [(MIDDLE, [0.5]), (MIDDLE.model_copy(update={"top_k": 7}), [0.25])]
    searcher = learning(space, study("a", 1, known=earlier, asked=3), jobs=[job(2)])
    assert spec_of(searcher.suggest("0")).config_index == 2
    assert spec_of(searcher.suggest("1")).config_index == 3
    assert [t.value for t in optuna_trials(searcher)[:2]] == [0.5, 0.25]


def test_no_more_is_out_than_there_are_slots() -> None:
    slots = [2]
    searcher = SweepSearcher([job(index) for index in range(4)], slots=lambda: slots[0])
    assert [isinstance(searcher.suggest(name), dict) for name in "abc"] == [True, True, False]
    slots[0] = 3  # a node joined
    assert isinstance(searcher.suggest("c"), dict)
    slots[0] = 1  # two left
    searcher.on_trial_complete("a")
    searcher.on_trial_complete("b")
    assert searcher.suggest("d") is None
    searcher.on_trial_complete("c")
    assert isinstance(searcher.suggest("d"), dict)
    searcher.on_trial_complete("d")
    assert searcher.suggest("e") == Searcher.FINISHED


def test_by_default_it_learns_from_joules_per_token_and_quality(space: Space) -> None:
    assert OptunaOptions().objectives == {"energy_per_token_j": "min", "quality": "max"}
    searcher = learning(space, study("a", 2), **OptunaOptions().model_dump(include={"objectives"}))
    first, second = spec_of(searcher.suggest("0")), spec_of(searcher.suggest("1"))
    searcher.finished(first, {"energy_per_token_j": 2.0, "quality": 0.9})
    searcher.finished(second, {"energy_per_token_j": 2.0, "quality": None})
    assert [trial.values for trial in optuna_trials(searcher)] == [[2.0, 0.9], None]
