"""The plan of a sweep: every trial that should exist, written to sweeps/<id>.json before the first one runs.

The id hashes what decides the measurements (space, seed, setups, prompts), not how many there are: a larger --samples,
--repeats or --prompts continues a sweep. Designs that can't be extended (lhs, grid) have their count in the id.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from orchestrator import __version__
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.sweep_plan import PLAN_VERSION, PlannedTrial, SweepPlan, read_plan
from orchestrator.errors import UserError
from orchestrator.models import Model
from orchestrator.nouns import (
    ANCHOR,
    PARAMETERS,
    Configuration,
    Setup,
    UseCase,
    digest,
)
from orchestrator.samplers import configurations, sampler_of
from orchestrator.samplers.quality import quality
from orchestrator.sweep.request import Resolved

CORRELATION, CORRELATION_FROM, SALTS = 0.3, 50, 100
"""METHOD R9: bound of the rank correlation of order and parameters, from how many trials it holds, shuffles tried."""
ANCHOR_FROM, ANCHOR_EVERY = 10, 10
"""Anchors begin at so many configurations, and stand this far apart (METHOD R10)."""


def make_plan(resolved: Resolved, revisions: dict[str, str]) -> SweepPlan:
    """Draw the design and list the trials. `revisions`: model label -> revision of its weights."""
    request, space = resolved.request, resolved.space
    setups = tuple(
        _setup(resolved, model, use_case, revisions[model.label])
        for model in resolved.models
        for use_case in resolved.use_cases
    )
    learns = resolved.sampler.design is None
    points = (
        []
        if learns
        else configurations(space, resolved.samples, request.seed, str(resolved.space_file))
    )
    anchor = None
    if len(points) >= ANCHOR_FROM:
        anchor = Configuration.at(space, [0.5] * 4)
    contexts = [
        m.architecture.max_position_embeddings
        for m in resolved.models
        if m.architecture and not request.beyond_context
    ]
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
        each=resolved.each,
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
        cpu_offload=request.cpu_offload,
        use_case=use_case.name,
        prompts_sha256=hashlib.sha256("\0".join(use_case.prompts).encode()).hexdigest(),
    )


def _sweep_id(resolved: Resolved, setups: tuple[Setup, ...]) -> str:
    """Without the weights' revision: one that changed between two runs is refused, not taken for another sweep.

    Nor does it matter in which order models and use cases were named, and whether an option's default was written out.
    """
    space = resolved.space
    parts = [
        space.model_dump(exclude={"name", "options"}),
        sampler_of(space, str(resolved.space_file))[1].model_dump(),
        resolved.request.seed,
        sorted(digest(setup.model_dump(exclude={"revision"})) for setup in setups),
        sorted(model.ref if model.kind == "hub" else model.label for model in resolved.models),
        sorted(
            digest(use_case.model_dump(exclude={"description"})) for use_case in resolved.use_cases
        ),
        None if resolved.sampler.extensible else resolved.samples,
    ]
    return f"{space.sampler}-{digest(parts)}"


def _trials(plan: SweepPlan) -> list[PlannedTrial]:
    """Trials in order: a block a model (its weights are loaded once), shuffled inside it, anchors spread over it."""
    blocks: dict[str, list[PlannedTrial]] = defaultdict(list)
    for setup in plan.setups:
        blocks[setup.model] += [
            PlannedTrial(
                strategy=plan.strategy,
                model=setup.model,
                use_case=setup.use_case,
                index=index,
                repeat=repeat,
            )
            for repeat in range(1, plan.repeats + 1)
            for index in range(len(plan.points))
        ]
    ordered = []
    for model, block in blocks.items():
        ordered += _with_anchors(
            plan, model, _shuffled(plan, block) if plan.order == "shuffled" else block
        )
    return ordered


def _shuffled(plan: SweepPlan, block: list[PlannedTrial]) -> list[PlannedTrial]:
    """A block sorted by hash, so that a larger sweep keeps the order of the smaller one.

    METHOD R9: drift must not alias with a parameter, so of a block of 50 trials and more the first salt is taken whose
    order has rank correlations below 0.3; the first one nearly always has.
    """
    for salt in range(SALTS):
        parts = [plan.id, plan.seed] if salt == 0 else [plan.id, plan.seed, salt]
        order = sorted(block, key=lambda t: digest([*parts, t.use_case, t.index, t.repeat]))
        if len(block) < CORRELATION_FROM or _aliasing(plan, order) < CORRELATION:
            return order
    return order


def _aliasing(plan: SweepPlan, order: list[PlannedTrial]) -> float:
    """The largest |Spearman rank correlation| between the order of execution and a parameter that varies."""
    import numpy as np
    from scipy.stats import rankdata

    place = np.arange(len(order), dtype=float)
    largest = 0.0
    for name in PARAMETERS:
        ranks = rankdata([getattr(plan.points[trial.index], name) for trial in order])
        if ranks.std() > 0:
            largest = max(largest, abs(float(np.corrcoef(place, ranks)[0, 1])))
    return largest


def _with_anchors(plan: SweepPlan, model: str, block: list[PlannedTrial]) -> list[PlannedTrial]:
    """Anchor trials (first use case) at the start, the end and every tenth configuration between."""
    if plan.anchor is None or not block:
        return block
    count = len(plan.points) // ANCHOR_EVERY + 1
    result = list(block)
    for number in reversed(range(count)):
        place = round(number * len(block) / (count - 1))
        anchor = PlannedTrial(
            strategy=ANCHOR,
            model=model,
            use_case=plan.use_cases[0].name,
            index=0,
            repeat=number + 1,
        )
        result.insert(place, anchor)
    return result


def neighbours(plan: SweepPlan, sweeps: Path) -> list[str]:
    """A sentence for each other sweep in the data set that differs from a plan only in what a file says.

    It was edited between two runs, or the design can't grow and was asked for with another count: either way this plan is a
    new sweep beside the old one. Plans that can't be read are left out.
    """
    notes = []
    for path in sorted(sweeps.glob("[!.]*.json")):
        with contextlib.suppress(UserError, RecursionError):
            other = read_plan(path)
            if other.id != plan.id and _twins(other, plan) and (what := _differences(other, plan)):
                notes.append(
                    f"sweep {other.id} in this data set differs in {', '.join(what)}: this is a new sweep beside it"
                )
    return notes


def _twins(one: SweepPlan, other: SweepPlan) -> bool:
    """Whether two plans have the same space by name, models, use cases, seed and flags of the setup."""
    of_files = {"revision", "prompts_sha256"}
    flags = [
        {digest(setup.model_dump(exclude=of_files)) for setup in plan.setups}
        for plan in (one, other)
    ]
    return (
        one.space.name == other.space.name and one.models == other.models and flags[0] == flags[1]
    )


def _differences(old: SweepPlan, new: SweepPlan) -> list[str]:
    found = []
    for name in PARAMETERS:
        before, after = old.space.parameters[name], new.space.parameters[name]
        if before != after:
            found.append(
                f"{name} ({before.low:g}..{before.high:g} -> {after.low:g}..{after.high:g})"
            )
    if old.space.options != new.space.options or old.space.sampler != new.space.sampler:
        found.append("the sampler's options")
    prompts = {u.name: u.prompts for u in old.use_cases}
    found += [f"prompts of {u.name}" for u in new.use_cases if prompts[u.name] != u.prompts]
    if old.samples != new.samples and not found:
        found.append(f"samples ({old.samples} -> {new.samples})")
    return found


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
