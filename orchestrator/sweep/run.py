"""Run what is missing of a sweep. Nothing is written before everything that can be checked has been."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.tables import TableWriter, Trials, read_all
from orchestrator.dataset.trials import discard_partial, seal
from orchestrator.engine.weights import expected_revision, locate
from orchestrator.errors import ModelUnavailableError, UserError
from orchestrator.meters.nvml import visible_gpus
from orchestrator.models import Model
from orchestrator.nouns import Configuration, TrialSpec, digest
from orchestrator.samplers import OptunaOptions, sampler_of
from orchestrator.sweep.estimate import trial_bound, unasked_bound
from orchestrator.sweep.plan import PlannedTrial, SweepPlan, begun_setups, check_same_weights, make_plan, read_plan, write_plan
from orchestrator.sweep.remaining import Ledger, Missing
from orchestrator.sweep.request import Resolved

if TYPE_CHECKING:
    from orchestrator.tune.callback import Observer
    from orchestrator.tune.searcher import DesignSearcher, StudySearcher
    from orchestrator.tune.session import Session
    from orchestrator.tune.trainable import Job

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A plan beside what the data set has of it."""

    resolved: Resolved
    plan: SweepPlan
    paths: DataSetPaths
    trials: Trials
    records: list[TrialRecord]
    missing: list[Missing]
    n_done: int
    """Executions of the plan that are in the data set."""
    begun: bool
    """Whether the sweep's plan stood there already."""
    asked: dict[tuple[str, str], list[TrialRecord]] = field(default_factory=dict)
    """Optuna: finished first repeats of each model and use case."""

    def left(self) -> dict[tuple[str, str], int]:
        """Configurations that a learning sampler may still ask for, by model and use case."""
        if not self.plan.learns():
            return {}
        begun = Counter(
            (m.spec.setup.model, m.spec.setup.use_case) for m in self.missing if m.spec.repeat == 1 and m.spec.attempt == 1
        )
        keys = [(s.model, s.use_case) for s in self.plan.setups]
        return {key: max(0, self.plan.samples - len(self.asked.get(key, [])) - begun[key]) for key in keys}

    def n_missing(self) -> int:
        """Executions that are to be run now."""
        unasked = sum(n * len(self.plan.prompts(use_case)) for (_, use_case), n in self.left().items())
        return sum(len(m.todo) for m in self.missing) + unasked * self.plan.repeats

    def n_missing_trials(self) -> int:
        """Trials that are to be run now."""
        return len(self.missing) + sum(self.left().values()) * self.plan.repeats

    def token_bound(self) -> int:
        """The most new tokens they can give, about."""
        models = {model.label: model for model in self.resolved.models}
        left = {key: n * self.plan.repeats for key, n in self.left().items()}
        planned = sum(trial_bound(m.spec, m.todo, models[m.spec.setup.model]) for m in self.missing)
        return planned + unasked_bound(self.plan, models, left)


class Watcher(Protocol):
    """Who is told before the first trial starts."""

    def planned(self, prepared: Prepared) -> None:
        """The plan stands; nothing runs yet."""

    def started(self, session: Session, at_once: int) -> None:
        """Ray is up."""


def prepare(resolved: Resolved, revisions: dict[str, str]) -> Prepared:
    """Make the plan and find what is missing of it. Reads only. Raises UserError."""
    plan = make_plan(resolved, revisions)
    paths = DataSetPaths(resolved.request.out)
    begun = paths.sweep(plan.id).exists()
    if begun:
        check_same_weights(read_plan(paths.sweep(plan.id)), plan)
    trials, faults = read_all(paths)
    if faults:
        raise UserError(
            *(f"{paths.root}/{fault}: can't be read as a trial; restore it or move it out of the data set" for fault in faults)
        )
    records = trials.records()
    ledger = Ledger(paths, records, plan.machine)
    asked: dict[tuple[str, str], list[TrialRecord]] = {}
    specs = _specs_asked(plan, records, ledger, asked) if plan.learns() else list(plan.specs())
    return Prepared(
        resolved=resolved,
        plan=plan,
        paths=paths,
        trials=trials,
        records=records,
        missing=[m for m in map(ledger.missing, specs) if m is not None],
        n_done=sum(ledger.n_done(spec) for spec in specs),
        begun=begun,
        asked=asked,
    )


def _specs_asked(
    plan: SweepPlan, records: list[TrialRecord], ledger: Ledger, asked: dict[tuple[str, str], list[TrialRecord]]
) -> list[TrialSpec]:
    """Optuna's trials so far: those in the data set and those cut off, with the repeats and prompts of this plan."""
    mine = {r.spec.key(): r.spec for r in records if r.spec.sweep_id == plan.id and r.spec.attempt == 1}
    for record in records:
        if record.spec.sweep_id == plan.id and record.spec.repeat == 1 and record.spec.attempt == 1:
            asked.setdefault((record.spec.setup.model, record.spec.setup.use_case), []).append(record)
    mine |= {spec.key(): spec for spec in ledger.unfinished(plan.id)}
    firsts = [spec for spec in mine.values() if spec.repeat == 1]
    return [
        plan.spec(_planned(plan, spec, repeat), spec.order_index, spec.asked)
        for spec in sorted(firsts, key=lambda s: s.order_index)
        for repeat in range(1, plan.repeats + 1)
    ]


def _planned(plan: SweepPlan, spec: TrialSpec, repeat: int) -> PlannedTrial:
    return PlannedTrial(
        strategy=plan.strategy, model=spec.setup.model, use_case=spec.setup.use_case, index=spec.index, repeat=repeat
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


def check_writable(out: Path) -> None:
    """Raise UserError where the data set's folder can't be made or written. Leaves nothing behind."""
    try:
        existing = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists() or p.is_symlink())
        if not existing.is_dir():
            raise UserError(f"--out {out}: {existing} is no folder; name one")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"--out {out}: can't be written ({error.strerror}); name a folder of yours") from error


def run_sweep(prepared: Prepared, observer: Observer, watcher: Watcher) -> None:
    """Run what is missing. Raises UserError and ModelUnavailableError; KeyboardInterrupt passes with all finished kept."""
    resolved, plan, paths = prepared.resolved, prepared.plan, prepared.paths
    if resolved.request.address is not None:
        from orchestrator.tune.session import check_answers

        check_answers(resolved.request.address)
    write_plan(plan, paths.sweep(plan.id))
    tables = TableWriter(paths, prepared.trials)
    to_run = []
    for item in prepared.missing:
        if item.todo:
            to_run.append(item)
        else:  # cut off between its last execution and its sealing
            _seal_left(paths, tables, item.spec)
    _sweep_up(paths)
    watcher.planned(prepared)
    if not prepared.n_missing():
        tables.flush()
        return
    from orchestrator.tune.driver import placement, run
    from orchestrator.tune.session import ray_session

    n_gpus = len(visible_gpus()) if resolved.request.address is None and resolved.request.engine != "simulated" else 0
    with ray_session(resolved.request.address, n_gpus) as session:
        place = placement(session, resolved.parallel)
        watcher.started(session, place.at_once)
        factory = _JobFactory(resolved, plan, threads=None if place.gpu else max(1, int(place.cpu)), n_parallel=place.per_host)
        run(_searcher(prepared, to_run, factory), session, place, paths=paths, tables=tables, observer=observer)


def _seal_left(paths: DataSetPaths, tables: TableWriter, spec: TrialSpec) -> None:
    for folder in paths.partial_trials():
        machine = folder.relative_to(paths.root).parts[0]
        if folder == paths.partial(machine, spec):
            _, record = seal(paths, machine, spec)
            tables.add(record)


def _sweep_up(paths: DataSetPaths) -> None:
    """Remove folders of trials that were cut off before anything of them was written."""
    for folder in paths.partial_trials():
        if not (folder / "spec.json").exists():
            discard_partial(folder)


@dataclass(frozen=True)
class _JobFactory:
    """Turns trials into what a worker gets."""

    resolved: Resolved
    plan: SweepPlan
    threads: int | None
    n_parallel: int

    def job(self, item: Missing) -> Job:
        from orchestrator.tune.trainable import Job

        return Job(
            spec=item.spec,
            todo=item.todo,
            order=self.plan.order,
            machine=self.plan.machine,
            machines=self.resolved.machines,
            threads=self.threads,
            n_parallel=self.n_parallel,
            prior_energy_j=item.prior_energy_j,
            prior_tokens=item.prior_tokens,
        )

    def asked(self, model: str, use_case: str, index: int, configuration: Configuration) -> list[Job]:
        """Jobs of a configuration that Optuna asked for: one a repeat."""
        jobs = []
        for repeat in range(1, self.plan.repeats + 1):
            trial = PlannedTrial(strategy=self.plan.strategy, model=model, use_case=use_case, index=index, repeat=repeat)
            spec = self.plan.spec(trial, index, configuration)
            jobs.append(self.job(Missing(spec, tuple(p.number for p in spec.prompts))))
        return jobs


def _searcher(prepared: Prepared, to_run: list[Missing], factory: _JobFactory) -> DesignSearcher | StudySearcher:
    from orchestrator.tune.searcher import DesignSearcher, Study, StudySearcher

    plan = prepared.plan
    unfinished = [factory.job(item) for item in to_run]
    if not plan.learns():
        return DesignSearcher(unfinished)
    _, options = sampler_of(plan.space, str(prepared.resolved.space_file))
    assert isinstance(options, OptunaOptions)  # noqa: S101 - only optuna learns
    studies = []
    for (model, use_case), budget in prepared.left().items():
        records = prepared.asked.get((model, use_case), [])
        known = [(r.asked, values) for r in records if (values := _objectives(prepared.trials, r, options)) is not None]
        begun = [item for item in to_run if (item.spec.setup.model, item.spec.setup.use_case) == (model, use_case)]
        indices = [r.spec.index for r in records] + [item.spec.index for item in begun]
        studies.append(
            Study(
                name=f"{model}/{use_case}",
                budget=budget,
                jobs=partial(factory.asked, model, use_case),
                # a resumed study must not draw its first random points again
                seed=int(digest([plan.seed, model, use_case, len(records)], 8), 16),
                known=known,
                asked=max(indices, default=-1) + 1,
            )
        )
    return StudySearcher(plan.space, options, studies, unfinished)


def _objectives(trials: Trials, record: TrialRecord, options: OptunaOptions) -> list[float] | None:
    """A finished trial's objectives from the data set; None where one is unknown."""
    row = trials.summary_row(trials.key(record))
    columns = {"tokens": "n_new_tokens"}
    values = [row[columns.get(name, name)] for name in options.objectives]
    return None if None in values else [float(v) for v in values]
