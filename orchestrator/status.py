"""How far the sweeps of a data set are: from its folders alone.

So it works from any machine that sees them, whether a sweep is running or not.
"""

from __future__ import annotations

import contextlib
import heapq
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.dataset.energy import TOTAL_ENERGY
from orchestrator.dataset.follow import Follower
from orchestrator.dataset.gross_energy import EnergyTotals, GrossEnergy, energy_row
from orchestrator.dataset.lock import Holder, holder_of, seems_alive
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.remaining import (
    FinishedExecution,
    FinishedTrials,
    failures,
    finished_of,
    n_missing,
)
from orchestrator.dataset.sessions import Session, sessions_of
from orchestrator.dataset.summary import Chosen
from orchestrator.dataset.sweep_plan import SweepPlan, read_plans
from orchestrator.dataset.tables import Key, Trials, chosen_of
from orchestrator.nouns import TrialKey
from orchestrator.units import HOUR_S
from orchestrator.unknowns import product, quotient

RECENT = 20
"""The rate is that of so many of the newest executions."""
PAUSE = timedelta(hours=1)
"""Executions further apart than this, and than ten windows, are of two runs."""


N_LAST = 5
"""How many of the trials that were finished last are shown."""


@dataclass(frozen=True)
class LastTrial:
    """A finished trial over its chosen executions."""

    machine: str
    model: str
    use_case: str
    trial: str
    """As its folder begins: index and repeat."""
    n_executions: int
    n_failed: int
    n_new_tokens: int
    tokens_per_s: float | None
    counted_energy_j: float | None
    """Of `energy_basis`; None where one part is unknown, or they are of several bases."""
    energy_basis: str | None
    energy_per_token_j: float | None
    energy_rel_uncertainty: float | None
    """That of both energies."""


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
    folders: dict[str, tuple[int, int]]
    """model/strategy/use case -> (finished, planned)."""
    per_hour: float | None
    """Executions, lately; None before there are two."""
    left_s: float | None
    left_j: float | None
    """What is missing at the rate and mean energy so far; None where nothing is known, or where
    only some machines have a GPU."""
    trials: dict[str, int]
    """finished, under_way (some of their prompts are done) and waiting."""
    gross_energy: GrossEnergy
    """Of all finished executions."""
    last: tuple[LastTrial, ...]
    """Finished last, the newest first."""


@dataclass(frozen=True)
class Status:
    """A data set."""

    out: Path
    holder: Holder | None
    """Who says that it runs a sweep there."""
    alive: bool | None
    """Whether that is running; None: unknown, it is on another host and gave no sign lately."""
    sweeps: tuple[SweepStatus, ...]
    sessions: tuple[Session, ...]
    """Processes on GPUs, in the order in which they began."""
    unreadable: tuple[str, ...]


def status(out: Path) -> Status:
    """Read a data set. Folders and plans that can't be read are listed, not chosen."""
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
        self._sessions: tuple[Session, ...] = ()
        self._faults: list[str] = []

    def look(self) -> Status:
        """How far the sweeps are now."""
        # `|` and not `or`: both must read what is new
        if self._follower.look() | self._read_plans():
            trials, self._faults = self._follower.trials()
            self._sweeps = tuple(_of_sweep(plan, trials) for plan in self._plans)
            self._sessions = tuple(sessions_of(trials.records()))
        holder = holder_of(self._out)
        return Status(
            out=self._out,
            holder=holder,
            alive=holder is not None and seems_alive(self._out, holder),
            sweeps=self._sweeps,
            sessions=self._sessions,
            unreadable=(*self._faults, *self._unreadable_plans),
        )

    def _read_plans(self) -> bool:
        """Read the plans where one has changed; whether one has."""
        times = []
        for path in self._paths.plans():
            with contextlib.suppress(OSError):
                stat = path.stat()
                times.append((path.name, stat.st_mtime_ns, stat.st_ino))
        if times == self._plan_times:
            return False
        self._plan_times = times
        self._plans, findings = read_plans(self._paths)
        self._unreadable_plans = [f"{finding.where}: {finding.what}" for finding in findings]
        return True


def _of_sweep(plan: SweepPlan, trials: Trials) -> SweepStatus:
    """One sweep against its plan, from the trials of the data set."""
    of_plan = finished_of(plan, trials)
    finished = [execution for _, done in of_plan for execution in done]
    n_ok = sum(execution.status == "ok" for execution in finished)
    missing = n_missing(plan, of_plan)
    per_hour = _per_hour(finished)
    n_prompts = {spec.key(): len(spec.prompts) for spec, _ in of_plan}
    machines: Counter[str] = Counter()
    totals = EnergyTotals()
    ended: list[tuple[datetime, Key]] = []
    for key, some in _chosen_for(plan, trials, n_prompts):
        record = some[0].record
        machines[record.columns.machine] += len(some)
        for one in some:
            totals.add(energy_row(one.execution, one.record.columns))
        # a trial that was interrupted isn't finished, though it is sealed
        if len(some) >= n_prompts[record.spec.key()]:
            ended.append((max(one.execution.started_at for one in some), key))
    energies = totals.now()
    return SweepStatus(
        id=plan.id,
        planned=plan.n_executions(),
        done=n_ok,
        failed=dict(failures(finished)),
        missing=missing,
        machines=dict(machines),
        folders=_by_folder(of_plan),
        per_hour=per_hour,
        left_s=product(quotient(missing, per_hour), HOUR_S),
        left_j=_left_j(missing, energies),
        trials=_by_state(plan, of_plan),
        gross_energy=energies,
        # the newest first
        last=tuple(_last(trials, key) for _, key in heapq.nlargest(N_LAST, ended)),
    )


def _left_j(missing: int, energies: GrossEnergy) -> float | None:
    """What the missing executions will take if they take as much as those so far.

    GPUs' energies by both meters give one mean; those of GPUs and of machines without one don't.
    """
    on_gpu = {one.energy_basis != TOTAL_ENERGY for one in energies.of_basis}
    if len(on_gpu) != 1:
        return None
    so_far_j = sum(one.counted_energy_j for one in energies.of_basis)
    return quotient(missing * so_far_j, sum(one.n_executions for one in energies.of_basis))


def _by_folder(of_plan: FinishedTrials) -> dict[str, tuple[int, int]]:
    """model/strategy/use case -> (finished, planned) executions, sorted."""
    counts: dict[str, tuple[int, int]] = {}
    for spec, done in of_plan:
        name = f"{spec.setup.model}/{spec.strategy}/{spec.setup.use_case}"
        n_done, n_planned = counts.get(name, (0, 0))
        counts[name] = (n_done + len(done), n_planned + len(spec.prompts))
    return dict(sorted(counts.items()))


def _by_state(plan: SweepPlan, of_plan: FinishedTrials) -> dict[str, int]:
    """Trials that are finished, under way (some of their prompts are done) and waiting."""
    finished = sum(len(done) == len(spec.prompts) for spec, done in of_plan)
    under_way = sum(0 < len(done) < len(spec.prompts) for spec, done in of_plan)
    waiting = max(0, plan.n_trials() - finished - under_way)
    return {"finished": finished, "under_way": under_way, "waiting": waiting}


def _chosen_for(
    plan: SweepPlan, trials: Trials, planned: Container[TrialKey]
) -> Iterator[tuple[Key, list[Chosen]]]:
    """The chosen executions of each trial of the data set that counts for a plan."""
    for key in trials:
        attempts = trials.attempts(key)
        if plan.counts_on(attempts[0].columns.machine) and attempts[0].spec.key() in planned:
            yield key, chosen_of(attempts)


def _last(trials: Trials, key: Key) -> LastTrial:
    """The figures of a finished trial that `status` and `watch` show."""
    row = trials.figures(key)
    same = (
        "machine",
        "model",
        "use_case",
        "n_executions",
        "n_new_tokens",
        "tokens_per_s",
        "counted_energy_j",
        "energy_basis",
        "energy_per_token_j",
        "energy_rel_uncertainty",
    )
    return LastTrial(
        trial=f"{row['config_index']:04d}-r{row['repetition']}",
        n_failed=row["n_executions"] - row["n_ok"],
        **{name: row[name] for name in same},
    )


def _per_hour(finished: list[FinishedExecution]) -> float | None:
    """Executions an hour over the newest ones of one run; what ran side by side counts fully."""
    newest = heapq.nlargest(RECENT, finished, key=lambda execution: execution.started_at)[::-1]
    first = 0
    # from the newest back, to where a pause shows that another run ended
    for i in range(len(newest) - 1, 0, -1):
        before, after = newest[i - 1], newest[i]
        longest = max(PAUSE, timedelta(seconds=10 * before.whole_window_s))
        if after.started_at - before.started_at > longest:
            first = i
            break
    of_run = newest[first:]
    if len(of_run) < 2:  # noqa: PLR2004 - a rate needs two points
        return None
    took_s = (of_run[-1].started_at - of_run[0].started_at).total_seconds()
    return quotient(len(of_run) - 1, took_s / HOUR_S)
