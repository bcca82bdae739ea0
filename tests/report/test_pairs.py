"""Ratios of pairs: how sessions that share the configurations, or repeat them, make an interval.

tools/coverage checks at length how often they hold.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.report.pairs import FEW_BESIDE_SESSIONS, RATIOS, noise_counted_twice, ratio

NOISE, SESSION = 0.06, 0.03


def pairs(rng: Any, n_points: int, n_sessions: int, *, repeats: bool) -> pd.DataFrame:
    """Pairs without a difference: each session took a share of the configurations, or all."""
    sides = []
    for side in ("a", "b"):
        session = rng.permutation(np.arange(n_points) % n_sessions)
        point = np.arange(n_points)
        if repeats:
            session = np.repeat(np.arange(n_sessions), n_points)
            point = np.tile(point, n_sessions)
        of_session = rng.normal(0, SESSION, n_sessions)[session]
        value = np.exp(of_session + rng.normal(0, NOISE, len(point)))
        frame = pd.DataFrame({f"{name}_{side}": value for name in RATIOS})
        frame["configuration"], frame[f"session_id_{side}"] = point, session
        sides.append(frame)
    return sides[0].merge(sides[1], on="configuration")


def means(of: pd.DataFrame) -> pd.DataFrame:
    """As noise_counted_twice wants them."""
    return of.assign(a=np.log(of["counted_energy_j_a"]), b=np.log(of["counted_energy_j_b"]))


def test_noise_counts_twice_where_sessions_share_the_configurations() -> None:
    n = 600
    twice = noise_counted_twice(means(pairs(np.random.default_rng(0), n, 3, repeats=False)))
    assert twice == pytest.approx(2 * NOISE**2 / n, rel=0.1)


def test_noise_counts_once_where_each_session_takes_all() -> None:
    assert noise_counted_twice(means(pairs(np.random.default_rng(0), 12, 3, repeats=True))) == 0


def test_a_session_for_each_configuration_gives_no_interval() -> None:
    change = ratio(
        pairs(np.random.default_rng(0), 6, 6, repeats=False), "counted_energy_j", same_devices=True
    )
    assert change.interval is None
    assert change.note == FEW_BESIDE_SESSIONS


@pytest.mark.parametrize(
    ("n_sessions", "repeats", "n_pairs"),
    [
        (3, True, 60),
        (6, False, 60),
        pytest.param(3, True, 1000, marks=pytest.mark.slow),
        pytest.param(3, False, 1000, marks=pytest.mark.slow),
        pytest.param(6, False, 1000, marks=pytest.mark.slow),
    ],
)
def test_intervals_hold_about_as_often_as_they_say(
    n_sessions: int, repeats: bool, n_pairs: int
) -> None:
    held = 0
    for seed in range(n_pairs):
        some = pairs(np.random.default_rng(seed), 12, n_sessions, repeats=repeats)
        change = ratio(some, "counted_energy_j", same_devices=True)
        assert change.interval is not None
        held += change.interval[0] <= 1 <= change.interval[1]
    spread = math.sqrt(0.05 * 0.95 / n_pairs)
    assert 0.93 - 2 * spread <= held / n_pairs <= 0.97 + 2 * spread
