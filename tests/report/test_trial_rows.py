"""Rows of trials and configurations: sums by hand, reasons, order."""

from __future__ import annotations

import pandas as pd
import pytest

from orchestrator.report.execution_frame import data_of
from orchestrator.report.trial_rows import configuration_rows, trial_rows
from tests.report.synthetic import Truth, executions


def frame() -> pd.DataFrame:
    """Two configurations of two prompts; 100 J and 50 tokens each; the last text is discarded."""
    some = executions(Truth(), 0, points=2, prompts=2, use_cases=1).assign(
        gpu_energy_counter_j=100.0, n_new_tokens=50, quality=[0.9, 0.7, 0.8, 0.1]
    )
    return some.assign(usable=[True, True, True, False], reasons=["", "", "", "gibberish"])


def test_the_figures_of_a_trial_by_hand() -> None:
    first, second = trial_rows(data_of(frame()))
    assert (first.name, second.name) == ("0000-r1", "0001-r1")
    assert (first.energy_per_token_j, second.energy_per_token_j) == (2.0, 2.0)
    assert (first.energy_per_usable_j, second.energy_per_usable_j) == (100.0, 200.0)
    assert (second.n_usable, second.n_judged, second.n_kept, second.n_executions) == (1, 2, 1, 2)
    assert second.quality == pytest.approx(0.45)
    assert second.why == ("1 of 2 texts was discarded",)
    assert first.folder == "gpu/smollm2/latinHypercubeSampling/fantasyWorld/0000-r1"


def test_the_price_has_the_interval_of_the_share_of_usable_texts() -> None:
    _, second = trial_rows(data_of(frame()))
    assert second.per_usable_interval_j is not None
    # 1 of 2 usable: Wilson's 95 % interval is 9.45 to 90.55 %, of 100 J each
    assert second.per_usable_interval_j == pytest.approx((110.4, 1058), rel=1e-3)
    half_judged = frame().assign(usable=[True, None, True, None])
    assert [row.per_usable_interval_j for row in trial_rows(data_of(half_judged))] == [None] * 2


def test_the_best_configurations_are_beaten_in_neither() -> None:
    some = executions(Truth(), 0, points=4, prompts=1, use_cases=1).assign(
        gpu_energy_counter_j=[100.0, 120.0, 150.0, 90.0],
        n_new_tokens=50,
        quality=[0.8, 0.7, 0.9, None],
        usable=True,
    )
    rows = {row.name: row.on_front for row in configuration_rows(data_of(some))}
    assert rows == {"0000": True, "0001": False, "0002": True, "0003": False}
    assert not any(row.on_front for row in trial_rows(data_of(some)))


def test_nothing_usable_and_nothing_judged_have_no_price() -> None:
    rows = trial_rows(data_of(frame().assign(usable=False)))
    assert [row.energy_per_usable_j for row in rows] == [None, None]
    assert [row.word for row in rows] == ["nothing kept"] * 2
    rows = trial_rows(data_of(frame().assign(usable=None)))
    assert [(row.energy_per_usable_j, row.n_judged) for row in rows] == [(None, 0)] * 2


def test_an_answer_without_an_energy_leaves_the_price_unknown() -> None:
    some = frame()
    some.loc[0, "energy_basis"] = None
    first, _ = sorted(trial_rows(data_of(some)), key=lambda row: row.name)
    assert first.energy_per_usable_j is None


def test_repeats_are_one_configuration_and_the_cheapest_comes_first() -> None:
    again = frame().assign(repetition=2, gpu_energy_counter_j=300.0)
    data = data_of(pd.concat([frame(), again], ignore_index=True))
    assert len(trial_rows(data)) == 4
    first, second = configuration_rows(data)
    assert (first.energy_per_usable_j, second.energy_per_usable_j) == (200.0, 400.0)
    assert (first.n_executions, first.energy_per_token_j) == (4, 4.0)
