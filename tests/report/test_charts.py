"""The charts: valid Vega-Lite, axes with units, groups that can be told apart, honest messages."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import altair as alt
import pandas as pd
import pytest

from orchestrator.report.channels import ratio_ticks
from orchestrator.report.charts import CHARTS
from orchestrator.report.effects import ENERGY, Effect
from orchestrator.report.execution_frame import Data, data_of
from orchestrator.report.interval_charts import _effects_message
from orchestrator.report.looks import MOST_TOGETHER
from orchestrator.report.scatter_charts import MOST_POINTS, pairs_chart, thinned
from tests.report.synthetic import Truth, executions
from tests.report.test_page import judged


@functools.cache
def of_groups(n: int, points: int = 20) -> Data:
    """A data set of n models of one machine; nobody changes it."""
    frames = [
        executions(Truth(b_j=1 + i), i, points=points, prompts=1, use_cases=2, model=f"model{i}")
        for i in range(n)
    ]
    return data_of(judged(pd.concat(frames, ignore_index=True)))


def found(spec: Any, key: str) -> Iterator[Any]:
    """All values of a key, at any depth of a specification."""
    if isinstance(spec, dict):
        if key in spec:
            yield spec[key]
        for name, inner in spec.items():
            if name != "datasets":
                yield from found(inner, key)
    if isinstance(spec, list):
        for inner in spec:
            yield from found(inner, key)


@pytest.mark.parametrize("n_groups", [1, 2, 15])
@pytest.mark.parametrize("name", CHARTS)
def test_a_specification_is_valid_and_each_axis_tells_its_unit_and_scale(
    name: str, n_groups: int
) -> None:
    drawing = CHARTS[name].draw(of_groups(n_groups))
    assert drawing is not None
    drawing.chart.to_dict(validate=True)
    spec = drawing.spec()
    assert drawing.description
    json.dumps(spec, allow_nan=False)
    of_numbers = [
        encoding[channel]
        for encoding in found(spec, "encoding")
        for channel in ("x", "y")
        if encoding.get(channel, {}).get("type") == "quantitative"
    ]
    for axis in of_numbers:
        if axis.get("axis", {}) is None:
            continue
        title = axis["title"]
        assert "(1)" not in title
        assert "tokens (tokens)" not in title
        assert re.search(r"\(.+\)", title) or title in ("top_p", "temperature"), title
        assert ("log scale" in title) == (axis.get("scale", {}).get("type") == "log"), title


@pytest.mark.parametrize("n_groups", [1, MOST_TOGETHER, MOST_TOGETHER + 1])
def test_groups_in_one_panel_differ_in_colour_and_shape_and_many_have_panels(n_groups: int) -> None:
    for name in ("energy-length", "energy-quality"):
        frame = of_groups(n_groups, points=3).all.assign(usable=None)
        drawing = CHARTS[name].draw(data_of(frame))
        assert drawing is not None
        spec = drawing.spec()
        if n_groups > MOST_TOGETHER:
            assert drawing.panels == n_groups
            assert "facet" in spec
            continue
        assert drawing.panels == 1
        for channel in ("color", "shape"):
            (scale,) = {
                json.dumps(e[channel]["scale"]) for e in found(spec, "encoding") if channel in e
            }
            assert len(set(json.loads(scale)["range"])) == n_groups


def test_parallel_coordinates_and_usable_texts_have_a_panel_for_each_group() -> None:
    for name in ("parallel", "usable"):
        drawing = CHARTS[name].draw(of_groups(3))
        assert drawing is not None
        assert drawing.panels == 3


def test_many_answers_are_thinned_and_the_chart_says_so() -> None:
    data = data_of(executions(Truth(), 0, points=334, prompts=10))
    assert len(thinned(data.all)) <= MOST_POINTS
    drawing = CHARTS["energy-length"].draw(data)
    assert drawing is not None
    assert len(drawing.data["points"]) <= MOST_POINTS
    assert (
        f"{len(drawing.data['points']):,} of {len(data.kept):,} answers are shown" in drawing.note
    )


def test_a_small_group_is_not_lost_beside_a_large_one() -> None:
    large = executions(Truth(), 0, points=334, prompts=10)
    small = executions(Truth(), 1, points=2, prompts=2, use_cases=1, model="small")
    drawing = CHARTS["energy-length"].draw(data_of(pd.concat([large, small], ignore_index=True)))
    assert drawing is not None
    assert (drawing.data["points"]["group"] == "small / nf4").sum() == 4


# --- what they say --------------------------------------------------------------------------


def test_energy_is_said_to_grow_only_where_it_does() -> None:
    frame = executions(Truth(), 0)
    drawing = CHARTS["energy-length"].draw(data_of(frame))
    assert drawing is not None
    assert drawing.message.startswith("An answer's energy grows with its length: ")
    flat = frame.assign(gpu_energy_counter_j=[100.0 + i % 7 for i in range(len(frame))])
    drawing = CHARTS["energy-length"].draw(data_of(flat))
    assert drawing is not None
    assert "grows" not in drawing.message
    assert drawing.message.endswith("J per new token at the median.")


def test_effects_that_chance_may_explain_are_called_no_effects() -> None:
    long = Effect("max_length", ENERGY, 5.9, 4.3, 8.0, clear=True)
    hot = Effect("temperature", ENERGY, 0.8, 0.7, 0.9, clear=True)
    unclear = Effect("top_p", ENERGY, 1.05, 0.98, 1.12)
    assert _effects_message([hot, unclear, long]) == (
        "Energy from the lower to the upper half of the values: max_length × 5.9 (4.3 to 8), "
        "temperature × 0.8 (0.7 to 0.9); no other effect can be distinguished from chance."
    )
    assert _effects_message([unclear]) == (
        "No hyperparameter's effect on energy can be distinguished from chance."
    )


@pytest.mark.parametrize(
    ("low", "high", "some"),
    [(0.93, 1.08, 1.04), (0.6, 1.7, 1.5), (0.5, 8, 5), (0.01, 90, 10), (1e-12, 1e15, 1)],
)
def test_an_axis_of_ratios_has_a_few_round_ticks_and_no_change_among_them(
    low: float, high: float, some: float
) -> None:
    ticks = ratio_ticks(low, high)
    assert 2 < len(ticks) <= 40
    assert all(low <= tick <= high for tick in ticks)
    assert any(abs(tick - 1) < 1e-9 for tick in ticks)
    assert any(abs(tick - some) < 1e-9 for tick in ticks)


def test_usable_shares_have_wilson_intervals() -> None:
    frame = executions(Truth(), 0, points=12, prompts=1, use_cases=1, temperature=1.2)
    usable = [True] * 9 + [False] * 3
    drawing = CHARTS["usable"].draw(data_of(frame.assign(usable=usable)))
    assert drawing is not None
    (row,) = drawing.data["shares"].to_dict("records")
    assert (row["band"], row["n"], row["share"]) == ("1 to 1.5", 12, 75.0)
    # Wilson (1927) with z = 1.96, by hand
    assert row["lower"] == pytest.approx(46.77, abs=0.01)
    assert row["upper"] == pytest.approx(91.11, abs=0.01)


def test_bands_that_overlap_are_not_ranked() -> None:
    frame = executions(Truth(), 0, points=12, prompts=1, use_cases=1)
    drawing = CHARTS["usable"].draw(data_of(frame.assign(usable=[True, False] * 6)))
    assert drawing is not None
    assert drawing.message == "No band of temperature has clearly more usable texts than another."


def test_pairs_of_two_data_sets() -> None:
    some = pd.DataFrame(
        {
            "configuration": ["a", "a", "b"],
            "energy_per_token_j_a": [1.0, 3.0, 2.0],
            "energy_per_token_j_b": [2.0, 6.0, 4.0],
        }
    )
    drawing = pairs_chart({"x | y": some})
    assert drawing is not None
    assert len(drawing.data["points"]) == 2
    assert drawing.data["equal"].to_numpy().tolist() == [[2.0, 2.0], [4.0, 4.0]]
    assert pairs_chart({"x | y": some.iloc[:0]}) is None
    assert isinstance(drawing.chart, alt.TopLevelMixin)
