"""Kappa: textbook values, another implementation's, and where it isn't defined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.review.agreement import cohen_kappa


def pairs(table: list[list[int]]) -> list[tuple[int, int]]:
    return [
        (i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)
    ]


def test_by_hand() -> None:
    """35 of 50 agree; chance (25 * 30 + 25 * 20) / 50^2 = 0.5; kappa (0.7 - 0.5) / 0.5.

    Variance: (0.4 * 0.34^2 + 0.3 * 0.46^2 + 0.6^2 * (0.1 * 1.1^2 + 0.2 * 0.9^2) - 0.1^2)
    / (50 * 0.5^2) = 0.016128.
    """
    agreement = cohen_kappa(pairs([[20, 5], [10, 15]]))
    assert agreement.n == 50
    assert agreement.observed == pytest.approx(0.7)
    assert agreement.kappa == pytest.approx(0.4)
    assert agreement.low == pytest.approx(0.4 - 1.959964 * 0.016128**0.5)
    assert agreement.high == pytest.approx(0.4 + 1.959964 * 0.016128**0.5)


def test_scikit_learns_documented_example() -> None:
    """sklearn.metrics.cohen_kappa_score: y1, y2 of its docstring give 0.6875."""
    y1 = ["negative", "positive", "negative", "neutral", "positive"]
    y2 = ["negative", "positive", "negative", "neutral", "negative"]
    assert cohen_kappa(zip(y1, y2, strict=True)).kappa == pytest.approx(0.6875)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=3, max_size=60))
def test_as_statsmodels(rated: list[tuple[int, int]]) -> None:
    from statsmodels.stats.inter_rater import cohens_kappa, to_table

    agreement = cohen_kappa(rated)
    if agreement.kappa is None:
        return
    with np.errstate(
        invalid="ignore"
    ):  # where it has no variance, rounding makes its root that of a negative number
        other = cohens_kappa(to_table(rated, bins=[-0.5, 0.5, 1.5, 2.5])[0])
    assert agreement.kappa == pytest.approx(other.kappa, abs=1e-9)
    if agreement.low is not None:
        assert agreement.low == pytest.approx(max(-1, other.kappa_low), abs=1e-6)
        assert agreement.high == pytest.approx(min(1, other.kappa_upp), abs=1e-6)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_symmetric_and_bounded(rated: list[tuple[bool, bool]]) -> None:
    found, turned = cohen_kappa(rated), cohen_kappa([(b, a) for a, b in rated])
    assert (found.kappa is None) == (turned.kappa is None)
    if found.kappa is None:
        assert found.reason
        return
    assert found.kappa == pytest.approx(turned.kappa)
    assert -1 - 1e-9 <= found.kappa <= 1 + 1e-9
    if found.low is None or found.high is None:
        assert found.reason
    else:
        assert found.low <= found.kappa <= found.high


@pytest.mark.parametrize(
    ("rated", "kappa", "reason"),
    [
        ([], None, "no text"),
        ([(1, 1)] * 5, None, "the same label"),
        ([(1, 1), (0, 0)] * 5, 1.0, "no interval"),
        ([(1, 0), (0, 1)] * 5, -1.0, "no interval"),
    ],
)
def test_undefined(rated: list[tuple[int, int]], kappa: float | None, reason: str) -> None:
    agreement = cohen_kappa(rated)
    assert agreement.kappa == kappa
    assert agreement.low is agreement.high is None
    assert reason in agreement.reason
