"""Means of configurations: what circumstances did is taken out, whoever measured what."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestrator.report.configuration_means import configuration_means
from orchestrator.report.execution_frame import data_of
from tests.report.synthetic import Truth, executions


def means(frame: pd.DataFrame) -> pd.DataFrame:
    """The means of the logarithms of energy, in the order of the design."""
    answers = data_of(frame).answers
    values = pd.Series(np.log(answers["counted_energy_j"]), index=answers.index)
    table = configuration_means(answers, {"value": values})
    order = answers.groupby("point")["config_index"].first().sort_values().index
    return table.loc[order]


def exact(points: int = 8) -> pd.DataFrame:
    """Executions without noise, whose energy depends on the configuration alone."""
    frame = executions(Truth(noise=0.0, noise_of_point=0.0), 1, points=points)
    return frame.assign(gpu_energy_counter_j=np.exp(0.1 * frame["config_index"]))


def test_levels_of_prompts_and_machines_are_taken_out_of_unequal_numbers() -> None:
    frame = exact()
    costs = frame["prompt_number"] == 3
    frame.loc[costs, "gpu_energy_counter_j"] *= 7
    frame = frame[~(costs & (frame["config_index"] < 3))]
    other = frame.assign(machine="pc", gpu_energy_counter_j=frame["gpu_energy_counter_j"] * 3)
    both = pd.concat([frame, other[other["config_index"] > 2]], ignore_index=True)
    table = means(both)
    assert set(table["part"]) == {0}
    assert np.diff(table["value"]) == pytest.approx(0.1)


def test_sessions_that_share_nothing_are_parts_with_levels_of_their_own() -> None:
    frame = exact(points=12)
    second = frame["config_index"] % 2 == 1
    frame["session_id"] = np.where(second, "s2", "s1")
    frame.loc[second, "gpu_energy_counter_j"] *= 1.3
    table = means(frame)
    assert table["part"].nunique() == 2
    for _, one in table.groupby("part"):
        assert np.diff(one["value"]) == pytest.approx(0.2)


def test_many_sessions_count_as_chance() -> None:
    frame = exact(points=12)
    frame["session_id"] = [f"s{index}" for index in frame["config_index"]]
    assert set(means(frame)["part"]) == {0}


def test_greedy_and_off_and_what_ran() -> None:
    frame = exact()
    frame.loc[frame["config_index"] == 0, ["effective_do_sample", "top_k"]] = [False, 0]
    frame["effective_max_length"] = 50
    table = means(frame)
    assert table["sampled"].to_list().count(False) == 1
    assert table["top_k"].max() > 100
    assert set(table["max_length"]) == {50}


def test_a_limit_of_new_tokens_is_told_without_the_prompt() -> None:
    frame = exact()
    frame["effective_max_length"] = frame["max_length"] + frame["n_prompt_tokens"]
    assert sorted(means(frame)["max_length"]) == sorted(set(frame["max_length"]))
    lowered = frame["config_index"] == 0
    frame.loc[lowered, "effective_max_length"] = frame["n_prompt_tokens"] + 7
    assert 7 in set(means(frame)["max_length"])
