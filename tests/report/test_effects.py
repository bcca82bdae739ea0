"""Effects on made-up executions: intervals contain the true effect, also at equal length.

Where there is no effect, none is found. tools/coverage does this at length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest

from orchestrator.nouns import PARAMETERS
from orchestrator.report.effects import (
    AT_EQUAL_LENGTH,
    ENERGY,
    LEAST_POINTS,
    LENGTH,
    OF_USABLE,
    USABLE,
    Effect,
    Model,
    Outcome,
    _with_clear,
    axis,
    effects,
    value_range,
)
from orchestrator.report.execution_frame import data_of
from tests.report.synthetic import Truth, executions
from tools.coverage.of_effects import tallies

SEEDS = range(15)


def by_name(frame: pd.DataFrame, outcome: Outcome = AT_EQUAL_LENGTH) -> dict[str, Effect]:
    return {effect.parameter: effect for effect in effects(data_of(frame).answers, outcome)}


def holds(effect: Effect, log_change: float) -> bool:
    """Whether an interval holds the half of a straight line's change from lowest to highest."""
    assert effect.lower is not None
    assert effect.upper is not None
    return effect.lower <= math.exp(log_change / 2) <= effect.upper


CELLS = [("lines", 15), ("saturation", 20), ("confounder", 20), ("sessions", 40), ("steep", 40)]


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    found = [tallies(kind, n_points, seed) for kind, n_points in CELLS for seed in range(8)]
    for outcome in (ENERGY, AT_EQUAL_LENGTH):
        share = np.nanmean([one[outcome].holds for one in found])
        assert 0.90 <= share <= 0.985, (outcome.name, share, "of 95 %")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n_points"), [*CELLS, ("nothing", 20), ("together", 100)])
def test_intervals_of_each_kind_hold_the_truth(kind: str, n_points: int) -> None:
    found = [tallies(kind, n_points, seed) for seed in range(300)]
    for outcome in (ENERGY, AT_EQUAL_LENGTH):
        share = np.nanmean([one[outcome].holds for one in found])
        assert 0.925 <= share <= 0.975, (outcome.name, share, "of 95 %")


def test_shares_of_usable_answers_have_intervals_that_hold() -> None:
    found = [tallies("discards", 20, seed) for seed in range(12)]
    for outcome in (OF_USABLE, USABLE):
        assert np.nanmean([one[outcome].holds for one in found]) >= 0.88


def test_what_two_do_together_only_is_no_noise() -> None:
    found = [tallies("together", 40, seed)[AT_EQUAL_LENGTH] for seed in range(6)]
    assert np.median([one.width for one in found]) < 0.11, "0.15 with it in the noise"


def test_few_columns_are_chosen_where_there_is_noise_only() -> None:
    n, n_chosen = 20, 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        columns = {name: rng.permutation(n) for name in PARAMETERS} | {"value": rng.normal(size=n)}
        table = pd.DataFrame(columns).assign(part=0, sampled=True)
        axes = {name: axis(table, name) for name in PARAMETERS}
        # a level, four steps and max_length's line are in each model
        n_chosen += Model(table, axes, at_equal_length=False).free < n - 6
    assert n_chosen <= 8, "2 of 100, and not 1 of 100 for each column that there is to choose from"


def test_a_hyperparameter_that_only_lengthens_the_text_has_no_effect_at_equal_length() -> None:
    frames = [executions(Truth(length={"temperature": 0.9}), seed) for seed in SEEDS]
    total = [by_name(frame, ENERGY)["temperature"] for frame in frames]
    assert all(effect.lower is not None and effect.lower > 1.1 for effect in total)
    assert sum(holds(by_name(frame)["temperature"], 0.0) for frame in frames) >= 12
    assert sum(holds(by_name(frame, LENGTH)["temperature"], 0.9) for frame in frames) >= 12


def test_without_effects_few_are_found() -> None:
    found = [list(by_name(executions(Truth(), seed)).values()) for seed in SEEDS]
    assert sum(any(effect.clear for effect in one) for one in found) <= 2, "of 15 at 95 %"


def test_one_small_p_of_four_is_not_clear_yet() -> None:
    def clear(*p: float) -> list[bool]:
        some = [Effect("top_p", ENERGY, 1.1, 1.01, 1.2, p=one) for one in p]
        unknown = Effect("top_p", ENERGY, None)
        return [effect.clear for effect in _with_clear([unknown, *some])]

    assert clear(0.03, 0.2, 0.3, 0.4) == [False] * 5
    assert clear(0.01, 0.2, 0.3, 0.4) == [False, True, False, False, False]
    # once the others are clear, it stands alone (Holm)
    assert clear(0.03, 0.001, 0.001, 0.001) == [False, True, True, True, True]


def test_machines_that_took_some_configurations_each_don_t_disturb_the_effects() -> None:
    frame = executions(Truth(per_token={"top_p": 0.25}), 1, points=60)
    on_pc = frame["top_p"] + 0.3 * np.sin(frame["config_index"]) > 0.5
    frame.loc[on_pc, "machine"] = "pc"
    frame.loc[on_pc, "gpu_energy_counter_j"] *= 5
    one = by_name(frame)["top_p"]
    assert holds(one, 0.25)
    assert one.upper is not None
    assert one.lower is not None
    assert one.upper / one.lower < 1.15


def test_costly_prompts_that_fail_at_large_max_length_are_no_effect() -> None:
    frame = executions(Truth(per_token={"max_length": 0.35}), 2, points=40)
    frame.loc[frame["prompt_number"] == 5, "gpu_energy_counter_j"] *= 4
    fails = (frame["prompt_number"] == 5) & (frame["max_length"] > 500)
    frame.loc[fails, "status"] = "failed"
    assert holds(by_name(frame)["max_length"], 0.35)


def test_the_max_length_that_ran_counts() -> None:
    frame = executions(Truth(), 2)
    frame["effective_max_length"] = np.minimum(frame["max_length"], 300)
    halves = by_name(frame)["max_length"].halves
    assert halves is not None
    assert halves[1][1] == 300


def test_greedy_executions_say_nothing_of_what_is_dormant_in_them() -> None:
    frame = executions(Truth(per_token={"temperature": 0.2}), 3, points=60)
    greedy = frame["top_p"] < 0.3
    frame["effective_do_sample"] = ~greedy
    frame.loc[greedy, "gpu_energy_counter_j"] *= np.exp(-0.2 * frame["temperature"] / 2) * 0.7
    assert holds(by_name(frame)["temperature"], 0.2)


def test_off_stands_above_the_largest_top_k() -> None:
    frame = executions(Truth(per_token={"top_k": 0.3}), 4, points=60)
    frame.loc[frame["top_k"] >= 98, "top_k"] = 0
    one = by_name(frame)["top_k"]
    assert holds(one, 0.3)
    assert one.halves is not None
    assert value_range("top_k", one.halves[1]).endswith("off")


def test_the_reference_configuration_is_in_no_half() -> None:
    frame = executions(Truth(), 5)
    anchors = frame[frame["config_index"] == 0].assign(strategy="anchor", max_length=5000)
    with_anchors = by_name(pd.concat([frame, anchors], ignore_index=True))
    assert with_anchors == by_name(frame)


@pytest.mark.parametrize("points", [2, LEAST_POINTS - 1])
def test_too_few_configurations_have_no_effects(points: int) -> None:
    for effect in by_name(executions(Truth(), 0, points=points)).values():
        assert (effect.value, effect.lower, effect.upper) == (None, None, None)
        assert "too few" in effect.note


def test_a_hyperparameter_with_one_value_has_none() -> None:
    found = by_name(executions(Truth(), 0, top_k=50))
    assert found["top_k"].note == "it has one value only"
    assert found["top_p"].value is not None


def test_two_that_move_together_can_not_be_separated() -> None:
    frame = executions(Truth(), 0)
    frame["temperature"] = frame["top_p"]
    found = by_name(frame)
    assert "can't be separated" in found["temperature"].note
    assert found["max_length"].value is not None


def test_a_grid_of_two_values_has_effects_too() -> None:
    frame = executions(Truth(per_token={"top_p": 0.3}), 6, points=40)
    for name in PARAMETERS:
        middle = frame[name].median()
        frame[name] = np.where(frame[name] > middle, frame[name].max(), frame[name].min())
    found = by_name(frame)
    assert found["top_p"].halves == ((0.01, 0.01), (0.99, 0.99)) or found["top_p"].halves
    assert holds(found["top_p"], 0.3)


def test_what_does_not_differ_has_no_effect_that_could_be_told() -> None:
    frame = executions(Truth(), 0, gpu_energy_counter_j=100.0)
    assert {one.note for one in by_name(frame, ENERGY).values()} == {
        "configurations don't differ in it"
    }


def test_without_executions_there_are_none() -> None:
    assert _values(by_name(executions(Truth(), 0, status="failed")).values()) == {None}


def _values(found: Iterable[Effect]) -> set[float | None]:
    return {effect.value for effect in found}


@pytest.mark.parametrize(
    ("interval", "within", "leaves_out_nothing"),
    [
        ((0.95, 1.05), True, False),
        ((0.95, 1.11), False, False),
        ((1.01, 1.05), True, True),
        ((0.90, 1.05), False, False),
        ((1.2, 1.4), False, True),
    ],
)
def test_small_is_not_the_same_as_perhaps_nothing(
    interval: tuple[float, float], within: bool, leaves_out_nothing: bool
) -> None:
    effect = Effect("top_p", ENERGY, 1.0, *interval)
    assert (effect.within(0.1), effect.leaves_out_nothing) == (within, leaves_out_nothing)
