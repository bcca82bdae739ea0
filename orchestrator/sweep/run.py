"""Run what is missing of a sweep. Nothing is written before everything was checked that can be."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.dataset.drift import StartConditions, conditions, mixed
from orchestrator.dataset.leftovers import alone
from orchestrator.dataset.lock import Lock, held, writing
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.recorder import Recorder
from orchestrator.dataset.remaining import relevant
from orchestrator.dataset.sweep_plan import SweepPlan, write_plan
from orchestrator.dataset.tables import TableWriter
from orchestrator.dataset.trial_files import seal_left
from orchestrator.errors import UserError
from orchestrator.gpu.devices import visible_gpus
from orchestrator.gpu.lock import holder_of_gpu, in_use
from orchestrator.ray_tune.leftovers import remove_leftovers
from orchestrator.ray_tune.observers import Observer, Observers
from orchestrator.say import Say
from orchestrator.sweep.assignments import AssignmentFactory, RunOptions, searcher_of
from orchestrator.sweep.budget import Budget
from orchestrator.sweep.estimate import too_small
from orchestrator.sweep.prepare import Part, Prepared, prepare
from orchestrator.sweep.read_ahead import start_reading
from orchestrator.sweep.request import Resolved
from orchestrator.sweep.totals import Totals
from orchestrator.unknowns import known

if TYPE_CHECKING:
    from orchestrator.ray_tune.driver import Placement, RunningPart
    from orchestrator.ray_tune.halt import Halt
    from orchestrator.ray_tune.session import Session
    from orchestrator.ray_tune.trainable import Assignment


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended."""

    totals: Totals = field(default_factory=Totals)
    left: int = 0
    """Executions of the plan that are still missing."""
    drained: str | None = None
    """The signal or the limit's flag for which the run ended early; None: it ran to its end."""
    draining_since: float | None = None
    """When that came, by time.monotonic()."""


class RunObserver(Observer):
    """Also hears of a run's stages; a subclass overrides what it wants to hear of."""

    def planned(self, prepared: Prepared) -> None:
        """The plan stands; nothing runs yet."""

    def started(self, session: Session, at_once: int, totals: Totals) -> None:
        """Ray is up. `totals` grows as the run goes on."""

    def draining(self, why: str, running: int) -> None:
        """Nothing more is started."""


@contextlib.contextmanager
def opened(
    resolved: Resolved, plan: SweepPlan, options: RunOptions, say: Say
) -> Iterator[tuple[Prepared, Lock]]:
    """Hold the data set, seal what an interruption left in it, and find what is missing.

    What a killed run left of its Ray ends, though nothing may be missing. Raises UserError.
    """
    remove_leftovers()
    if resolved.request.address is not None:
        from orchestrator.ray_tune.session import check_answers

        check_answers(resolved.request.address)
    paths = DataSetPaths(resolved.request.out)
    try:
        with held(paths.root, say) as lock:
            with alone(paths, say):
                _seal_left(paths)
            yield prepare(resolved, plan, options.rerun), lock
    except (ConnectionError, TimeoutError):
        raise  # Ray's, not the disk's
    except OSError as error:
        where = error.filename or paths.root
        raise UserError(f"{where}: can't be read or written ({error.strerror})") from error


def _seal_left(paths: DataSetPaths) -> None:
    """Seal what an interruption left. Raises OSError, and UserError where it can't be read."""
    try:
        seal_left(paths)
    except ValueError as error:
        raise UserError(f"{error}; restore it or move it out of the data set") from error


def run_sweep(
    prepared: Prepared, lock: Lock, options: RunOptions, *, halt: Halt, observer: RunObserver
) -> RunOutcome:
    """Run what is missing until `halt` says no.

    Raises UserError; KeyboardInterrupt passes with all finished kept.
    """
    root = prepared.paths.root
    with writing(root, observer.disk_full):
        _keep_plan(prepared)
    observer.planned(prepared)
    tables = TableWriter(prepared.paths, prepared.trials)
    # the tables are made anew all the same: an interruption may have left old ones
    if not prepared.n_missing():
        with writing(root, observer.disk_full):
            tables.flush()
        return RunOutcome()
    start = _start_conditions(prepared, accept=options.accept_drift)
    start_reading(prepared.resolved)
    from orchestrator.ray_tune.session import set_environment

    # Ray reads these variables when it is imported, as the modules below do
    set_environment(prepared.resolved.request.address)
    from orchestrator.ray_tune.driver import run
    from orchestrator.ray_tune.metrics import Metrics

    totals = Totals()
    with _session_for(prepared.resolved, halt) as session:
        placements = _placements(prepared, session)
        observer.started(session, sum(each.at_once for each in placements), totals)
        budget = _budget(prepared, options, placements, halt)
        metrics = Metrics(prepared.plan.id, prepared.n_missing_trials())
        observers = Observers(totals, budget, observer, metrics)
        # a sweep that is to end doesn't wait for room on a full disk
        recorder = Recorder(
            prepared.paths, tables, lock, give_up=halt.ending, tell=observers.disk_full
        )
        shared = Shared(prepared, options, recorder, start, budget, halt, observers)
        parts = shared.running_parts(placements)
        run(parts, halt, session, on_drain=observer.draining, on_look=metrics.tell_again)
        return _outcome(prepared, parts, totals, halt)


@contextlib.contextmanager
def _session_for(resolved: Resolved, halt: Halt) -> Iterator[Session]:
    """A Ray session for a sweep. From here on a signal drains the sweep; before, it ends all.

    Raises UserError where the cluster doesn't answer.
    """
    from orchestrator.ray_tune.halt import signals_to
    from orchestrator.ray_tune.prometheus_targets import announced
    from orchestrator.ray_tune.session import ray_session

    halt.under_way = True
    with (
        signals_to(halt),
        ray_session(resolved.request.address, _own_gpus(resolved)) as session,
        announced(session.nodes),
    ):
        yield session


@dataclass(frozen=True)
class Shared:
    """What the parts of a sweep, one a kind of machine, share while they run."""

    prepared: Prepared
    options: RunOptions
    recorder: Recorder
    start: StartConditions
    budget: Budget
    halt: Halt
    observers: Observers

    def __getstate__(self) -> dict[str, Any]:
        """Leave all out: Tune pickles what it can reach into a state that is never restored."""
        return {}

    def running_parts(self, placements: list[Placement]) -> list[RunningPart]:
        """What Tune runs on each kind of machine; `placements` in the order of the parts."""
        orders = itertools.count(1 + _last_order(self.prepared))
        placed = zip(self.prepared.parts, placements, strict=True)
        return [self._running_part(part, placement, orders) for part, placement in placed]

    def _running_part(self, part: Part, placement: Placement, orders: Iterator[int]) -> RunningPart:
        """The searcher and the callback of one kind of machine."""
        from orchestrator.ray_tune.callback import DataSetCallback
        from orchestrator.ray_tune.driver import RunningPart, Slots

        factory = AssignmentFactory(self.prepared, part, self.options, placement)
        slots = Slots(placement.at_once)
        searcher = searcher_of(factory, orders, slots, self._why_not)
        callback = DataSetCallback(
            self.recorder,
            self.start,
            searcher,
            self.halt,
            self.observers,
            objectives=factory.objectives(),
        )
        return RunningPart(searcher, callback, placement, slots)

    def _why_not(self, assignment: Assignment) -> str | None:
        """None where an assignment may start, else why nothing more starts."""
        # several searchers ask, and observers count meanwhile
        with self.recorder.one_at_a_time:
            return self.halt.draining or self.halt.fatal or self.budget.begin(assignment)


def _placements(prepared: Prepared, session: Session) -> list[Placement]:
    """Where the trials of each part run."""
    from orchestrator.ray_tune.driver import placement_of

    plan, resolved = prepared.plan, prepared.resolved
    small = () if plan.each else too_small(plan, resolved)
    return [
        placement_of(
            session,
            resolved.parallel,
            part.machine,
            small,
            one_a_host=resolved.isolation_of(part.machine) == "host",
        )
        for part in prepared.parts
    ]


def _outcome(
    prepared: Prepared, parts: list[RunningPart], totals: Totals, halt: Halt
) -> RunOutcome:
    """What is left, and why the run ended before that was done."""
    left = prepared.n_missing() - sum(part.callback.n_written for part in parts)
    # a full disk may have kept a trial from being sealed, though all its prompts are written
    if not left and not any(part.callback.error for part in parts):
        return RunOutcome(totals, draining_since=halt.draining_since)
    reasons = known([halt.draining, *(part.searcher.stopped for part in parts)])
    return RunOutcome(totals, left, next(iter(reasons), None), halt.draining_since)


def _keep_plan(prepared: Prepared) -> None:
    """Write the plan, unless the one that is there is larger: a smaller request forgets nothing."""
    plan, before = prepared.plan, prepared.before
    if before is not None:
        # `validate` and `status` would lose sight of what the larger request has measured
        if plan.n_executions() < before.n_executions():
            return
        each = tuple(sorted({*before.each, *plan.each}))
        # kinds of machine that joined earlier stay in the plan, since their trials count
        plan = plan.model_copy(update={"created_at": before.created_at, "each": each})
    write_plan(plan, prepared.paths.sweep(plan.id))


def _own_gpus(resolved: Resolved) -> int:
    """GPUs that a private Ray offers; a cluster's nodes say their own.

    Raises UserError where another sweep holds one of them.
    """
    if resolved.request.address is not None or not resolved.needs_weights:
        return 0
    gpus = visible_gpus()
    for gpu in gpus:
        if (holder := holder_of_gpu(gpu.uuid)) is not None:
            raise UserError(in_use(gpu.uuid, holder))
    return len(gpus)


def _last_order(prepared: Prepared) -> int:
    """The highest place in the order that an earlier run of the sweep handed out; -1: none."""
    return max((record.spec.order_index for record in prepared.of_sweep()), default=-1)


def _start_conditions(prepared: Prepared, *, accept: bool) -> StartConditions:
    """The conditions that the sweep started with.

    Raises UserError where its trials ran under different conditions already.
    """
    by_machine = conditions(relevant(prepared.plan, prepared.records))
    changes = mixed(by_machine)
    if changes and not accept:
        raise UserError(
            f"sweep {prepared.plan.id}: trials that count for it ran under different conditions "
            f"({', '.join(changes)}); go on under the first of these with --accept-drift, or start "
            "a new data set with --out"
        )
    return StartConditions(by_machine, prepared.plan.model_sha256, accept=accept)


def _budget(
    prepared: Prepared, options: RunOptions, placements: list[Placement], halt: Halt
) -> Budget:
    """The limits of this run. Raises UserError for GPU hours without a GPU."""
    n_gpus = sum(each.at_once for each in placements if each.gpu)
    if options.limits.gpu_hours < math.inf and not n_gpus:
        raise UserError("--max-gpu-hours: there is no GPU here; use --max-hours")
    return Budget(options.limits, n_gpus, prepared.prompt_bound, halt.drain)
