"""What anchors say of sessions: spread, drift, and which trials stand beside one that moved."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.dataset.environment import Baseline, Environment
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.sessions import SessionTrials, sessions_of
from tests import builders

BEGAN = datetime(2026, 1, 2, tzinfo=UTC)


def trial(
    number: int, *anchors: tuple[float, int], session: str | None = "a", gpu: str | None = "GPU-1"
) -> TrialRecord:
    """A trial of a session, with anchors as (joules, trials that had begun)."""
    record = builders.record(
        builders.spec(config_index=number),
        session_id=session,
        session_started_at=BEGAN,
        session_trial=number,
        gpu_uuid=gpu,
    )
    made = [builders.anchor(joules, begun) for joules, begun in anchors]
    return record.model_copy(update={"anchors": made})


def test_a_session_in_figures() -> None:
    [session] = sessions_of([trial(1, (110.0, 2)), trial(0, (100.0, 0))])
    assert (session.session_id, session.n_trials, session.n_anchors) == ("a", 2, 2)
    assert session.energy_per_token_j == pytest.approx(1.05)
    assert session.drift == pytest.approx(0.1)
    assert session.relative_spread == pytest.approx(0.0707 / 1.05, rel=1e-3)


def test_net_anchors_leave_out_the_idle_power() -> None:
    """Of 4 s at 20 W, so 80 of 100 and of 110 J."""
    idle = [
        one.model_copy(update={"baseline_w": 20.0})
        for one in trial(0, (100.0, 0), (110.0, 1)).anchors
    ]
    [session] = sessions_of([trial(0).model_copy(update={"anchors": idle})])
    assert session.net_energy_per_token_j == pytest.approx(0.25)
    assert session.net_relative_spread == pytest.approx(0.0707 / 0.25, rel=1e-3)


def test_one_anchor_tells_no_drift_and_none_tell_nothing() -> None:
    one, none = sessions_of([trial(0, (100.0, 0)), trial(0, session="b")])
    assert (one.drift, one.relative_spread) == (None, None)
    assert none.energy_per_token_j is None


def test_anchors_of_no_energy_tell_neither_drift_nor_spread() -> None:
    """As a counter that stands still gives."""
    [session] = sessions_of([trial(0, (0.0, 0), (0.0, 1))])
    assert (session.drift, session.relative_spread) == (None, None)
    [session] = sessions_of([trial(0, (0.0, 0), (100.0, 1))])
    assert session.drift is None
    assert session.relative_spread == pytest.approx(2**0.5)


def test_trials_without_a_session_or_a_gpu_have_no_figures() -> None:
    assert sessions_of([trial(0, session=None), trial(0, gpu=None)]) == []


def test_the_idle_power_is_the_newest_of_the_loaded_model() -> None:
    baselines = [
        Baseline(id=f"a-{state}-{hour}", state=state, power_w=watts, window_s=5.0,
                 started_at=BEGAN.replace(hour=hour))
        for state, watts, hour in (("context", 70.0, 1), ("loaded", 75.0, 2), ("loaded", 90.0, 3))
    ]  # fmt: skip
    record = trial(0).model_copy(update={"environment": Environment(baselines=tuple(baselines))})
    assert sessions_of([record])[0].baseline_w == 90.0


def positions_of_drifting(*records: TrialRecord) -> set[int]:
    trials = SessionTrials()
    for position, record in enumerate(records):
        trials.add(position, record)
    return trials.drifting()


def test_the_trials_beside_an_anchor_that_moved_are_doubtful() -> None:
    steady = [trial(0, (100.0, 0)), *(trial(i) for i in range(1, 10))]
    moved = [trial(10, (106.0, 10)), *(trial(i) for i in range(11, 20))]
    back = [trial(20, (101.0, 20)), trial(21, (99.0, 22))]
    drifting = positions_of_drifting(*steady, *moved, *back)
    assert drifting == set(range(len(steady) + len(moved)))


def test_of_another_session_nothing_is_said() -> None:
    moved = [trial(0, (100.0, 0)), trial(1, (120.0, 2))]
    other = trial(0, (150.0, 0), session="b")
    assert positions_of_drifting(*moved, other) == {0, 1}


def test_without_anchors_nothing_is_doubtful() -> None:
    assert positions_of_drifting(trial(0), trial(1)) == set()
