"""sweeps/<id>.json: the plan of a sweep, every trial that should exist.

It is written before the first trial runs.

History of PLAN_VERSION
1  first version
2  trials have config_index for index; setups have engine_options for cpu_offload
3  trials name their setup by its place, since there may be several of a model and use case
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from orchestrator.atomic_files import write_atomically
from orchestrator.dataset.findings import Finding
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import NOT_AS_WRITTEN, read_object, reason_of
from orchestrator.dataset.upgrades import NewerVersionError, upgraded_plan
from orchestrator.errors import UserError
from orchestrator.nouns import (
    ANCHOR,
    Configuration,
    Count,
    FolderName,
    LoadKey,
    MachineName,
    MomentText,
    Noun,
    Number,
    Prompt,
    Setup,
    Space,
    TrialSpec,
    UseCase,
    Whole,
    digest,
)
from orchestrator.samplers.quality import DesignQuality

PLAN_VERSION = 3
MOST_TRIALS = 200_000
"""Over all setups and repeats: planning them takes a minute and a gigabyte."""


class PlannedTrial(Noun):
    """One trial of a plan, without what the plan says once."""

    strategy: FolderName
    setup: Count
    """Its place in the plan's setups, from 0."""
    config_index: Count
    repeat: Number


class SweepPlan(Noun):
    """sweeps/<id>.json."""

    plan_version: Number
    id: FolderName
    space: Space
    strategy: FolderName
    seed: Whole
    samples: Number
    """Configurations a setup: the design's, or the budget of one that learns."""
    repeats: Number
    n_prompts: Number | None
    """The first so many prompts of each use case; None: all."""
    order: Literal["shuffled", "design"]
    machine: MachineName | None
    """None: whatever node a trial runs on."""
    each: tuple[MachineName, ...] = ()
    """Kinds of machine of which each runs all trials; (): `machine` says it."""
    models: dict[FolderName, str]
    """Label -> what stands after --model."""
    model_sha256: dict[str, dict[str, str]] = {}
    """Label -> file -> SHA-256, as they were when the sweep was started; {}: not recorded."""
    use_cases: tuple[UseCase, ...]
    setups: tuple[Setup, ...] = Field(min_length=1)
    """One a model, variant and use case."""
    points: tuple[Configuration, ...]
    """The design; empty for a sampler that learns, which is asked as the sweep goes."""
    anchor: Configuration | None
    quality: DesignQuality | None
    trials: tuple[PlannedTrial, ...]
    """In the order of execution; those of a sampler that learns are proposed later."""
    written_by: str
    created_at: MomentText

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Refuse parts that name what the plan doesn't have: its trials couldn't be put together.

        And a plan that is larger than any that this program makes.
        """
        use_cases = {use_case.name for use_case in self.use_cases}
        for setup in self.setups:
            if setup.model not in self.models or setup.use_case not in use_cases:
                raise ValueError(f"setups: {setup.model} on {setup.use_case} is not planned")
        # two alike would share their trials' folders
        if len({setup.key() for setup in self.setups}) < len(self.setups):
            raise ValueError("setups: two are the same")
        for number, trial in enumerate(self.trials):
            if trial.setup >= len(self.setups):
                raise ValueError(f"trials.{number}: there is no setup {trial.setup}")
            if trial.strategy == ANCHOR:
                known = self.anchor is not None
            else:
                known = trial.config_index < len(self.points)
            if not known:
                raise ValueError(f"trials.{number}: its configuration is missing")
        if self.n_trials() > MOST_TRIALS * len(self.kinds()):
            raise ValueError(f"has more than {MOST_TRIALS:,} trials")
        return self

    def prompts(self, use_case: str) -> tuple[Prompt, ...]:
        """The prompts of a use case that this plan runs."""
        texts = next(u.prompts for u in self.use_cases if u.name == use_case)
        return tuple(
            Prompt(number=i, text=text) for i, text in enumerate(texts[: self.n_prompts], start=1)
        )

    def load_keys(self) -> tuple[LoadKey, ...]:
        """Each model in each variant, in the order of the setups."""
        return tuple(dict.fromkeys(setup.load_key() for setup in self.setups))

    def several_variants(self) -> bool:
        """Whether models are run in several ways."""
        return len({variant for _, variant in self.load_keys()}) > 1

    def spec(
        self, trial: PlannedTrial, order_index: int, configuration: Configuration | None = None
    ) -> TrialSpec:
        """A planned trial in full; `configuration` where it is not in the design.

        `order_index`: its place in the order of execution.
        """
        if configuration is None:
            configuration = self._configuration(trial)
        setup = self.setups[trial.setup]
        return TrialSpec(
            sweep_id=self.id,
            strategy=trial.strategy,
            config_index=trial.config_index,
            repeat=trial.repeat,
            order_index=order_index,
            configuration=configuration,
            setup=setup,
            prompts=self.prompts(setup.use_case),
            model_ref=self.models[setup.model],
        )

    def repeats_of(
        self, setup: int, config_index: int, configuration: Configuration
    ) -> Iterator[TrialSpec]:
        """The trials of a configuration that a sampler proposed for a setup, one a repeat.

        `setup`: its place in `setups`. Their place in the order is unknown until they are handed
        out.
        """
        for repeat in range(1, self.repeats + 1):
            trial = PlannedTrial(
                strategy=self.strategy,
                setup=setup,
                config_index=config_index,
                repeat=repeat,
            )
            yield self.spec(trial, 0, configuration)

    def _configuration(self, trial: PlannedTrial) -> Configuration:
        """The configuration of a planned trial. Raises ValueError where its anchor is missing."""
        if trial.strategy != ANCHOR:
            return self.points[trial.config_index]
        if self.anchor is None:
            raise ValueError(f"the plan of sweep {self.id} has an anchor trial but no anchor")
        return self.anchor

    def specs(self) -> Iterator[TrialSpec]:
        """All planned trials in the order of execution."""
        for order_index, trial in enumerate(self.trials):
            yield self.spec(trial, order_index)

    def kinds(self) -> tuple[str | None, ...]:
        """Machines that run all trials; None: on whatever machine each of them ran."""
        return self.each or (self.machine,)

    def counts_on(self, machine: str) -> bool:
        """Whether a trial that ran on this kind of machine can be one of the plan's."""
        kinds = self.kinds()
        return None in kinds or machine in kinds

    def learns(self) -> bool:
        """Whether configurations are proposed as results come in."""
        return not self.points

    def n_trials(self) -> int:
        """Trials overall, those that a learning sampler has yet to propose included."""
        trials = len(self.trials)
        if self.learns():
            trials = len(self.setups) * self.samples * self.repeats
        return trials * len(self.kinds())

    def n_executions(self) -> int:
        """Executions overall."""
        if self.learns():
            a_repeat = sum(len(self.prompts(setup.use_case)) for setup in self.setups)
            executions = a_repeat * self.samples * self.repeats
        else:
            n_prompts = [len(self.prompts(setup.use_case)) for setup in self.setups]
            executions = sum(n_prompts[trial.setup] for trial in self.trials)
        return executions * len(self.kinds())

    def with_revisions(self, revisions: Mapping[str, str]) -> SweepPlan:
        """The plan with the revision of each model's weights; it changes no trial's place."""
        setups = tuple(
            setup.model_copy(update={"revision": revisions[setup.model]}) for setup in self.setups
        )
        return self.model_copy(update={"setups": setups})

    def with_model_files(self, sha256: Mapping[str, Mapping[str, str]]) -> SweepPlan:
        """The plan with the hashes of each model's files, by its label."""
        return self.model_copy(update={"model_sha256": {k: dict(v) for k, v in sha256.items()}})


def write_plan(plan: SweepPlan, path: Path) -> None:
    """Write the plan with a hash of its content.

    The hash shows an edit by hand. Raises OSError where it can't be written.
    """
    content = {
        "sha256": digest(plan.model_dump(mode="json"), 64),
        "plan": plan.model_dump(mode="json"),
    }
    write_atomically(path, json.dumps(content, indent=1).encode())


def read_plan(path: Path, remedy: str = "move it away to plan the sweep anew") -> SweepPlan:
    """A plan as it was written, of any version up to the present one.

    `remedy`: what to do about a bad one. Raises UserError where it was edited, isn't one, or a
    newer version wrote it.
    """
    try:
        content = read_object(path)
        written = content["plan"]
        plan = SweepPlan.model_validate(upgraded_plan(path.name, written, PLAN_VERSION))
        # of the plan as it was written, before any upgrade
        whole = content["sha256"] == digest(written, 64)
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from error
    except NewerVersionError as error:
        raise UserError(f"{path.parent}/{error}") from error
    except (ValueError, *NOT_AS_WRITTEN) as error:
        why = f"not a sweep's plan any more ({reason_of(error).removeprefix(f'{path.name}: ')})"
        raise UserError(f"{path}: {why}; {remedy}") from error
    if not whole:
        why = "was edited by hand (its hash differs)"
        raise UserError(f"{path}: {why}; restore it, or {remedy}")
    return plan


def read_plans(paths: DataSetPaths) -> tuple[list[SweepPlan], list[Finding]]:
    """The plans of a data set, and those that can't be read."""
    plans, findings = [], []
    for path in paths.plans():
        where = path.relative_to(paths.root).as_posix()
        try:
            plan = read_plan(path)
        except UserError as error:
            findings.append(Finding("error", where, str(error).removeprefix(f"{path}: ")))
            continue
        plans.append(plan)
        # a plan is found by its id, so this one would never be resumed
        if path.stem != plan.id:
            findings.append(Finding("error", where, f"is the plan of {plan.id}"))
    return plans, findings
