"""Sessions: what their anchors say of how steady a process measured, and how far two differ.

A session is a process from when it loaded its model on. Its anchors are one text, generated at its
beginning, before every tenth trial and at its end, so whatever moves them is not a parameter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from statistics import mean, stdev

from orchestrator.dataset.environment import Anchor
from orchestrator.dataset.schema import TrialRecord
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
    sessions = [_session(some) for some in _by_session(records).values()]
    return sorted(sessions, key=lambda one: (one.started_at is None, one.started_at))


def _by_session(records: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Session id -> its trials on a GPU."""
    by_session: dict[str, list[TrialRecord]] = defaultdict(list)
    for record in records:
        if record.columns.session_id is not None and record.columns.gpu_uuid is not None:
            by_session[record.columns.session_id].append(record)
    return by_session


def _session(records: list[TrialRecord]) -> Session:
    """A session from its trials."""
    columns = records[0].columns
    anchors = _anchors(records)
    anchors_j = known(map(anchor_energy_per_token_j, anchors))
    net_j = known(map(_net_energy_per_token_j, anchors))
    loaded = [
        one for record in records for one in record.environment.baselines if one.state == "loaded"
    ]
    newest = max(loaded, key=lambda one: one.started_at, default=None)
    return Session(
        session_id=columns.session_id or "",
        machine=columns.machine,
        gpu_name=columns.gpu_name,
        model=columns.model,
        quantization=columns.quantization,
        setup=records[0].spec.setup.variant().label(),
        started_at=columns.session_started_at,
        n_trials=len(records),
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


def _anchors(records: list[TrialRecord]) -> list[Anchor]:
    """The anchors of one session, in the order in which they were measured."""
    anchors = [anchor for record in records for anchor in record.anchors]
    return sorted(anchors, key=lambda anchor: (anchor.session_trial, anchor.started_at))


def in_drifting_sessions(records: Iterable[TrialRecord]) -> set[int]:
    """Ids of the records beside an anchor that differs from its session's first by MOST_DRIFT.

    Beside a trial are the last anchor before it and the first one behind it.
    """
    drifting = set()
    for some in _by_session(records).values():
        anchors = [one for one in _anchors(some) if anchor_energy_per_token_j(one)]
        for record in some:
            if any(_has_moved(anchors[0], one) for one in _beside(record, anchors)):
                drifting.add(id(record))
    return drifting


def _beside(record: TrialRecord, anchors: list[Anchor]) -> list[Anchor]:
    """The anchors around a trial; [] where there are none."""
    number = record.columns.session_trial or 0
    before = [one for one in anchors if one.session_trial <= number]
    behind = [one for one in anchors if one.session_trial > number]
    return [*before[-1:], *behind[:1]]


def _has_moved(first: Anchor, other: Anchor) -> bool:
    """Whether an anchor took so much more or less than the first one of its session."""
    ratio = quotient(anchor_energy_per_token_j(other), anchor_energy_per_token_j(first))
    return ratio is not None and abs(ratio - 1) > MOST_DRIFT
