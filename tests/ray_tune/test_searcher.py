"""The searcher, driven by hand as Tune would: no Ray is started, and no algorithm learns."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from ray.tune.search import Searcher

from orchestrator.nouns import Configuration, TrialSpec
from orchestrator.ray_tune.searcher import Study, SweepSearcher, model_key
from orchestrator.ray_tune.trainable import Assignment, HandedOut
from tests import builders
from tests.ray_tune import fake_tune
from tests.samplers.counting import MIDDLE, Counting

FINISHED = Searcher.FINISHED


def assignment(
    index: int,
    configuration: Configuration = MIDDLE,
    use_case: str = "fantasyWorld",
    repeat: int = 1,
    **setup: Any,
) -> Assignment:
    return fake_tune.assignment(
        strategy="optunaSampling",
        config_index=index,
        repeat=repeat,
        configuration=configuration,
        setup=builders.setup(use_case=use_case, **setup),
        prompts=builders.prompts(["Dance."]),
    )


def study(use_case: str, budget: int, repeats: int = 1, next_index: int = 0, **setup: Any) -> Study:
    def assignments(index: int, configuration: Configuration) -> list[Assignment]:
        return [
            assignment(index, configuration, use_case, repeat, **setup)
            for repeat in range(1, repeats + 1)
        ]

    of = builders.setup(use_case=use_case, **setup)
    return Study(of, Counting(), budget, assignments, next_index)


def learning(
    *studies: Study, assignments: list[Assignment] | None = None, **more: Any
) -> SweepSearcher:
    return SweepSearcher(assignments or [], studies=list(studies), **more)


def sampler(of: Study) -> Counting:
    assert isinstance(of.sampler, Counting)
    return of.sampler


def assignment_of(suggestion: Any) -> Assignment:
    assert isinstance(suggestion, dict), suggestion
    handed_out: HandedOut = suggestion["assignment"]
    return handed_out.assignment


def spec_of(suggestion: Any) -> TrialSpec:
    return assignment_of(suggestion).spec


# --- prepared assignments -------------------------------------------------------------------------


def test_prepared_assignments_keep_their_order_and_end() -> None:
    searcher = SweepSearcher([assignment(i) for i in (2, 0, 1)])
    assert [spec_of(searcher.suggest(str(i))).config_index for i in range(3)] == [2, 0, 1]
    for i in range(3):
        assert searcher.suggest("waiting") is None, "one of those under way may come again"
        searcher.on_trial_complete(str(i))
    assert searcher.suggest("end") == FINISHED


def test_nothing_to_do_is_the_end() -> None:
    assert SweepSearcher([]).suggest("0") == FINISHED


@pytest.mark.parametrize("error", [True, False])
def test_a_lost_assignment_comes_again_at_the_end(error: bool) -> None:
    searcher = SweepSearcher([assignment(0), assignment(1)])
    lost = assignment_of(searcher.suggest("0"))
    searcher.on_trial_complete("0", error=error)
    searcher.again(lost)
    assert [spec_of(searcher.suggest(i)).config_index for i in "12"] == [1, 0]
    searcher.on_trial_complete("1")
    assert searcher.suggest("3") is None
    searcher.on_trial_complete("2")
    assert searcher.suggest("3") == FINISHED


def test_a_loss_of_the_last_one_is_not_the_end() -> None:
    """Tune tells the searcher that a trial is over, then the callback that it was lost.

    It asks only after both.
    """
    searcher = SweepSearcher([assignment(0)])
    lost = assignment_of(searcher.suggest("0"))
    assert searcher.suggest("1") is None
    searcher.on_trial_complete("0", error=True)
    searcher.again(lost)
    assert spec_of(searcher.suggest("1")).config_index == 0


def test_what_is_unknown_ends_nothing() -> None:
    searcher = SweepSearcher([assignment(0)])
    searcher.suggest("0")
    searcher.on_trial_complete("never heard of", {"done": True})
    assert searcher.suggest("1") is None


def test_places_are_numbered_at_handing_out() -> None:
    searcher = SweepSearcher([assignment(0), assignment(1)], orders=itertools.count(40))
    lost = assignment_of(searcher.suggest("0"))
    searcher.again(lost)
    orders = [lost.spec.order_index] + [spec_of(searcher.suggest(i)).order_index for i in "12"]
    assert orders == [40, 41, 42]


def test_an_assignment_is_handed_out_as_it_was_prepared() -> None:
    prepared, other = assignment(3), assignment(4)
    assert assignment_of(SweepSearcher([prepared, other]).suggest("0")) == prepared


@pytest.mark.parametrize(
    ("n_trials", "n_slots", "last"),
    [
        (3, 1, [False, False, True]),
        (4, 2, [False, False, True, True]),
        (1, 4, [True]),
        (3, math.inf, [False, False, True]),
    ],
)
def test_a_worker_is_told_that_nothing_may_follow(
    n_trials: int, n_slots: float, last: list[bool]
) -> None:
    """One of the last so many trials as there are workers may be its worker's last."""
    searcher = SweepSearcher(list(map(assignment, range(n_trials))), slots=lambda: n_slots)
    told = []
    for number in range(n_trials):
        told.append(assignment_of(searcher.suggest(str(number))).is_last)
        searcher.on_trial_complete(str(number))
    assert told == last


@pytest.mark.parametrize(
    ("setups", "last"),
    [
        ([{"model": "llama2"}] * 2 + [{"model": "mistral"}], [False, True, True]),
        (
            [{}, {}, {"quantization": "none"}, {"quantization": "none"}, {}, {}],
            [False, True, False, True, False, True],
        ),
        ([{}, {"compute_dtype": "float16"}, {"batch_size": 2}], [True, True, True]),
        ([{"use_case": "a"}, {"use_case": "b"}, {"use_case": "a"}], [False, False, True]),
    ],
)
def test_the_last_trial_before_another_model_may_be_its_session_s_last(
    setups: list[dict[str, Any]], last: list[bool]
) -> None:
    """Also where the same model comes again later: its session is over by then."""
    trials = [assignment(number, **setup) for number, setup in enumerate(setups)]
    searcher = SweepSearcher(trials, slots=lambda: 1)
    assert [one.is_last for one in all_of(searcher)] == last


def all_of(searcher: SweepSearcher) -> list[Assignment]:
    """All that it hands out to one worker."""
    handed_out = []
    for number in itertools.count():
        suggestion = searcher.suggest(str(number))
        if suggestion == FINISHED:
            return handed_out
        handed_out.append(assignment_of(suggestion))
        searcher.on_trial_complete(str(number))
    return handed_out


def test_studies_of_a_model_propose_ten_configurations_in_a_turn() -> None:
    """In one session: a load for each configuration would cost more than the configuration."""
    none = {"quantization": "none"}
    studies = [study("a", 8), study("b", 8), study("a", 7, **none), study("b", 7, **none)]
    handed_out = all_of(learning(*studies, slots=lambda: 1))
    names = [one.spec.setup.quantization.name for one in handed_out]
    turns = [(name, len(list(some))) for name, some in itertools.groupby(names)]
    assert turns == [("nf4", 10), ("none", 10), ("nf4", 6), ("none", 4)]
    places = list(itertools.accumulate(n for _, n in turns))
    assert [place for place, one in enumerate(handed_out, 1) if one.is_last] == places
    use_cases = [one.spec.setup.use_case for one in handed_out[:10]]
    assert use_cases == ["a", "b"] * 5


def test_a_study_is_told_of_its_own_variant_alone() -> None:
    nf4, none = study("a", 1), study("a", 1, quantization="none")
    searcher = learning(nf4, none)
    earlier = assignment(7, use_case="a", quantization="none").spec
    searcher.finished(earlier, {"energy_j": 1.0})
    assert sampler(nf4).told == []
    assert sampler(none).told == [(earlier.configuration.top_k, {"energy_j": 1.0})]


# --- budgets --------------------------------------------------------------------------------------


def test_an_assignment_that_is_not_allowed_ends_the_sweep() -> None:
    asked: list[int] = []

    def allows(one: Assignment) -> str | None:
        asked.append(one.spec.config_index)
        return "--max-kwh" if one.spec.config_index == 1 else None

    searcher = SweepSearcher([assignment(0), assignment(1), assignment(2)], allows=allows)
    assert spec_of(searcher.suggest("0")).config_index == 0
    assert searcher.stopped is None
    for _ in range(3):
        assert searcher.suggest("1") == FINISHED, "even while one is under way"
    assert asked == [0, 1], "and no smaller one is looked for"
    assert searcher.stopped == "--max-kwh"


def test_a_study_is_not_asked_once_the_sweep_ends() -> None:
    one = study("a", 5)
    searcher = learning(one, allows=lambda _assignment: "--max-hours")
    assert searcher.suggest("0") == FINISHED
    assert searcher.suggest("1") == FINISHED
    assert sampler(one).n_asked == 1, "the one that was refused"


# --- memory ---------------------------------------------------------------------------------------


def test_assignments_know_the_shortest_length_at_which_memory_ran_out() -> None:
    searcher = SweepSearcher(
        [assignment(i) for i in range(4)],
        oom_tokens={model_key(assignment(0).spec.setup): {"pc": 900}},
    )
    assert assignment_of(searcher.suggest("0")).oom_tokens == {"pc": 900}
    searcher.ran_out(assignment(0).spec.setup, "pc", 1000)
    assert assignment_of(searcher.suggest("1")).oom_tokens == {"pc": 900}
    searcher.ran_out(assignment(0).spec.setup, "pc", 800)
    searcher.ran_out(assignment(0).spec.setup, "colab", 100)
    assert assignment_of(searcher.suggest("2")).oom_tokens == {"pc": 800, "colab": 100}


def test_another_use_case_or_seed_needs_the_same_memory() -> None:
    searcher = SweepSearcher([assignment(0, use_case="danceCoreography", seed=99)])
    searcher.ran_out(assignment(0).spec.setup, "pc", 800)
    assert assignment_of(searcher.suggest("0")).oom_tokens == {"pc": 800}


@pytest.mark.parametrize(
    "setup",
    [
        {"quantization": "int8"},
        {"model": "mistral"},
        {"compute_dtype": "float32"},
        {"engine": "another"},
        {"batch_size": 2},
    ],
)
def test_another_model_needs_other_memory(setup: dict[str, Any]) -> None:
    searcher = SweepSearcher([assignment(0, **setup)])
    searcher.ran_out(assignment(0).spec.setup, "pc", 800)
    assert assignment_of(searcher.suggest("0")).oom_tokens == {}


def test_an_assignment_that_comes_again_knows_what_was_learned_meanwhile() -> None:
    searcher = SweepSearcher([assignment(0)])
    lost = assignment_of(searcher.suggest("0"))
    searcher.ran_out(lost.spec.setup, "pc", 800)
    searcher.again(lost)
    assert (lost.oom_tokens, assignment_of(searcher.suggest("1")).oom_tokens) == ({}, {"pc": 800})


# --- studies --------------------------------------------------------------------------------------


def test_studies_take_turns_and_repeats_follow_their_first() -> None:
    searcher = learning(study("a", 2, repeats=2), study("b", 1, repeats=2))
    specs = [spec_of(searcher.suggest(str(i))) for i in range(6)]
    assert [(s.setup.use_case, s.config_index, s.repeat) for s in specs] == [
        ("a", 0, 1),
        ("a", 0, 2),
        ("b", 0, 1),
        ("b", 0, 2),
        ("a", 1, 1),
        ("a", 1, 2),
    ]
    assert specs[0].configuration == specs[1].configuration
    assert searcher.suggest("6") is None


def test_a_sampler_without_more_configurations_ends_its_study() -> None:
    short = Study(
        builders.setup(use_case="a"), Counting(last=1), 5, lambda i, c: [assignment(i, c, "a")]
    )
    searcher = learning(short, study("b", 1))
    assert [spec_of(searcher.suggest(i)).setup.use_case for i in "01"] == ["a", "b"]
    for trial_id in "01":
        searcher.on_trial_complete(trial_id)
    assert searcher.suggest("2") == FINISHED


def test_only_first_repeats_are_told() -> None:
    one = study("a", 1, repeats=2)
    searcher = learning(one)
    first, second = spec_of(searcher.suggest("first")), spec_of(searcher.suggest("second"))
    searcher.finished(second, {"energy_per_token_j": 1.0})
    searcher.finished(first, {"energy_per_token_j": 2.0})
    assert sampler(one).told == [(1, {"energy_per_token_j": 2.0})]


@pytest.mark.parametrize("figures", [None, {}, {"energy_per_token_j": None}])
def test_unknown_figures_are_told_as_they_are(figures: Any) -> None:
    one = study("a", 2)
    searcher = learning(one)
    searcher.finished(spec_of(searcher.suggest("0")), figures)
    assert sampler(one).told == [(1, figures)]
    assert spec_of(searcher.suggest("1")).config_index == 1


def test_a_lost_trial_is_told_once_it_is_whole() -> None:
    """Under Tune's new name and as its second attempt; told twice, it counts once."""
    one = study("a", 1)
    searcher = learning(one)
    lost = assignment_of(searcher.suggest("0"))
    searcher.on_trial_complete("0", error=True)
    assert sampler(one).told == []
    searcher.again(lost.model_copy(update={"spec": lost.spec.model_copy(update={"attempt": 2})}))
    again = spec_of(searcher.suggest("1"))
    searcher.finished(again, {"energy_per_token_j": 3.0})
    searcher.finished(again, {"energy_per_token_j": 9.0})
    assert sampler(one).told == [(1, {"energy_per_token_j": 3.0})]


def test_what_no_study_asked_for_is_told_to_none() -> None:
    one = study("a", 1)
    searcher = learning(one, assignments=[assignment(7)])
    searcher.finished(spec_of(searcher.suggest("0")), {"energy_per_token_j": 1.0})
    assert sampler(one).told == []


@pytest.mark.parametrize(
    ("repeat", "figures", "told"),
    [(1, {"energy_j": 1.0}, [(50, {"energy_j": 1.0})]), (2, {"energy_j": 1.0}, []), (1, None, [])],
)
def test_what_an_earlier_run_asked_for_is_told_to_its_study(
    repeat: int, figures: Any, told: list[Any]
) -> None:
    """Its first repeat, once it has figures, and to no other study."""
    one, other = study("a", 1), study("b", 1)
    searcher = learning(one, other, assignments=[assignment(7, use_case="a", repeat=repeat)])
    searcher.finished(spec_of(searcher.suggest("0")), figures)
    assert (sampler(one).told, sampler(other).told) == (told, [])


def test_unfinished_assignments_come_first_and_indices_go_on() -> None:
    searcher = learning(study("a", 1, next_index=3), assignments=[assignment(2)])
    assert spec_of(searcher.suggest("0")).config_index == 2
    assert spec_of(searcher.suggest("1")).config_index == 3


def test_no_more_is_out_than_there_are_slots() -> None:
    slots = [2]
    searcher = SweepSearcher([assignment(index) for index in range(4)], slots=lambda: slots[0])
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
