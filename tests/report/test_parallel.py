"""Parallel coordinates: one line a configuration, "off" at the top, nothing outside the axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.charts import MOST_LINES, _scale, by_configuration, parallel
from orchestrator.report.execution_frame import data_of
from tests.report.synthetic import Truth, executions
from tests.report.test_page import judged

VALUES = st.lists(st.just(0.0) | st.floats(1e-3, 1e5), min_size=1, max_size=8)


@given(VALUES, st.sampled_from(["max_length", "top_p", "top_k", "temperature", "quality"]))
def test_heights_keep_the_order_and_stay_on_the_axis(values: list[float], name: str) -> None:
    heights, ticks = _scale(np.array(values), name)
    ranked = [float("inf") if name == "top_k" and value == 0 else value for value in values]
    for one, at in zip(ranked, heights, strict=True):
        assert -1e-9 <= at <= 1 + 1e-9
        assert all(
            at <= other_at + 1e-9
            for other, other_at in zip(ranked, heights, strict=True)
            if one <= other
        )
    assert ticks
    assert all(-1e-9 <= place <= 1 + 1e-9 for place, _ in ticks)
    assert ("off" in {label for _, label in ticks}) == (name == "top_k" and 0 in values)


def test_joules_go_by_their_logarithm_and_what_is_unknown_has_no_place() -> None:
    heights, ticks = _scale(np.array([1.0, 10.0, 100.0]), "energy_per_token_j")
    assert heights == pytest.approx([0, 0.5, 1])
    assert (0.5, "10") in [(pytest.approx(place), label) for place, label in ticks]
    heights, _ = _scale(np.array([np.nan, 0.2, 0.4]), "quality")
    assert np.isnan(heights[0])


def test_a_line_a_configuration_from_its_values_to_its_joules() -> None:
    data = data_of(judged(executions(Truth(per_token={"temperature": 0.5}), 0, points=12)))
    figure = parallel(data)
    assert figure is not None
    (lines,) = figure.axes[0].collections
    segments = lines.get_segments()
    assert len(segments) == 12
    assert all(len(segment) == 6 for segment in segments), "four hyperparameters, J/token, quality"
    expected = by_configuration(data).sort_values("energy_per_token_j")
    heights = [segment[4][1] for segment in segments]
    assert heights == sorted(heights)
    hottest = int(np.argmax([segment[3][1] for segment in segments]))
    assert expected["temperature"].iloc[hottest] == expected["temperature"].max()
    light = lines.get_colors()[:, :3].sum(axis=1)
    assert (np.diff(light) <= 0).all(), "more joules are darker, in grey too"


def test_many_lines_are_thinned_and_the_chart_says_so() -> None:
    figure = parallel(data_of(executions(Truth(), 0, points=400, prompts=1, use_cases=1)))
    assert figure is not None
    segments = figure.axes[0].collections[0].get_segments()
    assert len(segments) == MOST_LINES
    assert {segments[0][4][1], segments[-1][4][1]} == {0.0, 1.0}, (
        "the cheapest and the costliest are among them"
    )
    assert figure.axes[0].get_xlabel().startswith("300 of 400 configurations")
    assert len(figure.axes[0].get_xticks()) == 5, "no quality where nothing was judged"


def test_without_measured_answers_there_is_none() -> None:
    assert parallel(data_of(executions(Truth(), 0, status="failed"))) is None
