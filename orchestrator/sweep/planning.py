"""Making the plan of a sweep: its id, its trials and their order.

The id hashes what decides the measurements (space, seed, setups, prompts), not how many there are:
a larger --samples, --repeats or --prompts extends a sweep. Designs that can't be extended (lhs,
grid) have their count in the id.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from orchestrator import __version__
from orchestrator.dataset.drift import changed_files, mixed_weights, other_weights
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.remaining import relevant
from orchestrator.dataset.sweep_plan import PLAN_VERSION, PlannedTrial, SweepPlan, read_plan
from orchestrator.dataset.tables import Trials
from orchestrator.errors import UserError
from orchestrator.models import Model
from orchestrator.nouns import (
    ANCHOR,
    PARAMETERS,
    Configuration,
    Setup,
    Space,
    UseCase,
    digest,
    text_sha256,
)
from orchestrator.samplers import drawn
from orchestrator.samplers.quality import quality
from orchestrator.sweep.request import Resolved
from orchestrator.unknowns import least_of_known

CORRELATION, CORRELATION_FROM, SALTS = 0.3, 50, 100
"""Bound of the rank correlation of order and parameters; from how many trials on; shuffles."""
ANCHOR_FROM, ANCHOR_EVERY = 10, 10
"""A design has anchors from so many configurations on; they stand this far apart."""


OTHER_WEIGHTS_REMEDY = "stage the first weights again, or start a new data set with --out"


def make_plan(resolved: Resolved) -> SweepPlan:
    """Draw the design and list the trials; the weights' revisions come later (with_revisions).

    Raises UserError for options of the sampler that can't be met.
    """
    request, space, kind = resolved.request, resolved.space, resolved.sampler
    setups = tuple(
        _setup(resolved, model, use_case)
        for model in resolved.models
        for use_case in resolved.use_cases
    )
    points = []
    if not kind.learns:
        points = drawn(
            kind,
            space,
            resolved.samples,
            seed=request.seed,
            options=resolved.sampler_options,
            where=resolved.space_file,
        )
    # anchors show drift over a long sweep; a short one would pay more for them than they tell
    anchor = Configuration.at(space, [0.5] * 4) if len(points) >= ANCHOR_FROM else None
    plan = SweepPlan(
        plan_version=PLAN_VERSION,
        id=_sweep_id(resolved, setups),
        space=space,
        strategy=kind.folder,
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
        quality=quality(space, points, _shortest_context(resolved)) if points else None,
        trials=(),
        written_by=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return plan.model_copy(update={"trials": tuple(_trials(plan))})


def _shortest_context(resolved: Resolved) -> int | None:
    """Positions of the model with the fewest; None: unknown, or texts may run past them."""
    if resolved.request.beyond_context:
        return None
    return least_of_known(model.context_length for model in resolved.models)


def _setup(resolved: Resolved, model: Model, use_case: UseCase) -> Setup:
    """What all trials of a model and a use case have in common; the revision is filled in later."""
    request = resolved.request
    return Setup(
        seed=request.seed,
        model=model.label,
        revision="",
        engine=request.engine,
        engine_options=resolved.engine_options,
        quantization=resolved.quantization,
        compute_dtype=request.dtype,
        chat_template="off" if request.chat_template == "off" else "auto",
        length_mode="fixed" if request.fixed_length else "natural",
        length_of="new tokens" if request.max_new_tokens else "text",
        beyond_context=request.beyond_context,
        use_case=use_case.name,
        prompts_sha256=text_sha256("\0".join(use_case.prompts)),
    )


def _without(setup: Setup, *fields: str) -> dict[str, Any]:
    """What enters hashes of a setup, but for some fields."""
    return {name: value for name, value in setup.hashed().items() if name not in fields}


def _sweep_id(resolved: Resolved, setups: tuple[Setup, ...]) -> str:
    """Hash of what decides the measurements.

    Without the weights' revision: one that changed between two runs is refused, not taken for
    another sweep. Nor does it matter in which order models and use cases were named, and whether
    an option's default was written out.
    """
    space = resolved.space
    models = [model.ref if model.kind == "hub" else model.label for model in resolved.models]
    parts = [
        space.model_dump(exclude={"name", "options"}),
        resolved.sampler_options.model_dump(),
        resolved.request.seed,
        sorted(digest(_without(setup, "revision")) for setup in setups),
        sorted(models),
        sorted(digest(case.model_dump(exclude={"description"})) for case in resolved.use_cases),
        None if resolved.sampler.extensible else resolved.samples,
    ]
    return f"{space.sampler}-{digest(parts)}"


def _trials(plan: SweepPlan) -> list[PlannedTrial]:
    """Trials in their order: a block a model, shuffled inside it, anchors spread over it.

    Blocks let the weights of each model be loaded once.
    """
    blocks: dict[str, list[PlannedTrial]] = defaultdict(list)
    for setup in plan.setups:
        for repeat in range(1, plan.repeats + 1):
            for index in range(len(plan.points)):
                trial = PlannedTrial(
                    strategy=plan.strategy,
                    model=setup.model,
                    use_case=setup.use_case,
                    config_index=index,
                    repeat=repeat,
                )
                blocks[setup.model].append(trial)
    ordered = []
    for model, block in blocks.items():
        if plan.order == "shuffled":
            block = _shuffled(plan, block)  # noqa: PLW2901 - the same trials
        ordered += _with_anchors(plan, model, block)
    return ordered


def _shuffled(plan: SweepPlan, block: list[PlannedTrial]) -> list[PlannedTrial]:
    """A block sorted by hash, so that a larger sweep keeps the order of the smaller one.

    Drift must not look like the effect of a parameter. So of a block of 50 trials and more the
    first salt is taken whose order has rank correlations below 0.3; the first one nearly always
    has.
    """
    for salt in range(SALTS):
        parts = [plan.id, plan.seed] if salt == 0 else [plan.id, plan.seed, salt]
        order = sorted(block, key=lambda t: digest([*parts, t.use_case, t.config_index, t.repeat]))
        if len(block) < CORRELATION_FROM or _aliasing(plan, order) < CORRELATION:
            return order
    return order


def _aliasing(plan: SweepPlan, order: list[PlannedTrial]) -> float:
    """The largest absolute Spearman correlation of the order and a parameter that varies."""
    import numpy as np
    from scipy.stats import rankdata

    place = np.arange(len(order), dtype=float)
    largest = 0.0
    for name in PARAMETERS:
        ranks = rankdata([getattr(plan.points[trial.config_index], name) for trial in order])
        # a parameter of one value correlates with nothing
        if ranks.std() > 0:
            largest = max(largest, abs(float(np.corrcoef(place, ranks)[0, 1])))
    return largest


def _with_anchors(plan: SweepPlan, model: str, block: list[PlannedTrial]) -> list[PlannedTrial]:
    """A block with anchor trials (on the first use case) at its start, its end and between.

    There is one more than tenths of the configurations, equally far apart.
    """
    if plan.anchor is None or not block:
        return block
    count = len(plan.points) // ANCHOR_EVERY + 1
    result = list(block)
    # from the end on: what is inserted moves no place that comes later
    for number in reversed(range(count)):
        place = round(number * len(block) / (count - 1))
        anchor = PlannedTrial(
            strategy=ANCHOR,
            model=model,
            use_case=plan.use_cases[0].name,
            config_index=0,
            repeat=number + 1,
        )
        result.insert(place, anchor)
    return result


def neighbours(plan: SweepPlan, paths: DataSetPaths) -> list[str]:
    """A sentence for each other sweep in the data set that differs only in what a file says.

    A file was edited between two runs, or the design can't grow and was asked for with another
    count: either way this plan is a new sweep beside the old one. Plans that can't be read are
    left out.
    """
    notes = []
    for path in paths.plans():
        # a broken plan is told by `validate`; it must not keep another sweep from starting
        with contextlib.suppress(UserError, RecursionError):
            other = read_plan(path)
            if other.id == plan.id or not _same_request(other, plan):
                continue
            differences = _differences(other, plan)
            if differences:
                notes.append(
                    f"sweep {other.id} in this data set differs in {', '.join(differences)}: "
                    "this is a new sweep beside it"
                )
    return notes


def _same_request(one: SweepPlan, other: SweepPlan) -> bool:
    """Whether two plans have the same space by name, models, use cases, seed and flags."""
    return _request_of(one) == _request_of(other)


def _request_of(plan: SweepPlan) -> tuple[Any, ...]:
    """What the command line said: names and flags, but not what the named files hold."""
    flags = {digest(_without(setup, "revision", "prompts_sha256")) for setup in plan.setups}
    return plan.space.name, plan.models, flags


def _differences(old: SweepPlan, new: SweepPlan) -> list[str]:
    """What the files say differently, each for a person; else the counts of configurations."""
    lines = _changed_ranges(old.space, new.space)
    if (old.space.options, old.space.sampler) != (new.space.options, new.space.sampler):
        lines.append("the sampler's options")
    prompts = {use_case.name: use_case.prompts for use_case in old.use_cases}
    changed = [case.name for case in new.use_cases if prompts[case.name] != case.prompts]
    lines += [f"prompts of {name}" for name in changed]
    # with other differences the count says nothing of why the sweep is new
    if old.samples != new.samples and not lines:
        lines.append(f"samples ({old.samples} -> {new.samples})")
    return lines


def _changed_ranges(old: Space, new: Space) -> list[str]:
    """Each parameter that has another range, with both."""
    lines = []
    for name in PARAMETERS:
        before, after = old.parameters[name], new.parameters[name]
        if before != after:
            ranges = f"{before.low:g}..{before.high:g} -> {after.low:g}..{after.high:g}"
            lines.append(f"{name} ({ranges})")
    return lines


def check_same_weights(old: SweepPlan, new: SweepPlan) -> None:
    """Refuse to mix weights in one sweep. Raises UserError naming both revisions.

    `old`: the plan in the data set. `new`: the one that is to run. A model that only one of them
    has is no fault.
    """
    before = {setup.model: setup.revision for setup in old.setups}
    for setup in new.setups:
        model = setup.model
        files = old.model_sha256.get(model, {}), new.model_sha256.get(model, {})
        revision = before.get(model, setup.revision)
        if revision != setup.revision:
            changes = changed_files(*files)
            which = f" ({'; '.join(changes)})" if changes else ""
            raise UserError(
                f"sweep {new.id} was started with {model} {revision} and would go on with "
                f"{setup.revision}{which}; {OTHER_WEIGHTS_REMEDY}"
            )
        if changes := other_weights(*files):
            raise UserError(
                f"sweep {new.id} was started with other weights of {model}: {'; '.join(changes)}; "
                f"{OTHER_WEIGHTS_REMEDY}"
            )


def check_trials_weights(plan: SweepPlan, trials: Trials) -> None:
    """Refuse to add to trials that other weights measured. Raises UserError naming the files."""
    changes = mixed_weights(plan.model_sha256, relevant(plan, trials.records()))
    if changes:
        raise UserError(
            f"sweep {plan.id}: trials that count for it were measured with other weights: "
            f"{'; '.join(changes)}; {OTHER_WEIGHTS_REMEDY}"
        )
