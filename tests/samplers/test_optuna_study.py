"""Optuna's studies: what they ask for, and what they learn from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.nouns import Configuration, Space, digest
from orchestrator.samplers import OptunaOptions
from orchestrator.samplers.optuna_study import OptunaStudy
from orchestrator.yaml_files import read

MIDDLE = Configuration(max_length=500, top_p=0.5, top_k=50, temperature=1.0)
JOULES = {"energy_per_token_j": "min"}


@pytest.fixture
def space() -> Space:
    return read("search_spaces", "optuna", Space)[0]


def started(space: Space, seed: int = 1, **options: Any) -> OptunaStudy:
    """A study, of joules per token alone unless other objectives are given."""
    return OptunaStudy(space, seed, OptunaOptions(**({"objectives": JOULES} | options)))


def asked_of(
    study: OptunaStudy, energy_j: Callable[[Configuration], float], count: int
) -> list[Configuration]:
    """What a study asks for when it is told a figure, the same for both objectives."""
    asked = []
    for _ in range(count):
        configuration = study.ask()
        asked.append(configuration)
        figure = energy_j(configuration)
        study.tell(configuration, {"energy_per_token_j": figure, "quality": figure})
    return asked


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", "gp", "random"])
@pytest.mark.parametrize("objectives", [JOULES, OptunaOptions().objectives])
@pytest.mark.filterwarnings("ignore")
def test_every_algorithm_asks_inside_the_space(space: Space, sampler: str, objectives: Any) -> None:
    narrow = space.narrowed({"max_length": (200, 210), "top_k": (5, 5)})
    study = started(narrow, sampler=sampler, objectives=objectives, startup_trials=2)
    asked = asked_of(study, lambda c: c.temperature, 4)
    assert len(set(asked)) == 4
    for configuration in asked:
        assert 200 <= configuration.max_length <= 210
        assert configuration.top_k == 5
        assert 0 <= configuration.top_p <= 1
        assert 0 <= configuration.temperature <= 2


def test_both_bounds_of_every_parameter_are_in_the_space(space: Space) -> None:
    study = started(space.narrowed({"top_k": (5, 5), "temperature": (1.0, 1.0)}))
    study.ask()
    bounds = {n: (d.low, d.high) for n, d in study.trials[0].distributions.items()}
    assert bounds == {
        "max_length": (100, 10_000),
        "top_p": (0.0, 1.0),
        "top_k": (5, 5),
        "temperature": (1.0, 1.0),
    }


def test_tpe_learns_from_the_energy_it_is_told(space: Space) -> None:
    study = started(space, startup_trials=5)
    asked = asked_of(study, lambda c: (c.temperature - 1.9) ** 2, 40)
    early = sum(abs(c.temperature - 1.9) for c in asked[:10]) / 10
    late = sum(abs(c.temperature - 1.9) for c in asked[-10:]) / 10
    assert late < early / 2


def test_same_seed_asks_the_same(space: Space) -> None:
    def asked() -> list[Configuration]:
        return asked_of(started(space), lambda c: c.top_p, 6)

    assert asked() == asked()


@pytest.mark.parametrize(
    ("sampler", "count", "pinned"),
    [
        ("tpe", 12, "e81c1dab5dd1"),
        ("nsga2", 12, "b4af64967ba7"),  # its first generation, of 50, is random
        ("random", 12, "b4af64967ba7"),
        ("nsga2", 70, "f1c9923a9cde"),
    ],
)
def test_same_figures_ask_the_same_on_every_machine(
    space: Space, sampler: str, count: int, pinned: str
) -> None:
    """As Ray's OptunaSearch asked, which ran before: a sweep that is resumed goes on as it began.

    Rounded, since the last digits may differ between processors.
    """
    study = started(space, seed=7, sampler=sampler)

    def energy_j(c: Configuration) -> float:
        return c.max_length * (0.5 + c.top_p) / 100 + abs(c.temperature - 1.3) + c.top_k / 50

    asked = asked_of(study, energy_j, count)
    rounded = [{name: round(v, 6) for name, v in c.model_dump().items()} for c in asked]
    assert digest(rounded) == pinned


@pytest.mark.parametrize(
    "figures", [None, {}, *({"energy_per_token_j": value} for value in (None, math.nan, math.inf))]
)
def test_unknown_energy_fails_the_trial(space: Space, figures: Any) -> None:
    study = started(space)
    study.tell(study.ask(), figures)
    assert [trial.state.name for trial in study.trials] == ["FAIL"]
    assert study.ask() is not None


def test_one_unknown_of_two_objectives_fails_it_too(space: Space) -> None:
    study = started(space, objectives={"energy_per_token_j": "min", "tokens": "max"})
    unknown: Any = {"energy_per_token_j": 1.0, "tokens": None}
    study.tell(study.ask(), unknown)
    assert [trial.state.name for trial in study.trials] == ["FAIL"]


def test_a_trial_waits_until_it_is_told(space: Space) -> None:
    study = started(space)
    first, second = study.ask(), study.ask()
    study.tell(second, {"energy_per_token_j": 2.0})
    assert [(t.state.name, t.values) for t in study.trials] == [
        ("RUNNING", None),
        ("COMPLETE", [2.0]),
    ]
    study.tell(first, {"energy_per_token_j": 1.0})
    assert [t.value for t in study.trials] == [1.0, 2.0]


def test_a_configuration_that_was_asked_for_twice_is_told_once_each(space: Space) -> None:
    fixed = {
        "max_length": (200, 200),
        "top_p": (0.5, 0.5),
        "top_k": (5, 5),
        "temperature": (1.0, 1.0),
    }
    study = started(space.narrowed(fixed))
    assert study.ask() == study.ask()
    study.tell(study.ask(), None)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "RUNNING", "RUNNING"]


def test_trials_of_earlier_runs_are_known_unless_they_failed(space: Space) -> None:
    study = started(space)
    study.tell(MIDDLE, {"energy_per_token_j": 0.5})
    study.tell(MIDDLE.model_copy(update={"top_k": 7}), {"energy_per_token_j": 0.25})
    study.tell(MIDDLE.model_copy(update={"top_k": 8}), None)
    assert [(t.value, t.params["top_k"]) for t in study.trials] == [(0.5, 50), (0.25, 7)]


def test_by_default_it_learns_from_joules_per_token_and_quality(space: Space) -> None:
    assert OptunaOptions().objectives == {"energy_per_token_j": "min", "quality": "max"}
    study = OptunaStudy(space, 1, OptunaOptions())
    first, second = study.ask(), study.ask()
    study.tell(first, {"energy_per_token_j": 2.0, "quality": 0.9})
    unknown: Any = {"energy_per_token_j": 2.0, "quality": None}
    study.tell(second, unknown)
    assert [trial.values for trial in study.trials] == [[2.0, 0.9], None]
