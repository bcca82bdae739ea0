"""Sessions: what their anchors say of how steady a process measured, and how far two differ.

A session is a process from when it loaded its model on. Its anchors are one text, generated at its
beginning, before every tenth trial and at its end, so whatever moves them is not a parameter.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from statistics import mean, stdev

from orchestrator.dataset.environment import Anchor, Baseline
from orchestrator.dataset.schema import TrialColumns, TrialRecord
from orchestrator.unknowns import known, mean_of_known, product, quotient

MOST_DRIFT = 0.05
"""Anchors that move by more make the trials beside them doubtful."""


@dataclass(frozen=True)
class Session:
    """One process with a loaded model, from its trials' records."""

    session_id: str
    machine: str
    gpu_name: str | None
    model: str
    quantization: str
    setup: str
    """How the model was run, as Variant.label says it."""
    started_at: datetime | None
    n_trials: int
    n_anchors: int
    energy_per_token_j: float | None
    """Mean of the anchors; None: none was measured."""
    relative_spread: float | None
    """Standard deviation of the anchors over their mean; None: fewer than two."""
    net_energy_per_token_j: float | None
    net_relative_spread: float | None
    """The same two without the idle power: what the GPU's own work took."""
    drift: float | None
    """Last anchor over the first one, less 1; None: fewer than two."""
    baseline_w: float | None
    """Newest idle power with the model loaded; None: not measured."""


def anchor_energy_per_token_j(anchor: Anchor) -> float | None:
    """What an anchor took for each new token."""
    return quotient(anchor.energy_j, anchor.n_new_tokens)


def sessions_of(records: Iterable[TrialRecord]) -> list[Session]:
    """The sessions on GPUs, in the order in which they began; older versions recorded none."""
    trials = SessionTrials()
    for position, record in enumerate(records):
        trials.add(position, record)
    return trials.sessions()


@dataclass
class _Trials:
    """What is kept of a session's trials."""

    columns: TrialColumns
    setup: str
    """Of the first one, each."""
    numbers: list[tuple[int, int]] = field(default_factory=list)
    """(position of the trial, its number in the session)."""
    anchors: list[Anchor] = field(default_factory=list)
    newest: Baseline | None = None
    """Idle power with the model loaded."""

    def sorted_anchors(self) -> list[Anchor]:
        """The anchors in the order in which they were measured."""
        return sorted(self.anchors, key=lambda anchor: (anchor.session_trial, anchor.started_at))


class SessionTrials:
    """The sessions on GPUs. It is told of each trial once, and keeps of it only what they take."""

    def __init__(self) -> None:
        self._by_session: dict[str, _Trials] = {}

    def add(self, position: int, record: TrialRecord) -> None:
        """Take in a trial. `position`: what `drifting` is to call it."""
        columns = record.columns
        if columns.session_id is None or columns.gpu_uuid is None:
            return
        of_session = self._by_session.get(columns.session_id)
        if of_session is None:
            of_session = _Trials(columns, record.spec.setup.variant().label())
            self._by_session[columns.session_id] = of_session
        of_session.numbers.append((position, columns.session_trial or 0))
        of_session.anchors += record.anchors
        for baseline in record.environment.baselines:
            before = of_session.newest
            is_newer = before is None or baseline.started_at > before.started_at
            if baseline.state == "loaded" and is_newer:
                of_session.newest = baseline

    def sessions(self) -> list[Session]:
        """The sessions in the order in which they began; older versions recorded none."""
        sessions = map(_session, self._by_session.values())
        return sorted(sessions, key=lambda one: (one.started_at is None, one.started_at))

    def drifting(self) -> set[int]:
        """Positions of trials beside an anchor that differs from the first one by MOST_DRIFT.

        Beside a trial are the last anchor before it and the first one behind it.
        """
        positions = set()
        for of_session in self._by_session.values():
            anchors = [one for one in of_session.sorted_anchors() if anchor_energy_per_token_j(one)]
            numbers = [one.session_trial for one in anchors]
            moved = [_has_moved(anchors[0], one) for one in anchors]
            for position, number in of_session.numbers:
                behind = bisect_right(numbers, number)
                if any(moved[max(0, behind - 1) : behind + 1]):
                    positions.add(position)
        return positions


def _session(trials: _Trials) -> Session:
    """A session from its trials."""
    columns, newest = trials.columns, trials.newest
    anchors = trials.sorted_anchors()
    anchors_j = known(map(anchor_energy_per_token_j, anchors))
    net_j = known(map(_net_energy_per_token_j, anchors))
    return Session(
        session_id=columns.session_id or "",
        machine=columns.machine,
        gpu_name=columns.gpu_name,
        model=columns.model,
        quantization=columns.quantization,
        setup=trials.setup,
        started_at=columns.session_started_at,
        n_trials=len(trials.numbers),
        n_anchors=len(anchors_j),
        energy_per_token_j=mean_of_known(anchors_j),
        relative_spread=_relative_spread(anchors_j),
        net_energy_per_token_j=mean_of_known(net_j),
        net_relative_spread=_relative_spread(net_j),
        drift=_drift(anchors_j),
        baseline_w=newest.power_w if newest else None,
    )


def _net_energy_per_token_j(anchor: Anchor) -> float | None:
    """What an anchor took for each new token above the idle power."""
    idle_j = product(anchor.baseline_w, anchor.window_s)
    if anchor.energy_j is None or idle_j is None:
        return None
    return (anchor.energy_j - idle_j) / anchor.n_new_tokens


def _drift(anchors_j: list[float]) -> float | None:
    """The last anchor over the first, less 1; None of fewer than two, or where the first is 0."""
    ratio = quotient(anchors_j[-1], anchors_j[0]) if len(anchors_j) > 1 else None
    return None if ratio is None else ratio - 1


def _relative_spread(values: list[float]) -> float | None:
    """Standard deviation over mean; None of fewer than two values, or where the mean is 0."""
    return quotient(stdev(values), mean(values)) if len(values) > 1 else None


def _has_moved(first: Anchor, other: Anchor) -> bool:
    """Whether an anchor took so much more or less than the first one of its session."""
    ratio = quotient(anchor_energy_per_token_j(other), anchor_energy_per_token_j(first))
    return ratio is not None and abs(ratio - 1) > MOST_DRIFT
