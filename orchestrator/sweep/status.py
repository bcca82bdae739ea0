"""How far the sweeps of a data set are: from its folders alone, so from any machine that sees them, running or not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.dataset.lock import Holder, holder_of, seems_alive
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import Execution
from orchestrator.dataset.tables import Trials, read_all
from orchestrator.sweep.check import read_plans
from orchestrator.sweep.plan import SweepPlan
from orchestrator.sweep.remaining import failures, finished_of, n_missing

RECENT = 20
"""So many of the newest executions tell the rate."""
PAUSE = timedelta(hours=1)
"""Executions further apart than this (and than ten windows) are of two runs: the gap between them isn't work."""


@dataclass(frozen=True)
class SweepStatus:
    """One sweep against its plan."""

    id: str
    planned: int
    """Executions."""
    done: int
    """Executions without error."""
    failed: dict[str, int]
    """By kind of error."""
    missing: int
    machines: dict[str, int]
    """Finished executions on each."""
    leaves: dict[str, tuple[int, int]]
    """model/strategy/use case -> (finished, planned)."""
    per_hour: float | None
    """Executions, lately; None before there are two."""
    left_s: float | None
    left_kwh: float | None
    """What is missing at the rate and mean energy so far; None where nothing is known."""


@dataclass(frozen=True)
class Status:
    """A data set."""

    out: Path
    holder: Holder | None
    """Who says that it runs a sweep there."""
    alive: bool | None
    """Whether that lives; None: unknown, it is on another host and has given no sign for a while."""
    sweeps: tuple[SweepStatus, ...]
    unreadable: tuple[str, ...]


def status(out: Path) -> Status:
    """Read a data set. Folders and plans that can't be read are listed, not counted."""
    paths = DataSetPaths(out)
    trials, faults = read_all(paths, unfinished=True)
    plans, findings = read_plans(paths)
    holder = holder_of(out)
    return Status(
        out=out,
        holder=holder,
        alive=holder is not None and seems_alive(out, holder),
        sweeps=tuple(_of_sweep(plan, trials) for plan in plans),
        unreadable=(*faults, *(f"{finding.where}: {finding.what}" for finding in findings)),
    )


def _of_sweep(plan: SweepPlan, trials: Trials) -> SweepStatus:
    of_plan = finished_of(plan, trials)
    machines: Counter[str] = Counter()
    leaves: dict[str, list[int]] = {}
    finished: list[Execution] = []
    keys = set()
    for spec, done in of_plan:
        keys.add(spec.key())
        finished += done
        leaf = leaves.setdefault(f"{spec.setup.model}/{spec.strategy}/{spec.setup.use_case}", [0, 0])
        leaf[0] += len(done)
        leaf[1] += len(spec.prompts)
    for key in trials:
        for columns, _, record in trials.counted(key):
            if record.spec.key() in keys and not {None, columns.machine}.isdisjoint(plan.kinds()):
                machines[columns.machine] += 1
    ok = [e for e in finished if e.status == "ok"]
    known = [e.energy_kwh for e in ok if e.energy_kwh is not None]
    missing = n_missing(plan, of_plan)
    per_hour = _per_hour(finished)
    return SweepStatus(
        id=plan.id,
        planned=plan.n_executions(),
        done=len(ok),
        failed=dict(failures(finished)),
        missing=missing,
        machines=dict(machines),
        leaves={name: (n_done, n) for name, (n_done, n) in sorted(leaves.items())},
        per_hour=per_hour,
        left_s=missing / per_hour * 3600 if per_hour else None,
        left_kwh=missing * sum(known) / len(known) if known else None,
    )


def _per_hour(finished: list[Execution]) -> float | None:
    """Executions an hour over the newest ones of one run; counts what ran side by side."""
    starts = sorted((datetime.fromisoformat(e.started_at), e.window_s or 0.0) for e in finished)[-RECENT:]
    for i in range(len(starts) - 1, 0, -1):
        gap = starts[i][0] - starts[i - 1][0]
        if gap > max(PAUSE, timedelta(seconds=10 * starts[i - 1][1])):
            starts = starts[i:]
            break
    if len(starts) < 2:  # noqa: PLR2004 - a rate needs two points
        return None
    hours = (starts[-1][0] - starts[0][0]).total_seconds() / 3600
    return (len(starts) - 1) / hours if hours > 0 else None
