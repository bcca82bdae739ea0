"""Run what is missing of a sweep. Nothing is written before everything that can be checked has been."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orchestrator.dataset.drift import Baseline, conditions, mixed
from orchestrator.dataset.lock import Lock, held
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.remaining import relevant
from orchestrator.dataset.sweep_plan import write_plan
from orchestrator.dataset.tables import TableWriter
from orchestrator.dataset.trial_files import seal_left
from orchestrator.errors import UserError
from orchestrator.meters.nvml import visible_gpus
from orchestrator.sweep.budget import Budget
from orchestrator.sweep.estimate import too_small
from orchestrator.sweep.jobs import JobFactory, RunOptions, searcher_of
from orchestrator.sweep.prepare import Prepared, Say, prepare
from orchestrator.sweep.request import Resolved

if TYPE_CHECKING:
    from orchestrator.tune.callback import Observer
    from orchestrator.tune.driver import Placement
    from orchestrator.tune.halt import Halt
    from orchestrator.tune.session import Session
    from orchestrator.tune.trainable import Job


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    left: int = 0
    """Executions of the plan that are still missing."""
    drained: str | None = None
    """The signal or the budget's flag for which nothing more was begun; None: it ran to its end."""
    draining_since: float | None = None
    """When a signal or a reached limit ended the prompts' flow, by time.monotonic()."""


class Watcher(Protocol):
    """Who is told before the first trial starts."""

    def planned(self, prepared: Prepared) -> None:
        """The plan stands; nothing runs yet."""

    def started(self, session: Session, at_once: int) -> None:
        """Ray is up."""

    def draining(self, why: str, running: int) -> None:
        """Nothing more is begun."""


@contextlib.contextmanager
def begun(
    resolved: Resolved, revisions: dict[str, str], options: RunOptions, say: Say
) -> Iterator[tuple[Prepared, Lock]]:
    """Hold the data set, seal what a cut left in it, and find what is missing. Raises UserError."""
    if resolved.request.address is not None:
        from orchestrator.tune.session import check_answers

        check_answers(resolved.request.address)
    paths = DataSetPaths(resolved.request.out)
    try:
        with held(paths.root, say) as lock:
            try:
                seal_left(paths)
            except ValueError as error:
                raise UserError(f"{error}; restore it or move it out of the data set") from error
            yield prepare(resolved, revisions, options.rerun), lock
    except (ConnectionError, TimeoutError):
        raise  # Ray's, not the disk's
    except OSError as error:
        raise UserError(
            f"{error.filename or paths.root}: can't be read or written ({error.strerror})"
        ) from error


def run_sweep(
    prepared: Prepared,
    lock: Lock,
    options: RunOptions,
    *,
    halt: Halt,
    observer: Observer,
    watcher: Watcher,
) -> Outcome:
    """Run what is missing until `halt` says no. Raises UserError; KeyboardInterrupt passes with all finished kept."""
    resolved, plan, paths = prepared.resolved, prepared.plan, prepared.paths
    before = prepared.before
    if (
        before is None or plan.n_executions() >= before.n_executions()
    ):  # a smaller request doesn't forget the larger plan
        kept = (
            {"created_at": before.created_at, "each": tuple(sorted({*before.each, *plan.each}))}
            if before
            else {}
        )
        write_plan(plan.model_copy(update=kept), paths.sweep(plan.id))
    tables = TableWriter(paths, prepared.trials)
    watcher.planned(prepared)
    if not prepared.n_missing():
        tables.flush()
        return Outcome()
    baseline = _baseline(prepared, accept=options.accept_drift)
    from orchestrator.tune.session import ray_session, set_environment

    set_environment(resolved.request.address)
    from orchestrator.tune.callback import DataSetCallback, Store
    from orchestrator.tune.driver import Lane, Slots, placement, run
    from orchestrator.tune.halt import signals_to
    from orchestrator.tune.metrics import Metrics
    from orchestrator.tune.prometheus_targets import announced

    n_gpus = (
        len(visible_gpus())
        if resolved.request.address is None and resolved.request.engine != "simulated"
        else 0
    )
    halt.under_way = True
    with (
        signals_to(halt) as install,
        ray_session(resolved.request.address, n_gpus) as session,
        announced(session.nodes),
    ):
        install()
        small = too_small(plan, resolved)
        places = [
            placement(session, resolved.parallel, part.machine, () if plan.each else small)
            for part in prepared.parts
        ]
        watcher.started(session, sum(place.at_once for place in places))
        budget = _budget(prepared, options, places, halt)
        metrics = Metrics(plan.id, prepared.n_missing_trials())
        observers: list[Observer] = [budget, observer, metrics]
        store = Store(paths, tables, lock, baseline)
        orders = itertools.count(
            1 + max((record.spec.order_index for record in prepared.of_sweep()), default=-1)
        )

        def allows(job: Job) -> str | None:
            with store.guard:  # several searchers ask, and observers count meanwhile
                return halt.draining or halt.fatal or budget.begin(job)

        lanes = []
        for part, place in zip(prepared.parts, places, strict=True):
            factory = JobFactory(prepared, part, options, place)
            slots = Slots(place.at_once)
            searcher = searcher_of(factory, orders, slots, allows)
            lanes.append(
                Lane(searcher, DataSetCallback(store, searcher, halt, observers), place, slots)
            )
        run(lanes, halt, session, on_drain=watcher.draining, on_look=metrics.tell_again)
        left = prepared.n_missing() - sum(lane.callback.n_written for lane in lanes)
        unfinished = left or any(
            lane.callback.error for lane in lanes
        )  # a full disk may have kept a trial from being sealed
        stopped = halt.draining or next(
            (lane.searcher.stopped for lane in lanes if lane.searcher.stopped), None
        )
        drained = stopped if unfinished else None  # a signal after the last prompt drains nothing
        return Outcome(left=left, drained=drained, draining_since=halt.draining_since)


def _baseline(prepared: Prepared, *, accept: bool) -> Baseline:
    """What the sweep was begun with. Raises UserError where its trials ran under different conditions already."""
    found = conditions(relevant(prepared.plan, prepared.records))
    if not accept and (changes := mixed(found)):
        raise UserError(
            f"sweep {prepared.plan.id}: trials that count for it ran under different conditions ({', '.join(changes)}); go on "
            "under the first of these with --accept-drift, or start a new data set with --out"
        )
    return Baseline({machine: first for machine, (first, *_) in found.items()}, accept=accept)


def _budget(prepared: Prepared, options: RunOptions, places: list[Placement], halt: Halt) -> Budget:
    n_gpus = sum(place.at_once for place in places if place.gpu)
    if options.limits.gpu_hours < math.inf and not n_gpus:
        raise UserError("--max-gpu-hours: there is no GPU here; use --max-hours")
    return Budget(options.limits, n_gpus, prepared.prompt_bound, halt.drain)
