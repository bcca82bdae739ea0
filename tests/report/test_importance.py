"""Importance on made-up executions: true shares are found again.

What does nothing can't be distinguished from chance.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestrator.nouns import PARAMETERS
from orchestrator.report.charts import CHARTS
from orchestrator.report.execution_frame import data_of
from orchestrator.report.importance import LEAST_POINTS, Importance, importances
from orchestrator.report.page_content import importance_table
from tests.report.synthetic import Truth, executions

SEEDS = range(20)
HALF = Truth(per_token={"temperature": 0.4, "top_p": 0.4 / 2**0.5}, noise_of_point=0.05)
"""top_p carries half of temperature's variance; the two others none."""


def found(frame: pd.DataFrame, outcome: str = "energy_per_token_j") -> dict[str, Importance]:
    return {one.parameter: one for one in importances(data_of(frame).kept, outcome)}


def shares(frame: pd.DataFrame, outcome: str = "energy_per_token_j") -> dict[str, float]:
    known = {
        name: one.share for name, one in found(frame, outcome).items() if one.share is not None
    }
    assert known.keys() == set(PARAMETERS)
    return known


@pytest.mark.parametrize(("points", "least"), [(LEAST_POINTS, 12), (25, 18), (60, 18)])
def test_shares_are_found_again_in_their_order_and_nothing_where_nothing_is(
    points: int, least: int
) -> None:
    variances = {"temperature": 0.4**2 / 12, "top_p": 0.4**2 / 24, "max_length": 0.0, "top_k": 0.0}
    noise = (
        0.05**2 + 0.05**2 / 15 + 0.004**2
    )  # of the configuration, of its 15 executions, of a_j over lengths
    truth = {
        name: variance / (sum(variances.values()) + noise) for name, variance in variances.items()
    }
    held = dict.fromkeys(PARAMETERS, 0)
    clear = dict.fromkeys(PARAMETERS, 0)
    ordered = 0
    for seed in SEEDS:
        by_name = found(executions(HALF, seed, points=points))
        figures = {name: one.share or 0.0 for name, one in by_name.items()}
        ordered += (
            figures["temperature"] > figures["top_p"] > max(figures["max_length"], figures["top_k"])
        )
        for name, one in by_name.items():
            assert one.lower is not None
            assert one.upper is not None
            assert one.lower <= figures[name] <= one.upper
            held[name] += one.lower <= truth[name] <= one.upper
            clear[name] += one.clear
    assert ordered >= min(16, least + 4), "of 20"
    assert all(n >= 17 for n in held.values()), (held, "of 20 at 95 %")
    assert clear["temperature"] >= 19
    assert clear["top_p"] >= least
    assert clear["max_length"] + clear["top_k"] <= 3, "of 40 at 95 %"


def test_without_effects_nothing_is_clear() -> None:
    clear = sum(one.clear for seed in SEEDS for one in found(executions(Truth(), seed)).values())
    assert clear <= 6, "of 80 at 95 %"


def test_energy_is_about_length_where_jtoken_is_not() -> None:
    frame = executions(
        Truth(a_j=0.0, length={"max_length": 1.2}, per_token={"top_p": 0.2}), 1, points=60
    )
    assert shares(frame, "counted_energy_j")["max_length"] > 0.7
    assert shares(frame)["max_length"] < 0.1
    assert shares(frame)["top_p"] > 0.6


def test_a_curve_that_turns_is_seen_though_it_has_no_slope() -> None:
    frame = executions(Truth(), 2, points=60)
    frame["gpu_energy_counter_j"] *= np.exp(0.6 * (frame["top_p"] - 0.5) ** 2 * 4)
    assert shares(frame)["top_p"] > 0.8


def test_costly_prompts_and_machines_on_some_configurations_only_are_no_effect() -> None:
    frame = executions(Truth(), 3, points=60)
    costly = frame["prompt_number"] > 3
    frame.loc[costly, "gpu_energy_counter_j"] *= 5
    other = frame.assign(machine="pc", gpu_energy_counter_j=frame["gpu_energy_counter_j"] * 20)
    both = pd.concat(
        [frame[~costly | (frame["temperature"] > 1)], other[other["temperature"] > 1.5]],
        ignore_index=True,
    )
    one = found(both)["temperature"]
    assert one.share is not None
    assert one.share < 0.1
    assert not one.clear


def test_greedy_configurations_are_left_out() -> None:
    frame = executions(HALF, 4, points=60)
    greedy = frame["temperature"] < 0.3
    expected = found(frame[~greedy])
    frame.loc[greedy, "effective_do_sample"] = False
    frame.loc[greedy, "gpu_energy_counter_j"] *= 10
    assert found(frame) == expected


def test_scales_do_not_matter_but_order_does_and_off_is_the_largest_top_k() -> None:
    frame = executions(Truth(per_token={"top_k": 0.4}), 5, points=40)
    expected = pytest.approx(shares(frame))
    assert shares(frame.assign(max_length=frame["max_length"] ** 2)) == expected
    largest = frame["top_k"] == frame["top_k"].max()
    assert shares(frame.assign(top_k=frame["top_k"].where(~largest, 0))) == expected
    assert shares(frame.assign(top_k=frame["top_k"].where(~largest, 1))) != expected


def test_what_follows_a_curve_without_any_noise_is_all() -> None:
    frame = executions(HALF, 1, points=30)
    frame["gpu_energy_counter_j"] = frame["n_new_tokens"] * np.exp(
        0.01 * frame["top_p"].rank(method="dense")
    )
    one = found(frame)["top_p"]
    assert one.lower is not None
    assert one.lower > 0.999


def test_a_grid_of_few_values_has_importances_too() -> None:
    frame = executions(Truth(), 6, points=60)
    rounded = frame.assign(
        top_p=frame["top_p"].gt(0.5) * 0.5 + 0.4, temperature=frame["temperature"].round()
    )
    rounded["gpu_energy_counter_j"] *= np.exp(0.5 * rounded["top_p"])
    assert shares(rounded)["top_p"] > 0.7


def unknown(frame: pd.DataFrame) -> str:
    by_name = found(frame)
    assert {(one.share, one.lower, one.upper, one.clear) for one in by_name.values()} == {
        (None, None, None, False)
    }
    (note,) = {one.note for one in by_name.values()}
    assert CHARTS["importance"].draw(data_of(frame)) is None
    table = importance_table(data_of(frame))
    assert (table.rows, table.note) == ((), f"Not known: {note}.")
    return note


def test_what_can_not_be_known_has_a_reason() -> None:
    few = executions(HALF, 0, points=LEAST_POINTS - 1)
    assert unknown(few) == "14 sampled configurations are too few: 15 are needed"
    assert unknown(few.iloc[:0]).startswith("0 sampled")
    assert unknown(executions(HALF, 0, effective_do_sample=False)).startswith("0 sampled")
    assert (
        unknown(executions(HALF, 0, gpu_energy_counter_j=10.0, n_new_tokens=50))
        == "configurations don't differ"
    )
    tied = executions(HALF, 0)
    assert "can't be told apart" in unknown(tied.assign(temperature=2 * tied["top_p"]))


def test_a_hyperparameter_with_one_value_has_none_and_says_so() -> None:
    by_name = found(executions(HALF, 0, top_k=50))
    assert (by_name["top_k"].share, by_name["top_k"].note) == (None, "it has one value only")
    assert by_name["temperature"].clear
    rows = importance_table(data_of(executions(HALF, 0, top_k=50))).rows
    assert rows[2] == ("top_k", "it has one value only", "it has one value only")


def test_the_table_says_what_may_be_chance() -> None:
    rows = importance_table(data_of(executions(HALF, 0))).rows
    by_name = {row[0]: row[2] for row in rows}
    assert by_name["top_k"].endswith("may be chance")
    assert "chance" not in by_name["temperature"]
    percents = [int(cell.split(" %")[0]) for cell in by_name.values()]
    assert sum(percents) == pytest.approx(100, abs=2)
