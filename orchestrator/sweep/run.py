"""Run what is missing of a sweep. Nothing is written before everything that can be checked has been."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.dataset.drift import Baseline, conditions, mixed
from orchestrator.dataset.lock import Lock, held
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.tables import TableWriter, Trials, read_all
from orchestrator.dataset.trials import seal_left
from orchestrator.engine.weights import expected_revision, locate
from orchestrator.errors import ModelUnavailableError, UserError
from orchestrator.meters.nvml import visible_gpus
from orchestrator.models import Model
from orchestrator.nouns import Configuration, TrialSpec, digest
from orchestrator.samplers import OptunaOptions, sampler_of
from orchestrator.sweep.budget import Budget, Limits
from orchestrator.sweep.estimate import trial_bound, unasked_bound
from orchestrator.sweep.plan import (
    PlannedTrial,
    SweepPlan,
    begun_setups,
    check_same_weights,
    make_plan,
    neighbours,
    read_plan,
    write_plan,
)
from orchestrator.sweep.remaining import Ledger, asked_of, failures, of_kind, relevant, specs_of
from orchestrator.sweep.request import Resolved

if TYPE_CHECKING:
    from orchestrator.tune.callback import Observer
    from orchestrator.tune.driver import Placement, Slots
    from orchestrator.tune.halt import Halt
    from orchestrator.tune.searcher import Study, SweepSearcher
    from orchestrator.tune.session import Session
    from orchestrator.tune.trainable import Job

Say = Callable[[str], None]


@dataclass(frozen=True)
class RunOptions:
    """The flags of `tune` that don't change what a sweep is."""

    rerun: tuple[str, ...] = ()
    force: bool = False
    accept_drift: bool = False
    execution_timeout_s: float | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Part:
    """What one kind of machine has and misses of a plan, or all machines together."""

    machine: str | None
    """None: whatever machine is free."""
    missing: list[TrialSpec]
    """Trials with the prompts that they still have to run."""
    done: list[Execution]
    """Executions that are in the data set, those that are to run again left out."""
    asked: dict[tuple[str, str], dict[int, TrialSpec]]
    """Optuna: what was asked for of each model and use case, by index."""

    def left(self, plan: SweepPlan) -> dict[tuple[str, str], int]:
        """Configurations that a learning sampler may still ask for, by model and use case."""
        if not plan.learns():
            return {}
        keys = [(s.model, s.use_case) for s in plan.setups]
        return {key: max(0, plan.samples - len(self.asked.get(key, {}))) for key in keys}


@dataclass(frozen=True)
class Prepared:
    """A plan beside what the data set has of it."""

    resolved: Resolved
    plan: SweepPlan
    paths: DataSetPaths
    trials: Trials
    parts: list[Part]
    """One, or one for each kind of machine that runs the whole plan."""
    before: SweepPlan | None
    """The sweep's plan as an earlier run left it."""
    notes: tuple[str, ...] = ()
    """What a person should know of the data set before it starts."""

    @property
    def records(self) -> list[TrialRecord]:
        """All trials of the data set, of other sweeps too."""
        return self.trials.records()

    def of_sweep(self) -> list[TrialRecord]:
        """Those that this sweep's runs measured."""
        return [record for record in self.records if record.spec.sweep_id == self.plan.id]

    @property
    def n_done(self) -> int:
        """Executions of the plan that are in the data set."""
        return sum(len(part.done) for part in self.parts)

    def n_failed(self) -> Counter[str]:
        """Of these the failed ones, by kind."""
        return failures(e for part in self.parts for e in part.done)

    def _missing(self) -> list[TrialSpec]:
        return [spec for part in self.parts for spec in part.missing]

    def _left(self) -> Counter[tuple[str, str]]:
        """Trials that a learning sampler may still ask for, by model and use case."""
        return sum((Counter({key: n * self.plan.repeats for key, n in p.left(self.plan).items()}) for p in self.parts), Counter())

    def n_missing(self) -> int:
        """Executions that are to be run now."""
        unasked = sum(n * len(self.plan.prompts(use_case)) for (_, use_case), n in self._left().items())
        return sum(len(spec.prompts) for spec in self._missing()) + unasked

    def n_missing_trials(self) -> int:
        """Trials that are to be run now."""
        return len(self._missing()) + self._left().total()

    def token_bound(self) -> int:
        """The most new tokens they can give, about."""
        models = {model.label: model for model in self.resolved.models}
        planned = sum(
            trial_bound(spec, tuple(p.number for p in spec.prompts), models[spec.setup.model]) for spec in self._missing()
        )
        return planned + unasked_bound(self.plan, models, self._left())

    def prompt_bound(self, spec: TrialSpec, number: int) -> int:
        """The same of one prompt of a trial."""
        model = next(m for m in self.resolved.models if m.label == spec.setup.model)
        return trial_bound(spec, (number,), model)


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


def prepare(resolved: Resolved, revisions: dict[str, str], rerun: tuple[str, ...] = ()) -> Prepared:
    """Make the plan and find what is missing of it. Reads only. Raises UserError."""
    plan = make_plan(resolved, revisions)
    paths = DataSetPaths(resolved.request.out)
    before = read_plan(paths.sweep(plan.id)) if paths.sweep(plan.id).exists() else None
    if before:
        check_same_weights(before, plan)
    trials, faults = read_all(paths, unfinished=True)
    if faults:
        raise UserError(
            *(f"{paths.root}/{fault}: can't be read as a trial; restore it or move it out of the data set" for fault in faults)
        )
    return Prepared(
        resolved=resolved,
        plan=plan,
        paths=paths,
        trials=trials,
        parts=[_part(resolved, plan, trials, kind, rerun) for kind in plan.kinds()],
        before=before,
        notes=() if before else tuple(neighbours(plan, paths.sweeps)),
    )


def _part(resolved: Resolved, plan: SweepPlan, trials: Trials, kind: str | None, rerun: tuple[str, ...]) -> Part:
    ledger = Ledger(trials, kind, rerun)
    records = of_kind(plan, trials.records(), kind)
    specs = [spec for spec in specs_of(plan, records) if resolved.shard is None or resolved.shard.has(spec)]
    missing = {spec.key(): left for spec in specs if (left := ledger.missing(spec))}
    again = {(key, prompt.number) for key, spec in missing.items() for prompt in spec.prompts}
    return Part(
        machine=kind,
        missing=list(missing.values()),
        done=[e for spec in specs for e in ledger.done(spec) if (spec.key(), e.prompt) not in again],
        asked=asked_of(plan, records) if plan.learns() else {},
    )


def known_revisions(resolved: Resolved) -> dict[str, str]:
    """Revisions as far as they are known without network; for `plan`. A sweep that was begun names its own."""
    if resolved.request.engine == "simulated":
        return {model.label: "simulated" for model in resolved.models}
    begun = {setup.model: setup.revision for setup in begun_setups(resolved)}
    return {model.label: expected_revision(model) or begun.get(model.label, "not staged yet") for model in resolved.models}


def staged_revisions(resolved: Resolved, say: Say) -> dict[str, str]:
    """Revisions of weights that are on this machine, fetched where they were not. Raises ModelUnavailableError.

    Fetching runs in a process of its own: it needs torch, and the driver is to stay small and idle while trials measure.
    """
    if resolved.request.engine == "simulated":
        return known_revisions(resolved)
    return {model.label: _staged(model, say) for model in resolved.models}


def _staged(model: Model, say: Say) -> str:
    if found := locate(model):
        return found.revision
    say(f"{model.label}: not on this machine yet, staging it")
    command = [sys.executable, "-m", "orchestrator", "models", "stage", model.ref]
    environment = os.environ | {"TQDM_DISABLE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    for line in done.stdout.splitlines():
        say(line)
    found = locate(model) if done.returncode == 0 else None
    if found is None:
        reason = [line for line in done.stderr.splitlines() if line.strip()][-3:] or ["staging failed"]
        raise ModelUnavailableError(*(line.removeprefix("error: ") for line in reason))
    return found.revision


def check_folder(out: Path, where: str = "--out") -> Path:
    """What exists of a folder's path. Raises UserError where that is no folder, or no path that a system takes.

    `where`: what the user named it by.
    """
    try:
        existing = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists() or p.is_symlink())
    except OSError as error:
        raise UserError(f"{where} {out}: can't be read ({error.strerror}); name a folder of yours") from error
    if not existing.is_dir():
        raise UserError(f"{where} {out}: {existing} is no folder; name one")
    return existing


def check_writable(out: Path) -> None:
    """Raise UserError where the data set's folder can't be made or written. Leaves nothing behind."""
    try:
        existing = check_folder(out)
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"--out {out}: can't be written ({error.strerror}); name a folder of yours") from error


@contextlib.contextmanager
def begun(resolved: Resolved, revisions: dict[str, str], options: RunOptions, say: Say) -> Iterator[tuple[Prepared, Lock]]:
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
        raise UserError(f"{error.filename or paths.root}: can't be read or written ({error.strerror})") from error


def run_sweep(
    prepared: Prepared, lock: Lock, options: RunOptions, *, halt: Halt, observer: Observer, watcher: Watcher
) -> Outcome:
    """Run what is missing until `halt` says no. Raises UserError; KeyboardInterrupt passes with all finished kept."""
    resolved, plan, paths = prepared.resolved, prepared.plan, prepared.paths
    before = prepared.before
    if before is None or plan.n_executions() >= before.n_executions():  # a smaller request doesn't forget the larger plan
        kept = {"created_at": before.created_at, "each": tuple(sorted({*before.each, *plan.each}))} if before else {}
        write_plan(plan.model_copy(update=kept), paths.sweep(plan.id))
    tables = TableWriter(paths, prepared.trials)
    watcher.planned(prepared)
    baseline = _baseline(prepared, accept=options.accept_drift)
    if not prepared.n_missing():
        tables.flush()
        return Outcome()
    from orchestrator.tune.session import ray_session, set_environment

    set_environment(resolved.request.address)
    from orchestrator.tune.callback import DataSetCallback, Store
    from orchestrator.tune.driver import Lane, Slots, placement, run
    from orchestrator.tune.halt import signals_to
    from orchestrator.tune.metrics import Metrics
    from orchestrator.tune.targets import announced

    n_gpus = len(visible_gpus()) if resolved.request.address is None and resolved.request.engine != "simulated" else 0
    halt.under_way = True
    with signals_to(halt) as install, ray_session(resolved.request.address, n_gpus) as session, announced(session.nodes):
        install()
        places = [placement(session, resolved.parallel, part.machine) for part in prepared.parts]
        watcher.started(session, sum(place.at_once for place in places))
        budget = _budget(prepared, options, places, halt)
        observers: list[Observer] = [budget, observer, Metrics(plan.id, prepared.n_missing_trials())]
        store = Store(paths, tables, lock, baseline)
        orders = itertools.count(1 + max((record.spec.order_index for record in prepared.of_sweep()), default=-1))
        lanes = []
        for part, place in zip(prepared.parts, places, strict=True):
            factory = _JobFactory(prepared, part, options, place)
            slots = Slots(place.at_once)
            searcher = _searcher(factory, orders, slots, lambda job: halt.draining or halt.fatal or budget.begin(job))
            lanes.append(Lane(searcher, DataSetCallback(store, searcher, halt, observers), place, slots))
        run(lanes, halt, session, on_drain=watcher.draining)
        left = prepared.n_missing() - sum(lane.callback.n_written for lane in lanes)
        unfinished = left or any(lane.callback.error for lane in lanes)  # a full disk may have kept a trial from being sealed
        stopped = halt.draining or next((lane.searcher.stopped for lane in lanes if lane.searcher.stopped), None)
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


@dataclass(frozen=True)
class _JobFactory:
    """Turns trials into what a worker gets."""

    prepared: Prepared
    part: Part
    options: RunOptions
    place: Placement

    def job(self, spec: TrialSpec) -> Job:
        from orchestrator.tune.trainable import Job

        plan = self.prepared.plan
        return Job(
            spec=spec,
            order=plan.order,
            machine=self.part.machine,
            machines=self.prepared.resolved.machines,
            threads=None if self.place.gpu else max(1, int(self.place.cpu)),
            n_parallel=self.place.per_host,
            timeout_s=self.options.execution_timeout_s,
        )

    def asked(self, model: str, use_case: str, index: int, configuration: Configuration) -> list[Job]:
        """Jobs of a configuration that Optuna asked for: one a repeat."""
        plan = self.prepared.plan
        jobs = []
        for repeat in range(1, plan.repeats + 1):
            trial = PlannedTrial(strategy=plan.strategy, model=model, use_case=use_case, index=index, repeat=repeat)
            jobs.append(self.job(plan.spec(trial, 0, configuration)))
        return jobs


def _searcher(factory: _JobFactory, orders: Iterator[int], slots: Slots, allows: Callable[[Job], str | None]) -> SweepSearcher:
    from orchestrator.tune.searcher import SweepSearcher

    prepared, part, plan = factory.prepared, factory.part, factory.prepared.plan
    found = sampler_of(plan.space, str(prepared.resolved.space_file))[1]
    options = found if isinstance(found, OptunaOptions) else None
    return SweepSearcher(
        [factory.job(spec) for spec in part.missing],
        studies=[_study(factory, key, n, options) for key, n in part.left(plan).items()] if options else [],
        space=plan.space,
        options=options,
        allows=allows,
        orders=orders,
        slots=lambda: slots.n,
        oom_tokens=_oom_tokens(prepared, factory.options),
    )


def _study(factory: _JobFactory, key: tuple[str, str], budget: int, options: OptunaOptions) -> Study:
    from orchestrator.tune.searcher import Study, study_name

    plan, trials, part = factory.prepared.plan, factory.prepared.trials, factory.part
    model, use_case = key
    unfinished = {spec.key() for spec in part.missing}
    known = []
    for trial in trials:
        record = trials.attempts(trial)[0]
        of_study = record.spec.sweep_id == plan.id and (record.setup.model, record.setup.use_case) == key
        of_study = of_study and (not plan.each or record.columns.machine == part.machine)
        if of_study and record.spec.repeat == 1 and record.spec.key() not in unfinished:
            figures = trials.figures(trial)
            values = [figures[name] for name in options.objectives]
            if None not in values:
                known.append((record.asked, [float(value) for value in values]))
    asked = part.asked.get(key, {})
    return Study(
        name=study_name(model, use_case),
        budget=budget,
        jobs=partial(factory.asked, model, use_case),
        # a resumed study must not draw its first random points again
        seed=int(digest([plan.seed, model, use_case, len(asked), *([part.machine] if plan.each else [])], 8), 16),
        known=known,
        asked=max(asked, default=-1) + 1,
    )


def _oom_tokens(prepared: Prepared, options: RunOptions) -> dict[str, dict[str, int]]:
    """Model -> machine -> the shortest length at which memory ran out in this data set; not where these are tried again."""
    from orchestrator.tune.searcher import model_key

    known: dict[str, dict[str, int]] = {}
    if options.force or not {"oom", "failed"}.isdisjoint(options.rerun):
        return known
    for record in prepared.records:
        of_machine = known.setdefault(model_key(record.setup), {})
        name = record.columns.machine
        for execution in record.executions:
            if execution.error_kind == "oom":
                of_machine[name] = min(execution.effective_max_length, of_machine.get(name, execution.effective_max_length))
    return known
