"""Making the plan of a sweep: its id, its trials and their order.

The id hashes what decides the measurements (space, seed, setups, prompts), not how many there are:
a larger --samples, --repeats or --prompts extends a sweep. Designs that can't be extended (lhs,
grid) have their count in the id.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from datetime import UTC, datetime
from functools import partial
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
    Variant,
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
ROUNDS = (1, -1, -1, 1)
"""Rounds of a sweep that crosses variants: 1 goes through them in their order, -1 back."""

OTHER_WEIGHTS_REMEDY = "stage the first weights again, or start a new data set with --out"


def make_plan(resolved: Resolved) -> SweepPlan:
    """Draw the design and list the trials; the weights' revisions come later (with_revisions).

    Raises UserError for options of the sampler that can't be met.
    """
    request, space, kind = resolved.request, resolved.space, resolved.sampler
    setups = tuple(
        _setup(resolved, model, variant, use_case)
        for model in resolved.models
        for variant in resolved.variants
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
        space=space.model_copy(update={"setups": ()}),  # as it is written
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


def _setup(resolved: Resolved, model: Model, variant: Variant, use_case: UseCase) -> Setup:
    """What trials of a model, a variant and a use case share; the revision is filled in later."""
    request = resolved.request
    return Setup(
        seed=request.seed,
        model=model.label,
        revision="",
        **dict(variant),
        engine_options=resolved.engine_options[variant.engine],
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
    another sweep. Nor does it matter in which order models, variants and use cases were named, and
    whether an option's default was written out.
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
    """Trials in their order: a block a model, and in it the variants in turns (`_in_rounds`).

    Trials of a variant are shuffled, in the same way for each, with anchors spread over them.
    """
    blocks: dict[str, dict[Variant, list[PlannedTrial]]] = defaultdict(lambda: defaultdict(list))
    for place, setup in enumerate(plan.setups):
        for repeat in range(1, plan.repeats + 1):
            for index in range(len(plan.points)):
                trial = PlannedTrial(
                    strategy=plan.strategy, setup=place, config_index=index, repeat=repeat
                )
                blocks[setup.model][setup.variant()].append(trial)
    ordered = []
    for of_model in blocks.values():
        of_variants = []
        for trials in of_model.values():
            block = trials
            if plan.order == "shuffled":
                block = _shuffled(plan, trials)
            of_variants.append(_with_anchors(plan, block))
        if plan.order == "shuffled" and len(of_variants) > 1:
            of_variants = _in_rounds(of_variants)
        ordered += [trial for block in of_variants for trial in block]
    return ordered


def _in_rounds(of_variants: list[list[PlannedTrial]]) -> list[list[PlannedTrial]]:
    """The trials of several variants as blocks, each variant's cut into one block a round.

    One block a variant would be loaded once, and what drifts over the hours would look like the
    effect of a variant. In rounds there and back (A B, B A, B A, A B) a drift that is linear in the
    number of trials moves no mean, and no variant is always first. Blocks that meet are loaded
    once, and each variant is still loaded at least three times, so a run can tell sessions' scatter
    from a variant's effect. A round has the same trials of each variant: what is compared was
    measured as near in time as blocks allow.
    """
    blocks = []
    for number, step in enumerate(ROUNDS):
        for trials in of_variants[::step]:
            # rounded down: rounds there and rounds back then differ by one trial at most
            ends = [place * len(trials) // len(ROUNDS) for place in (number, number + 1)]
            blocks.append(trials[slice(*ends)])
    return blocks


def _shuffled(plan: SweepPlan, block: list[PlannedTrial]) -> list[PlannedTrial]:
    """A block sorted by hash, so that a larger sweep keeps the order of the smaller one.

    Drift must not look like the effect of a parameter. So of a block of 50 trials and more the
    first salt is taken whose order has rank correlations below 0.3; the first one nearly always
    has.
    """
    for salt in range(SALTS):
        parts = [plan.id, plan.seed] if salt == 0 else [plan.id, plan.seed, salt]
        order = sorted(block, key=partial(_order_key, plan, parts))
        if len(block) < CORRELATION_FROM or _aliasing(plan, order) < CORRELATION:
            return order
    return order


def _order_key(plan: SweepPlan, salts: list[Any], trial: PlannedTrial) -> str:
    """What trials are sorted by: without the variant, so that each variant has the same order."""
    use_case = plan.setups[trial.setup].use_case
    return digest([*salts, use_case, trial.config_index, trial.repeat])


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


def _with_anchors(plan: SweepPlan, block: list[PlannedTrial]) -> list[PlannedTrial]:
    """A model's trials in one variant, with anchor trials at their start, end and between.

    Anchors are on the first use case. There is one more than tenths of the configurations, equally
    far apart.
    """
    if plan.anchor is None or not block:
        return block
    load_key, use_case = plan.setups[block[0].setup].load_key(), plan.use_cases[0].name
    keys = [setup.key() for setup in plan.setups]
    place_of_setup = keys.index((*load_key, use_case))
    count = len(plan.points) // ANCHOR_EVERY + 1
    result = list(block)
    # from the end on: what is inserted moves no place that comes later
    for number in reversed(range(count)):
        place = round(number * len(block) / (count - 1))
        anchor = PlannedTrial(
            strategy=ANCHOR, setup=place_of_setup, config_index=0, repeat=number + 1
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


def check_same_weights(old: SweepPlan, new: SweepPlan, remedy: str = OTHER_WEIGHTS_REMEDY) -> None:
    """Refuse to mix weights in one sweep. Raises UserError naming both revisions.

    `old`: the plan in the data set. `new`: the one that is to run. A model that only one of them
    has is no fault. `remedy`: what to do.
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
                f"{setup.revision}{which}; {remedy}"
            )
        if changes := other_weights(*files):
            raise UserError(
                f"sweep {new.id} was started with other weights of {model}: {'; '.join(changes)}; "
                f"{remedy}"
            )


def check_trials_weights(plan: SweepPlan, trials: Trials) -> None:
    """Refuse to add to trials that other weights measured. Raises UserError naming the files."""
    changes = mixed_weights(plan.model_sha256, relevant(plan, trials.records()))
    if changes:
        raise UserError(
            f"sweep {plan.id}: trials that count for it were measured with other weights: "
            f"{'; '.join(changes)}; {OTHER_WEIGHTS_REMEDY}"
        )
