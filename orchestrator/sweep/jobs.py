"""From a prepared sweep to what Ray Tune hands out: jobs for workers, studies for Optuna."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.dataset.sweep_plan import PlannedTrial
from orchestrator.evaluate.verdict import learned_figures
from orchestrator.nouns import Configuration, TrialSpec, digest
from orchestrator.samplers import OptunaOptions, sampler_of
from orchestrator.sweep.budget import Limits
from orchestrator.sweep.prepare import Part, Prepared

if TYPE_CHECKING:
    from orchestrator.tune.driver import Placement, Slots
    from orchestrator.tune.searcher import Study, SweepSearcher
    from orchestrator.tune.trainable import Job


@dataclass(frozen=True)
class RunOptions:
    """The flags of `tune` that don't change what a sweep is."""

    rerun: tuple[str, ...] = ()
    force: bool = False
    accept_drift: bool = False
    execution_timeout_s: float | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class JobFactory:
    """Turns trials into what a worker gets."""

    prepared: Prepared
    part: Part
    options: RunOptions
    place: Placement

    def job(self, spec: TrialSpec) -> Job:
        """A trial as a worker of this kind of machine gets it."""
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
            may_not_fit=bool(plan.each),
        )

    def asked(
        self, model: str, use_case: str, index: int, configuration: Configuration
    ) -> list[Job]:
        """Jobs of a configuration that Optuna asked for: one a repeat."""
        plan = self.prepared.plan
        jobs = []
        for repeat in range(1, plan.repeats + 1):
            trial = PlannedTrial(
                strategy=plan.strategy, model=model, use_case=use_case, index=index, repeat=repeat
            )
            jobs.append(self.job(plan.spec(trial, 0, configuration)))
        return jobs


def searcher_of(
    factory: JobFactory, orders: Iterator[int], slots: Slots, allows: Callable[[Job], str | None]
) -> SweepSearcher:
    """What Tune asks: the trials that are missing, then the studies."""
    from orchestrator.tune.searcher import SweepSearcher

    prepared, part, plan = factory.prepared, factory.part, factory.prepared.plan
    found = sampler_of(plan.space, str(prepared.resolved.space_file))[1]
    options = found if isinstance(found, OptunaOptions) else None
    return SweepSearcher(
        [factory.job(spec) for spec in part.missing],
        studies=[_study(factory, key, n, options) for key, n in part.left(plan).items()]
        if options
        else [],
        space=plan.space,
        options=options,
        allows=allows,
        orders=orders,
        slots=lambda: slots.n,
        oom_tokens=_oom_tokens(prepared, factory.options),
    )


def _study(factory: JobFactory, key: tuple[str, str], budget: int, options: OptunaOptions) -> Study:
    from orchestrator.tune.searcher import Study, study_name

    plan, trials, part = factory.prepared.plan, factory.prepared.trials, factory.part
    model, use_case = key
    unfinished = {spec.key() for spec in part.missing}
    known = []
    for trial in trials:
        record = trials.attempts(trial)[0]
        of_study = (
            record.spec.sweep_id == plan.id and (record.setup.model, record.setup.use_case) == key
        )
        of_study = of_study and (not plan.each or record.columns.machine == part.machine)
        if of_study and record.spec.repeat == 1 and record.spec.key() not in unfinished:
            figures = learned_figures(trials, trial, options.objectives)
            values = [figures[name] for name in options.objectives]
            if None not in values:
                known.append((record.asked, [float(value) for value in values]))
    asked = part.asked.get(key, {})
    return Study(
        name=study_name(model, use_case),
        budget=budget,
        jobs=partial(factory.asked, model, use_case),
        # a resumed study must not draw its first random points again
        seed=int(
            digest(
                [plan.seed, model, use_case, len(asked), *([part.machine] if plan.each else [])], 8
            ),
            16,
        ),
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
                of_machine[name] = min(
                    execution.effective_max_length,
                    of_machine.get(name, execution.effective_max_length),
                )
    return known
