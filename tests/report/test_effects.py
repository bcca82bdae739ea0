"""Effects on made-up executions: intervals contain the true effect, also at equal length.

Where there is no effect, none is found.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from orchestrator.nouns import PARAMETERS
from orchestrator.report.effects import LEAST_POINTS, Effect, effects
from orchestrator.report.execution_frame import data_of
from tests.report.synthetic import Truth, executions

SEEDS = range(40)


def found(truth: Truth, seed: int, *, adjusted: bool, **options: object) -> dict[str, Effect]:
    kept = data_of(executions(truth, seed, **options)).kept  # type: ignore[arg-type]
    return {effect.parameter: effect for effect in effects(kept, adjusted=adjusted)}


def holds(effect: Effect, log_change: float) -> bool:
    assert effect.lower is not None
    assert effect.upper is not None
    return effect.lower <= 100 * math.expm1(log_change) <= effect.upper


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    truth = Truth(per_token={"max_length": 0.3, "top_p": -0.1, "top_k": 0.05, "temperature": 0.2})
    hits = dict.fromkeys(PARAMETERS, 0)
    for seed in SEEDS:
        for name, effect in found(truth, seed, adjusted=True).items():
            hits[name] += holds(effect, truth.per_token[name])
    assert all(n >= 35 for n in hits.values()), (hits, "of 40 at 95 %")


def test_a_hyperparameter_that_only_lengthens_the_text_is_cleared_by_adjusting() -> None:
    truth = Truth(length={"temperature": 0.9})
    naive = [found(truth, seed, adjusted=False)["temperature"] for seed in SEEDS]
    adjusted = [found(truth, seed, adjusted=True)["temperature"] for seed in SEEDS]
    assert all(effect.lower is not None and effect.lower > 20 for effect in naive), (
        "the naive effect is wrong every time"
    )
    assert sum(holds(effect, 0.0) for effect in adjusted) >= 35


def test_without_effects_few_are_found() -> None:
    clear = sum(
        effect.clear for seed in SEEDS for effect in found(Truth(), seed, adjusted=True).values()
    )
    assert clear <= 20, "of 160 at 95 %"


def test_machines_differ_without_disturbing_the_effects() -> None:
    truth = Truth(per_token={"top_p": 0.25})
    one = executions(truth, 1)
    other = executions(Truth(a_j=500, b_j=20, per_token=truth.per_token), 2, machine="pc")
    kept = data_of(pd.concat([one, other], ignore_index=True)).kept
    by_name = {effect.parameter: effect for effect in effects(kept, adjusted=True)}
    assert holds(by_name["top_p"], 0.25)
    assert by_name["top_p"].upper - by_name["top_p"].lower < 12


def test_greedy_executions_say_nothing_of_what_is_dormant_in_them() -> None:
    truth = Truth(per_token={"temperature": 0.2})
    frame = executions(truth, 3, points=60)
    greedy = frame["top_p"] < 0.3
    frame["effective_do_sample"] = ~greedy
    frame.loc[greedy, "gpu_energy_counter_j"] *= np.exp(-0.2 * frame["temperature"] / 2) * 0.7
    by_parameter = {
        effect.parameter: effect for effect in effects(data_of(frame).kept, adjusted=True)
    }
    assert holds(by_parameter["temperature"], 0.2)


def test_off_stands_above_the_largest_top_k() -> None:
    frame = executions(Truth(per_token={"top_k": 0.3}), 4, points=60)
    frame.loc[frame["top_k"] >= 98, "top_k"] = 0
    assert holds(
        {e.parameter: e for e in effects(data_of(frame).kept, adjusted=True)}["top_k"], 0.3
    )


@pytest.mark.parametrize("points", [2, LEAST_POINTS - 1])
def test_too_few_configurations_have_no_effects(points: int) -> None:
    for effect in found(Truth(), 0, adjusted=True, points=points).values():
        assert (effect.percent, effect.lower, effect.upper) == (None, None, None)
        assert "too few" in effect.note


def test_a_hyperparameter_with_one_value_has_none() -> None:
    by_name = found(Truth(), 0, adjusted=True, top_k=50)
    assert by_name["top_k"].note == "it has one value only"
    assert by_name["top_p"].percent is not None


def test_without_executions_there_are_none() -> None:
    assert {
        e.percent
        for e in effects(data_of(executions(Truth(), 0, status="failed")).kept, adjusted=False)
    } == {None}
