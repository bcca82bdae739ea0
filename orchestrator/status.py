"""How far the sweeps of a data set are: from its folders alone, so from any machine that sees them, running or not."""

from __future__ import annotations

import contextlib
import heapq
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.dataset.follow import Follower
from orchestrator.dataset.lock import Holder, holder_of, seems_alive
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.remaining import failures, finished_of, n_missing
from orchestrator.dataset.schema import Execution
from orchestrator.dataset.sweep_plan import SweepPlan, read_plans
from orchestrator.dataset.tables import Key, Trials
from orchestrator.nouns import TrialKey

RECENT = 20
"""So many of the newest executions tell the rate."""
PAUSE = timedelta(hours=1)
"""Executions further apart than this (and than ten windows) are of two runs: the gap between them isn't work."""


N_LAST = 5
"""So many of the trials finished last are told of."""


@dataclass(frozen=True)
class LastTrial:
    """A finished trial over its counted executions."""

    machine: str
    model: str
    use_case: str
    trial: str
    """As its folder begins: index and repeat."""
    n_executions: int
    n_failed: int
    n_new_tokens: int
    tokens_per_s: float | None
    energy_j: float | None
    energy_per_token_j: float | None
    """None where one part is unknown."""


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
    trials: dict[str, int]
    """finished, under_way (some of their prompts are done) and waiting."""
    energy_kwh: float | None
    """Of all finished executions whose energy is known; None: of none."""
    energy_unknown: int
    """Finished executions without a figure: then energy_kwh is a lower bound."""
    last: tuple[LastTrial, ...]
    """Finished last, the newest first."""


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
    return StatusReader(out).look()


class StatusReader:
    """Looks at a data set again and again, and reads only what has changed since."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._paths = DataSetPaths(out)
        self._follower = Follower(self._paths)
        self._plan_times: list[tuple[str, int, int]] | None = None
        self._plans: list[SweepPlan] = []
        self._unreadable_plans: list[str] = []
        self._sweeps: tuple[SweepStatus, ...] = ()
        self._faults: list[str] = []

    def look(self) -> Status:
        """How far the sweeps are now."""
        if self._follower.look() | self._read_plans():
            trials, self._faults = self._follower.trials()
            self._sweeps = tuple(_of_sweep(plan, trials) for plan in self._plans)
        holder = holder_of(self._out)
        return Status(
            out=self._out,
            holder=holder,
            alive=holder is not None and seems_alive(self._out, holder),
            sweeps=self._sweeps,
            unreadable=(*self._faults, *self._unreadable_plans),
        )

    def _read_plans(self) -> bool:
        """Read the plans where one has changed; whether one has."""
        times = []
        for path in sorted(self._paths.sweeps.glob("[!.]*.json")):
            with contextlib.suppress(OSError):
                found = path.stat()
                times.append((path.name, found.st_mtime_ns, found.st_ino))
        if times == self._plan_times:
            return False
        self._plan_times = times
        self._plans, findings = read_plans(self._paths)
        self._unreadable_plans = [f"{finding.where}: {finding.what}" for finding in findings]
        return True


def _of_sweep(plan: SweepPlan, trials: Trials) -> SweepStatus:
    of_plan = finished_of(plan, trials)
    machines: Counter[str] = Counter()
    leaves: dict[str, list[int]] = {}
    finished: list[Execution] = []
    n_prompts: dict[TrialKey, int] = {}
    ended: list[tuple[str, Key]] = []
    for spec, done in of_plan:
        n_prompts[spec.key()] = len(spec.prompts)
        finished += done
        leaf = leaves.setdefault(
            f"{spec.setup.model}/{spec.strategy}/{spec.setup.use_case}", [0, 0]
        )
        leaf[0] += len(done)
        leaf[1] += len(spec.prompts)
    for key in trials:
        counted = trials.counted(key)
        planned = n_prompts.get(counted[0][2].spec.key())
        if planned is None or {None, counted[0][0].machine}.isdisjoint(plan.kinds()):
            continue
        machines[counted[0][0].machine] += len(counted)
        if len(counted) >= planned:
            ended.append((max(execution.started_at for _, execution, _ in counted), key))
    ok = [e for e in finished if e.status == "ok"]
    known = [e.energy_kwh for e in ok if e.energy_kwh is not None]
    spent = [e.energy_kwh for e in finished if e.energy_kwh is not None]
    complete = sum(len(done) == len(spec.prompts) for spec, done in of_plan)
    under_way = sum(0 < len(done) < len(spec.prompts) for spec, done in of_plan)
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
        trials={
            "finished": complete,
            "under_way": under_way,
            "waiting": max(0, plan.n_trials() - complete - under_way),
        },
        energy_kwh=sum(spent) if spent else None,
        energy_unknown=len(finished) - len(spent),
        last=tuple(_last(trials, key) for _, key in heapq.nlargest(N_LAST, ended)),
    )


def _last(trials: Trials, key: Key) -> LastTrial:
    row = trials.figures(key)
    same = (
        "machine",
        "model",
        "use_case",
        "n_executions",
        "n_new_tokens",
        "tokens_per_s",
        "energy_j",
        "energy_per_token_j",
    )
    trial = f"{row['index']:04d}-r{row['repeat']}"
    return LastTrial(
        trial=trial,
        n_failed=row["n_executions"] - row["n_ok"],
        **{name: row[name] for name in same},
    )


def _per_hour(finished: list[Execution]) -> float | None:
    """Executions an hour over the newest ones of one run; counts what ran side by side."""
    starts = sorted((datetime.fromisoformat(e.started_at), e.window_s or 0.0) for e in finished)[
        -RECENT:
    ]
    for i in range(len(starts) - 1, 0, -1):
        gap = starts[i][0] - starts[i - 1][0]
        if gap > max(PAUSE, timedelta(seconds=10 * starts[i - 1][1])):
            starts = starts[i:]
            break
    if len(starts) < 2:  # noqa: PLR2004 - a rate needs two points
        return None
    hours = (starts[-1][0] - starts[0][0]).total_seconds() / 3600
    return (len(starts) - 1) / hours if hours > 0 else None
