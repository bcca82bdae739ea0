"""Configurations: what each took, and which are the best."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.configurations import front, pareto_points
from orchestrator.report.execution_frame import data_of
from tests.report.synthetic import Truth, executions
from tests.report.test_page import judged


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_front_is_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    points = pd.DataFrame(pairs, columns=["energy_per_token_j", "quality"], dtype=float)
    best = front(points)
    for i, (cost, quality) in enumerate(pairs):
        beaten = any(c <= cost and q >= quality and (c, q) != (cost, quality) for c, q in pairs)
        assert not (best[i] and beaten)
    if pairs:
        undominated = {
            p for p in pairs if not any(c <= p[0] and q >= p[1] and (c, q) != p for c, q in pairs)
        }
        assert {pair for pair, on in zip(pairs, best, strict=True) if on} == undominated


def test_each_group_has_its_own_best() -> None:
    frames = [executions(Truth(b_j=b_j), 0, points=12, machine=f"m{b_j}") for b_j in (1.0, 50.0)]
    points = pareto_points(data_of(judged(pd.concat(frames, ignore_index=True), 0.0)))
    best = points.groupby("group")["on_front"].agg(["sum", "size"])
    assert len(best) == 2
    assert ((best["sum"] > 0) & (best["sum"] < best["size"])).all()
