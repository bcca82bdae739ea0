"""From a prepared sweep to what Ray Tune hands out: assignments for workers, studies that learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.cooldown import Cooldown
from orchestrator.dataset.remaining import oom_lengths
from orchestrator.dataset.tables import Key
from orchestrator.evaluate.verdict import learned_figures
from orchestrator.nouns import Configuration, Setup, TrialSpec, digest
from orchestrator.sweep.budget import RunLimits
from orchestrator.sweep.estimate import longest_text
from orchestrator.sweep.prepare import Part, Prepared

if TYPE_CHECKING:
    from orchestrator.ray_tune.driver import Placement, Slots
    from orchestrator.ray_tune.searcher import Study, SweepSearcher
    from orchestrator.ray_tune.trainable import Assignment


@dataclass(frozen=True)
class RunOptions:
    """The flags of `tune` that don't change what a sweep is."""

    rerun: tuple[str, ...] = ()
    force: bool = False
    accept_drift: bool = False
    execution_timeout_s: float | None = None
    min_busy_s: float = 0.0
    """Windows of a trial last at least so long together: its answers are generated again."""
    cooldown: Cooldown = field(default_factory=Cooldown)
    limits: RunLimits = field(default_factory=RunLimits)
    log_to: tuple[str, ...] = ()
    """Loggers of Ray Tune that are told of each trial (ray_tune/log_to.py)."""


@dataclass(frozen=True)
class AssignmentFactory:
    """Turns trials into what a worker gets."""

    prepared: Prepared
    part: Part
    options: RunOptions
    placement: Placement

    def assignment(self, spec: TrialSpec) -> Assignment:
        """A trial as a worker of this kind of machine gets it."""
        from orchestrator.ray_tune.trainable import Assignment

        plan = self.prepared.plan
        return Assignment(
            spec=spec,
            order=plan.order,
            machine=self.part.machine,
            machines=self.prepared.resolved.machines,
            threads=None if self.placement.gpu else max(1, int(self.placement.cpu)),
            n_parallel=self.placement.per_host,
            longest_length=longest_text(plan, self.prepared.resolved.models),
            timeout_s=self.options.execution_timeout_s,
            least_window_s=self.options.min_busy_s / self._n_windows(spec.setup),
            cooldown=self.options.cooldown,
            may_not_fit=bool(plan.each),
        )

    def _n_windows(self, setup: Setup) -> int:
        """Windows of a whole trial: one a batch."""
        return setup.batch_of(len(self.prepared.plan.prompts(setup.use_case)))

    def requested(self, place: int, index: int, configuration: Configuration) -> list[Assignment]:
        """Assignments of a configuration that a study proposed: one a repeat.

        `place`: of the study's setup in the plan.
        """
        specs = self.prepared.plan.repeats_of(place, index, configuration)
        return list(map(self.assignment, specs))

    def objectives(self) -> tuple[str, ...]:
        """Figures that the sampler wants to be told of each trial."""
        resolved = self.prepared.resolved
        return tuple(resolved.sampler.objectives(resolved.sampler_options))


def searcher_of(
    factory: AssignmentFactory,
    orders: Iterator[int],
    slots: Slots,
    allows: Callable[[Assignment], str | None],
) -> SweepSearcher:
    """What Tune asks: the trials that are missing, then the studies.

    `orders` numbers what is handed out. `slots` bounds how many trials are out at once. `allows`
    gives a reason where no trial may start any more.
    """
    from orchestrator.ray_tune.searcher import SweepSearcher

    part, plan = factory.part, factory.prepared.plan
    return SweepSearcher(
        [factory.assignment(spec) for spec in part.missing],
        studies=[_study(factory, place, budget) for place, budget in part.left(plan).items()],
        allows=allows,
        orders=orders,
        slots=lambda: slots.n,
        oom_tokens=_oom_tokens(factory.prepared, factory.options),
    )


def _study(factory: AssignmentFactory, place: int, budget: int) -> Study:
    """A sampler that learns for one setup, told what earlier runs measured.

    `place`: of the setup in the plan.
    """
    from orchestrator.ray_tune.searcher import Study

    prepared, part = factory.prepared, factory.part
    plan, resolved, trials = prepared.plan, prepared.resolved, prepared.trials
    setup = plan.setups[place]
    proposed = part.proposed.get(place, {})
    # a resumed study must not draw its first random points again; variants draw the same ones
    parts: list[Any] = [plan.seed, setup.model, setup.use_case, len(proposed)]
    if plan.each:  # kinds of machine have studies of their own, which should differ
        parts.append(part.machine)
    seed = int(digest(parts, 8), 16)
    sampler = resolved.sampler.start(plan.space, budget, seed, resolved.sampler_options)
    unfinished = {spec.key() for spec in part.missing}
    for trial in trials:
        spec = trials.attempts(trial)[0].spec
        is_of_it = _is_of_study(factory, setup, trial)
        if spec.repeat == 1 and is_of_it and spec.key() not in unfinished:
            figures = learned_figures(trials, trial, factory.objectives())
            sampler.tell(spec.configuration, figures)
    return Study(
        setup=setup,
        sampler=sampler,
        budget=budget,
        assignments=partial(factory.requested, place),
        next_index=max(proposed, default=-1) + 1,
    )


def _is_of_study(factory: AssignmentFactory, setup: Setup, trial: Key) -> bool:
    """Whether a trial of the data set was proposed by the study of that setup."""
    plan, record = factory.prepared.plan, factory.prepared.trials.attempts(trial)[0]
    if record.spec.sweep_id != plan.id or record.spec.setup.key() != setup.key():
        return False
    return not plan.each or record.columns.machine == factory.part.machine


def _oom_tokens(prepared: Prepared, options: RunOptions) -> dict[str, dict[str, int]]:
    """Model -> machine -> the shortest length at which memory ran out in this data set.

    Nothing where such executions are to be tried again.
    """
    from orchestrator.ray_tune.searcher import model_key

    known: dict[str, dict[str, int]] = {}
    if options.force or not {"oom", "failed"}.isdisjoint(options.rerun):
        return known
    for record in prepared.records:
        of_machine = known.setdefault(model_key(record.spec.setup), {})
        name = record.columns.machine
        for length in oom_lengths(record.executions):
            of_machine[name] = min(length, of_machine.get(name, length))
    return known
