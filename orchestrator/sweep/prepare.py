"""What is to be run: the plan beside what the data set has of it. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.remaining import (
    FinishedExecution,
    FinishedExecutions,
    failures,
    of_kind,
    proposed_of,
    specs_of,
)
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.sweep_plan import SweepPlan, read_plan
from orchestrator.dataset.tables import Trials, read_all
from orchestrator.errors import UserError
from orchestrator.nouns import LoadKey, TrialSpec
from orchestrator.report.effects import LEAST_AT_EQUAL_LENGTH, LEAST_POINTS
from orchestrator.sweep.estimate import too_small, trial_bound, unasked_bound
from orchestrator.sweep.planning import check_same_weights, check_trials_weights, neighbours
from orchestrator.sweep.request import DEFAULT_SAMPLES, Resolved
from orchestrator.units import plural


@dataclass(frozen=True)
class Part:
    """What one kind of machine has and misses of a plan, or all machines together."""

    machine: str | None
    """None: whatever machine is free."""
    missing: list[TrialSpec]
    """Trials with the prompts that they still have to run."""
    done: list[FinishedExecution]
    """Executions that are in the data set, but for those that are to run again."""
    proposed: dict[int, dict[int, TrialSpec]]
    """What a sampler that learns has proposed, by place of the setup in the plan and by index."""

    def left(self, plan: SweepPlan) -> Counter[int]:
        """Configurations that a sampler may still propose, by place of the setup in the plan."""
        left: Counter[int] = Counter()
        if plan.learns():
            for place in range(len(plan.setups)):
                left[place] = max(0, plan.samples - len(self.proposed.get(place, {})))
        return left


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
    def records(self) -> Sequence[TrialRecord]:
        """All trials of the data set, of other sweeps too."""
        return self.trials.records()

    def of_sweep(self) -> list[TrialRecord]:
        """The trials that this sweep's runs measured."""
        return [record for record in self.records if record.spec.sweep_id == self.plan.id]

    @property
    def n_done(self) -> int:
        """Executions of the plan that are in the data set."""
        return sum(len(part.done) for part in self.parts)

    def n_failed(self) -> Counter[str]:
        """The failed ones among the executions that are in the data set, by kind of error."""
        return failures(execution for part in self.parts for execution in part.done)

    def _missing(self) -> list[TrialSpec]:
        """The missing trials of all kinds of machine."""
        return [spec for part in self.parts for spec in part.missing]

    def _unproposed_trials(self) -> Counter[int]:
        """Trials that a sampler which learns may still propose, by place of the setup."""
        trials: Counter[int] = Counter()
        for part in self.parts:
            for place, n_configurations in part.left(self.plan).items():
                trials[place] += n_configurations * self.plan.repeats
        return trials

    def n_missing(self) -> int:
        """Executions that are to be run now."""
        planned = sum(len(spec.prompts) for spec in self._missing())
        unproposed = 0
        for place, n_trials in self._unproposed_trials().items():
            unproposed += n_trials * len(self.plan.prompts(self.plan.setups[place].use_case))
        return planned + unproposed

    def n_missing_trials(self) -> int:
        """Trials that are to be run now."""
        return len(self._missing()) + self._unproposed_trials().total()

    def token_bounds(self) -> dict[LoadKey, int]:
        """The most new tokens that what is missing can give, about, by model and variant."""
        # trials name their models by label
        models = {model.label: model for model in self.resolved.models}
        bounds = dict.fromkeys(self.plan.load_keys(), 0)
        for spec in self._missing():
            numbers = tuple(prompt.number for prompt in spec.prompts)
            bound = trial_bound(spec, numbers, models[spec.setup.model])
            bounds[spec.setup.load_key()] += bound
        for place, n_trials in self._unproposed_trials().items():
            setup = self.plan.setups[place]
            bound = unasked_bound(self.plan, setup, models[setup.model], n_trials)
            bounds[setup.load_key()] += bound
        return bounds

    def token_bound(self) -> int:
        """The most new tokens that what is missing can give, about."""
        return sum(self.token_bounds().values())

    def prompt_bound(self, spec: TrialSpec, number: int) -> int:
        """The most new tokens of one prompt of a trial, about.

        `number`: the prompt's, from 1.
        """
        labels = {model.label: model for model in self.resolved.models}
        return trial_bound(spec, (number,), labels[spec.setup.model])


def prepare(resolved: Resolved, plan: SweepPlan, rerun: tuple[str, ...] = ()) -> Prepared:
    """Find what is missing of a plan. Reads only.

    `rerun`: names from remaining.RERUN of finished executions that are to be run once more.

    Raises UserError where a plan or trial can't be read, or the weights aren't those of the sweep.
    """
    paths = DataSetPaths(resolved.request.out)
    before = read_plan(paths.sweep(plan.id)) if paths.sweep(plan.id).exists() else None
    # weights of two revisions must not mix in one sweep
    if before:
        check_same_weights(before, plan)
    # prompts of an unfinished trial are not measured again
    trials, faults = read_all(paths, unfinished=True)
    # what such a folder holds is unknown: it might be measured a second time
    if faults:
        remedy = "can't be read as a trial; restore it or move it out of the data set"
        raise UserError(*(f"{paths.root}/{fault}: {remedy}" for fault in faults))
    check_trials_weights(plan, trials)
    # a sweep that is resumed has its note from its first run
    beside = [] if before else neighbours(plan, paths)
    return Prepared(
        resolved=resolved,
        plan=plan,
        paths=paths,
        trials=trials,
        parts=[_part(resolved, plan, trials, machine, rerun) for machine in plan.kinds()],
        before=before,
        notes=(*beside, *_small_machines(plan, resolved), *_few_configurations(plan)),
    )


def _few_configurations(plan: SweepPlan) -> list[str]:
    """A note where the report will not be able to tell what a hyperparameter does."""
    n = plan.samples
    if n >= LEAST_AT_EQUAL_LENGTH:
        return []
    what = "what a hyperparameter does"
    needed = f"{LEAST_POINTS} are needed, {LEAST_AT_EQUAL_LENGTH} to tell it apart from the length"
    if n >= LEAST_POINTS:
        what = "what a hyperparameter does beside the length of the text"
        needed = f"{LEAST_AT_EQUAL_LENGTH} are needed"
    more = f"{DEFAULT_SAMPLES} tell more (--samples {DEFAULT_SAMPLES})"
    return [f"{plural(n, 'configuration')} can't tell {what}: {needed}, and {more}"]


def _small_machines(plan: SweepPlan, resolved: Resolved) -> list[str]:
    """A note for each kind of machine whose GPU doesn't hold a model."""
    what = "get no trials, since"
    if plan.each:
        what = "run it, and their rows will say so"
    return [
        f"nodes labelled {name} {what} a model doesn't fit in their GPU"
        for name in too_small(plan, resolved)
    ]


def _part(
    resolved: Resolved,
    plan: SweepPlan,
    trials: Trials,
    machine: str | None,
    rerun: tuple[str, ...],
) -> Part:
    """What one kind of machine has done and has left to do."""
    finished = FinishedExecutions(trials, machine, rerun)
    records = of_kind(plan, trials.records(), machine)
    missing: list[TrialSpec] = []
    done: list[FinishedExecution] = []
    for spec in specs_of(plan, records):
        if resolved.shard is not None and not resolved.shard.has(spec):
            continue
        left = finished.missing(spec)
        again: set[int] = set()
        if left is not None:
            missing.append(left)
            # by --rerun a prompt may be both done and to be run
            again = {prompt.number for prompt in left.prompts}
        done += [one for one in finished.of(spec) if one.prompt_number not in again]
    return Part(
        machine=machine,
        missing=missing,
        done=done,
        proposed=proposed_of(plan, records) if plan.learns() else {},
    )
