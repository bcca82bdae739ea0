"""Parallel coordinates: one line a configuration, "off" at the top, nothing outside the axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.configurations import by_configuration
from orchestrator.report.execution_frame import data_of
from orchestrator.report.parallel import MOST_LINES, parallel, scaled
from tests.report.synthetic import Truth, executions
from tests.report.test_page import judged

VALUES = st.lists(st.just(0.0) | st.floats(1e-3, 1e5), min_size=1, max_size=8)


@given(VALUES, st.sampled_from(["max_length", "top_p", "top_k", "temperature", "quality"]))
def test_heights_keep_the_order_and_stay_on_the_axis(values: list[float], name: str) -> None:
    heights, ticks = scaled(np.array(values), name)
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
    heights, ticks = scaled(np.array([1.0, 10.0, 100.0]), "energy_per_token_j")
    assert heights == pytest.approx([0, 0.5, 1])
    assert (0.5, "10") in [(pytest.approx(place), label) for place, label in ticks]
    heights, _ = scaled(np.array([np.nan, 0.2, 0.4]), "quality")
    assert np.isnan(heights[0])


def test_a_line_a_configuration_from_its_values_to_its_joules() -> None:
    data = data_of(judged(executions(Truth(per_token={"temperature": 0.5}), 0, points=12)))
    drawing = parallel(data)
    assert drawing is not None
    lines = drawing.data["lines"]
    assert len(lines) == 12
    assert sum(name.startswith("at_") for name in lines) == 6, "hyperparameters, J/token, quality"
    expected = by_configuration(data).sort_values("energy_per_token_j")
    assert list(lines["energy_per_token_j"]) == list(expected["energy_per_token_j"])
    assert lines["at_energy_per_token_j"].is_monotonic_increasing
    assert lines["strength"].is_monotonic_increasing, "more joules are stronger, in grey too"
    assert lines["temperature"].idxmax() == lines["at_temperature"].idxmax()


def test_many_lines_are_thinned_and_the_chart_says_so() -> None:
    drawing = parallel(data_of(executions(Truth(), 0, points=400, prompts=1, use_cases=1)))
    assert drawing is not None
    lines = drawing.data["lines"]
    assert len(lines) == MOST_LINES
    assert {lines["at_energy_per_token_j"].min(), lines["at_energy_per_token_j"].max()} == {0, 1}, (
        "the cheapest and the costliest are among them"
    )
    assert drawing.note.startswith("300 of 400 configurations")
    assert "at_quality" not in lines, "no quality where nothing was judged"


def test_without_measured_answers_there_is_none() -> None:
    assert parallel(data_of(executions(Truth(), 0, status="failed"))) is None
