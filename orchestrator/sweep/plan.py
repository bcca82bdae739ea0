"""The plan of a sweep: every trial that should exist, written to sweeps/<id>.json before the first one runs.

The id hashes what decides the measurements (space, seed, setups, prompts), not how many there are: a larger --samples,
--repeats or --prompts continues a sweep. Designs that can't be extended (lhs, grid) have their count in the id.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from orchestrator import __version__
from orchestrator.dataset.paths import DataSetPaths, write_atomically
from orchestrator.errors import UserError
from orchestrator.models import Model
from orchestrator.nouns import ANCHOR, Configuration, Noun, Prompt, Setup, Space, TrialSpec, UseCase, digest
from orchestrator.samplers import configurations
from orchestrator.samplers.quality import DesignQuality, quality
from orchestrator.sweep.request import Resolved

PLAN_VERSION = 1
ANCHOR_FROM, ANCHOR_EVERY = 10, 10
"""Anchors begin at so many configurations, and stand this far apart (METHOD R10)."""


class PlannedTrial(Noun):
    """One trial of a plan, without what the plan says once."""

    strategy: str
    model: str
    use_case: str
    index: int
    repeat: int


class SweepPlan(Noun):
    """sweeps/<id>.json."""

    plan_version: int
    id: str
    space: Space
    strategy: str
    seed: int
    samples: int
    """Configurations a model and use case: of the design, or Optuna's budget."""
    repeats: int
    n_prompts: int | None
    """The first so many prompts of each use case; None: all."""
    order: Literal["shuffled", "design"]
    machine: str | None
    """None: whatever node a trial runs on."""
    models: dict[str, str]
    """Label -> what stands after --model."""
    use_cases: tuple[UseCase, ...]
    setups: tuple[Setup, ...]
    """One a model and use case."""
    points: tuple[Configuration, ...]
    """The design; empty for Optuna, whose configurations are asked for as the sweep goes."""
    anchor: Configuration | None
    quality: DesignQuality | None
    trials: tuple[PlannedTrial, ...]
    """In the order of execution. Optuna's are asked for later."""
    written_by: str
    created_at: str

    def prompts(self, use_case: str) -> tuple[Prompt, ...]:
        """The prompts of a use case that this plan runs."""
        texts = next(u.prompts for u in self.use_cases if u.name == use_case)
        return tuple(Prompt(number=i, text=text) for i, text in enumerate(texts[: self.n_prompts], start=1))

    def setup(self, model: str, use_case: str) -> Setup:
        """The setup of a model and use case."""
        return next(s for s in self.setups if s.model == model and s.use_case == use_case)

    def spec(self, trial: PlannedTrial, order_index: int, asked: Configuration | None = None) -> TrialSpec:
        """A planned trial in full; `asked` for configurations that are not in the design."""
        if asked is None:
            asked = self.anchor if trial.strategy == ANCHOR else self.points[trial.index]
        assert asked is not None  # noqa: S101 - only plans with an anchor hold anchor trials
        return TrialSpec(
            sweep_id=self.id,
            strategy=trial.strategy,
            index=trial.index,
            repeat=trial.repeat,
            order_index=order_index,
            asked=asked,
            setup=self.setup(trial.model, trial.use_case),
            prompts=self.prompts(trial.use_case),
            model_ref=self.models[trial.model],
        )

    def specs(self) -> Iterator[TrialSpec]:
        """All planned trials in the order of execution."""
        for order_index, trial in enumerate(self.trials):
            yield self.spec(trial, order_index)

    def learns(self) -> bool:
        """Whether configurations are asked for as results come in."""
        return not self.points

    def n_trials(self) -> int:
        """Trials in all, those that a learning sampler has yet to ask for included."""
        return len(self.setups) * self.samples * self.repeats if self.learns() else len(self.trials)

    def n_executions(self) -> int:
        """Executions in all."""
        if self.learns():
            return sum(len(self.prompts(s.use_case)) for s in self.setups) * self.samples * self.repeats
        return sum(len(self.prompts(trial.use_case)) for trial in self.trials)


def make_plan(resolved: Resolved, revisions: dict[str, str]) -> SweepPlan:
    """Draw the design and list the trials. `revisions`: model label -> revision of its weights."""
    request, space = resolved.request, resolved.space
    setups = tuple(
        _setup(resolved, model, use_case, revisions[model.label]) for model in resolved.models for use_case in resolved.use_cases
    )
    learns = resolved.sampler.design is None
    points = [] if learns else configurations(space, resolved.samples, request.seed, str(resolved.space_file))
    anchor = None
    if len(points) >= ANCHOR_FROM:
        anchor = Configuration.at(space, [0.5] * 4)
    contexts = [m.architecture.max_position_embeddings for m in resolved.models if m.architecture and not request.beyond_context]
    plan = SweepPlan(
        plan_version=PLAN_VERSION,
        id=_sweep_id(resolved, setups),
        space=space,
        strategy=resolved.sampler.folder,
        seed=request.seed,
        samples=len(points) or resolved.samples,
        repeats=request.repeats,
        n_prompts=resolved.n_prompts,
        order="shuffled" if request.order == "shuffled" else "design",
        machine=resolved.machine.name if resolved.machine_fixed else None,
        models={model.label: model.ref for model in resolved.models},
        use_cases=resolved.use_cases,
        setups=setups,
        points=tuple(points),
        anchor=anchor,
        quality=quality(space, points, min(contexts, default=None)) if points else None,
        trials=(),
        written_by=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return plan.model_copy(update={"trials": tuple(_trials(plan))})


def _setup(resolved: Resolved, model: Model, use_case: UseCase, revision: str) -> Setup:
    request = resolved.request
    return Setup(
        seed=request.seed,
        model=model.label,
        revision=revision,
        engine=request.engine,
        quantization=resolved.quantization,
        compute_dtype=request.dtype,
        chat_template="off" if request.chat_template == "off" else "auto",
        length_mode="fixed" if request.fixed_length else "natural",
        beyond_context=request.beyond_context,
        use_case=use_case.name,
        prompts_sha256=hashlib.sha256("\0".join(use_case.prompts).encode()).hexdigest(),
    )


def _sweep_id(resolved: Resolved, setups: tuple[Setup, ...]) -> str:
    """Without the weights' revision: one that changed between two runs is refused, not taken for another sweep."""
    parts = [
        resolved.space.model_dump(exclude={"name"}),
        resolved.request.seed,
        [setup.model_dump(exclude={"revision"}) for setup in setups],
        [model.ref if model.kind != "local" else model.label for model in resolved.models],
        [use_case.model_dump(exclude={"description"}) for use_case in resolved.use_cases],
        None if resolved.sampler.extensible else resolved.samples,
    ]
    return f"{resolved.space.sampler}-{digest(parts)}"


def _trials(plan: SweepPlan) -> list[PlannedTrial]:
    """Trials in order: a block a model (its weights are loaded once), shuffled inside it, anchors spread over it.

    The shuffle sorts by hash, so that a larger sweep keeps the order of the smaller one.
    """
    blocks: dict[str, list[PlannedTrial]] = defaultdict(list)
    for setup in plan.setups:
        blocks[setup.model] += [
            PlannedTrial(strategy=plan.strategy, model=setup.model, use_case=setup.use_case, index=index, repeat=repeat)
            for repeat in range(1, plan.repeats + 1)
            for index in range(len(plan.points))
        ]
    ordered = []
    for model, block in blocks.items():
        if plan.order == "shuffled":
            block.sort(key=lambda t: digest([plan.id, plan.seed, t.use_case, t.index, t.repeat]))
        ordered += _with_anchors(plan, model, block)
    return ordered


def _with_anchors(plan: SweepPlan, model: str, block: list[PlannedTrial]) -> list[PlannedTrial]:
    """Anchor trials (first use case) at the start, the end and every tenth configuration between."""
    if plan.anchor is None or not block:
        return block
    count = len(plan.points) // ANCHOR_EVERY + 1
    result = list(block)
    for number in reversed(range(count)):
        place = round(number * len(block) / (count - 1))
        anchor = PlannedTrial(strategy=ANCHOR, model=model, use_case=plan.use_cases[0].name, index=0, repeat=number + 1)
        result.insert(place, anchor)
    return result


def _seal(plan: SweepPlan) -> str:
    return digest(plan.model_dump(mode="json"), 64)


def write_plan(plan: SweepPlan, path: Path) -> None:
    """Write the plan with a hash of its content."""
    content = {"sha256": _seal(plan), "plan": plan.model_dump(mode="json")}
    write_atomically(path, json.dumps(content, indent=1).encode())


def read_plan(path: Path) -> SweepPlan:
    """A plan as it was written. Raises UserError where it was edited or isn't one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        plan = SweepPlan.model_validate(content["plan"])
        whole = content["sha256"] == _seal(plan)
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise UserError(f"{path}: not a sweep's plan any more (edited by hand?); move it away to plan the sweep anew") from error
    if not whole:
        raise UserError(f"{path}: was edited by hand (its hash differs); restore it, or move it away to plan the sweep anew")
    return plan


def begun_setups(resolved: Resolved) -> tuple[Setup, ...]:
    """The setups of a sweep that was begun, () where it wasn't. Raises UserError for an impossible design or an edited plan."""
    plan = make_plan(resolved, {model.label: "" for model in resolved.models})
    path = DataSetPaths(resolved.request.out).sweep(plan.id)
    return read_plan(path).setups if path.exists() else ()


def check_same_weights(old: SweepPlan, new: SweepPlan) -> None:
    """Refuse to mix weights in one sweep. Raises UserError naming both revisions."""
    before = {s.model: s.revision for s in old.setups}
    for setup in new.setups:
        if before.get(setup.model, setup.revision) != setup.revision:
            raise UserError(
                f"sweep {new.id} was begun with {setup.model} {before[setup.model]} and would go on with {setup.revision}; "
                "stage the first weights again, or start a new data set with --out"
            )
