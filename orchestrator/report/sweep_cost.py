"""What a sweep took besides its answers: warming up, loading models, and a GPU's time between executions.

From the trials' own records, each attempt, also those whose executions a later one replaced.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.trial_files import read_trial


@dataclass(frozen=True)
class Part:
    """One thing that took time."""

    name: str
    n: int | None
    """How often; None where that means nothing."""
    time_s: float | None
    gpu_s: float = 0.0
    """Of the time, what a GPU was held for."""
    energy_j: float | None = None
    """The sum of what is known; None where nothing is."""
    n_unmeasured: int = 0
    """Of `n`, those whose energy is unknown."""


@dataclass(frozen=True)
class Cost:
    """The parts, and the time that GPUs were held."""

    parts: tuple[Part, ...]
    held_s: float | None
    """Over all GPUs; None without one."""
    n_trials: int
    n_unreadable: int


def sweep_cost(paths: DataSetPaths) -> Cost:
    """Of all sealed trials of a data set."""
    records, n_unreadable = [], 0
    for folder in paths.sealed_trials():
        try:
            records.append(read_trial(folder, paths.root))
        except (OSError, ValueError):
            n_unreadable += 1
    return cost_of(records, n_unreadable)


def cost_of(records: list[TrialRecord], n_unreadable: int = 0) -> Cost:
    """The same from their records."""
    fresh = [record for record in records if record.environment.get("loaded_here") is True]
    executions = _part(
        "executions",
        [
            (record, _number(getattr(item, item.energy_basis or "", None)), _number(item.window_s))
            for record in records
            for item in record.executions
        ],
    )
    warm_up = _part(
        "warm-up of a model",
        [
            (record, _number(pilot.get("warm_up_energy_j")), _number(pilot.get("warm_up_s")))
            for record in fresh
            if (pilot := _pilot(record))
        ],
    )
    load = _part(
        "loading a model",
        [(record, None, _number(record.environment.get("load_s"))) for record in fresh],
    )
    parts = [executions, warm_up, load]
    stays = _stays(records)
    if not stays:
        return Cost(tuple(parts), None, len(records), n_unreadable)
    known_s = sum(part.gpu_s for part in parts)
    held_s = max(sum(stays), known_s)  # a host's clock that was set back
    between = Part("between executions", None, held_s - known_s, held_s - known_s)
    whole = Part("a GPU held, in all", len(stays), held_s, held_s)
    return Cost((*parts, between, whole), held_s, len(records), n_unreadable)


def _part(name: str, items: list[tuple[TrialRecord, float | None, float | None]]) -> Part:
    """Sum up (trial, joules, seconds)."""
    energies = [energy_j for _, energy_j, _ in items if energy_j is not None]
    times = [(record, time_s) for record, _, time_s in items if time_s is not None]
    return Part(
        name,
        len(items),
        time_s=sum(time_s for _, time_s in times) if times else None,
        gpu_s=sum(time_s for record, time_s in times if record.columns.gpu_uuid),
        energy_j=sum(energies) if energies else None,
        n_unmeasured=len(items) - len(energies),
    )


def _stays(records: list[TrialRecord]) -> list[float]:
    """Seconds that each process with a model held a GPU: from the start of loading to the end of its last execution."""
    of_gpu: dict[tuple[str, str], list[tuple[float, float, bool]]] = defaultdict(list)
    for record in records:
        times = [
            (_epoch_s(item.started_at), _number(item.window_s) or 0.0) for item in record.executions
        ]
        known = [
            (began_s, began_s + window_s) for began_s, window_s in times if began_s is not None
        ]
        if record.columns.gpu_uuid and known:
            fresh = record.environment.get("loaded_here") is True
            began_s = min(began_s for began_s, _ in known) - (_ready_s(record) if fresh else 0.0)
            of_gpu[record.columns.host, record.columns.gpu_uuid].append(
                (began_s, max(ended_s for _, ended_s in known), fresh)
            )
    stays = []
    for spans in of_gpu.values():
        own: list[tuple[float, float]] = []
        for began_s, ended_s, fresh in sorted(spans):
            if fresh or not own:
                own.append((began_s, ended_s))
            else:
                own[-1] = (own[-1][0], max(own[-1][1], ended_s))
        stays += [ended_s - began_s for began_s, ended_s in own]
    return stays


def _ready_s(record: TrialRecord) -> float:
    """Seconds from the start of loading until a model was warm."""
    return (_number(record.environment.get("load_s")) or 0.0) + (
        _number(_pilot(record).get("warm_up_s")) or 0.0
    )


def _pilot(record: TrialRecord) -> dict[str, Any]:
    """Figures of the warm-up; empty where there was none."""
    pilot = record.environment.get("pilot")
    return pilot if isinstance(pilot, dict) else {}


def _epoch_s(text: str) -> float | None:
    """A record's UTC time; None where it is none."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _number(value: Any) -> float | None:
    """A figure of a record; None where it is none."""
    known = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= 0
    )
    return float(value) if known else None
