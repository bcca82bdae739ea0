"""Repeat a sweep from its plan alone, such as that of a published data set.

The plan says everything that decides the measurements: configurations, prompts with their texts,
seeds, setups with the weights' revisions, repeats, anchors, order. None of it is made anew here, so
the trials have the same hashes. Only where they run is of this machine, and each row records that.
What can't be the same here is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from orchestrator import __version__
from orchestrator.dataset.sweep_plan import SweepPlan, read_plan
from orchestrator.engine import ENGINES, flag_of
from orchestrator.errors import UserError
from orchestrator.models import Model, exact_ref, parse_model
from orchestrator.nouns import ANY_QUANTIZATION, DTYPES, Setup, text_sha256
from orchestrator.samplers import sampler_of
from orchestrator.sweep.planning import check_same_weights
from orchestrator.sweep.request import (
    Place,
    Request,
    Resolved,
    cautions,
    check_shard,
    option_faults,
    parallel_of,
    place_of,
)
from orchestrator.yaml_files import nearest

ANOTHER_COPY = "take an unchanged copy of the data set"
UPDATE = "update llm-energy-orchestrator"
THE_PLANS_WEIGHTS = (
    "a repetition needs the plan's own weights; others are another sweep (without --plan)"
)


def repeated(
    request: Request, file: Path, gpu_names: list[str], cluster_machines: tuple[str, ...] = ()
) -> tuple[Resolved, SweepPlan]:
    """The sweep of a plan's file as it runs here; other arguments as of `resolve_request`.

    Raises UserError for what doesn't fit.
    """
    source = _at_places(read_plan(file, ANOTHER_COPY), request, file)
    place = place_of(request, gpu_names, cluster_machines)
    lines = [*_changed_texts(source), *_unknown_setups(source)]
    if not lines:
        lines = _faulty_options(request, source, gpu_names)
    if lines:
        raise UserError(*(f"--plan {file}: {line}" for line in dict.fromkeys(lines)))
    models = _models(request, file, source)
    resolved = _resolved(request, file, source, place=place, models=models, gpu_names=gpu_names)
    check_shard(place.shard, resolved.sampler, source.space, source.samples)
    plan = source.model_copy(
        update={
            "machine": place.machine.name if place.machine_fixed else None,
            "each": place.each,
            "models": {model.label: model.ref for model in models},
            "written_by": __version__,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    return resolved, plan


def _at_places(plan: SweepPlan, request: Request, file: Path) -> SweepPlan:
    """The plan with the addresses that the request gives, such as that of this host's server.

    Raises UserError for an address that no engine of the plan takes.
    """
    given = request.engine_options
    taken = {name for setup in plan.setups for name in _option_names(setup)}
    unused = [flag_of(name) for name in given if name not in taken]
    if unused:
        raise UserError(
            f"--plan {file}: none of its engines takes {', '.join(unused)}; leave it out"
        )
    setups = []
    for setup in plan.setups:
        here = {name: value for name, value in given.items() if name in _option_names(setup)}
        setups.append(setup.model_copy(update={"engine_options": setup.engine_options | here}))
    return plan.model_copy(update={"setups": tuple(setups)})


def check_repetition(resolved: Resolved, plan: SweepPlan) -> None:
    """Raise UserError where a repetition would run with other weights than its plan.

    `plan`: with the revisions, and the files' hashes, of the weights that are here.
    """
    if resolved.repeats is not None:
        check_same_weights(resolved.repeats, plan, THE_PLANS_WEIGHTS)


def _changed_texts(plan: SweepPlan) -> Iterator[str]:
    """A sentence for each use case whose prompts aren't those of the plan's setups."""
    sha256 = {case.name: text_sha256("\0".join(case.prompts)) for case in plan.use_cases}
    for setup in plan.setups:
        if sha256[setup.use_case] != setup.prompts_sha256:
            yield (
                f"the prompts of {setup.use_case} are not the ones that were planned (their hash "
                f"differs); {ANOTHER_COPY}"
            )


def _unknown_setups(plan: SweepPlan) -> Iterator[str]:
    """A sentence for each part of a setup that this version doesn't have, or means otherwise."""
    for setup in plan.setups:
        kind, quantization = ENGINES.get(setup.engine), setup.quantization
        if kind is None:
            known = nearest(setup.engine, list(ENGINES))
            yield f"there is no engine {setup.engine!r} here: {known}; {UPDATE}"
        elif (
            ANY_QUANTIZATION.get(quantization.name) != quantization
            or quantization.name not in kind.quantizations
        ):
            name = quantization.name
            yield f"this version's {setup.engine} engine has no {name} as it was planned; {UPDATE}"
        if setup.compute_dtype not in DTYPES:
            yield f"there is no dtype {setup.compute_dtype!r} here; {UPDATE}"


def _faulty_options(request: Request, plan: SweepPlan, gpu_names: list[str]) -> list[str]:
    """A sentence for each option of an engine that this version, or this machine, can't meet."""
    lines = []
    for setup in plan.setups:
        asked = replace(request, engine_options=dict(setup.engine_options))
        lines += option_faults(asked, setup.engine, gpu_names)
    return lines


def _option_names(setup: Setup) -> Collection[str]:
    """What the options of a setup's engine are called; none of an engine that isn't known here."""
    kind = ENGINES.get(setup.engine)
    return () if kind is None else kind.options.model_fields


def _engine_options(plan: SweepPlan) -> dict[str, dict[str, object]]:
    """Engine -> its options in the plan: the same ones in all setups of an engine."""
    return {setup.engine: dict(setup.engine_options) for setup in plan.setups}


def _models(request: Request, file: Path, plan: SweepPlan) -> list[Model]:
    """The plan's models, each bound to the revision that was planned.

    --model says where one is on this machine: a folder of another path. Raises UserError.
    """
    here: dict[str, Model] = {}
    for ref in request.models:
        model = parse_model(ref)
        if model.label not in plan.models or model.kind != "local":
            raise UserError(
                f"--model {ref}: beside --plan it says where the folder of one of its models is "
                f"now, under its own name: {', '.join(plan.models)}"
            )
        here[model.label] = model
    first = {setup.model: setup for setup in reversed(plan.setups)}
    return [
        here.get(label) or _exact_model(file, label, ref, first[label])
        for label, ref in plan.models.items()
        if label in first
    ]


def _exact_model(file: Path, label: str, ref: str, setup: Setup) -> Model:
    """The model of a plan's reference, in the revision of its setup. Raises UserError."""
    try:
        model = _model_of(label, ref, setup)
    except UserError as error:
        lines = (
            f"--plan {file}: its model {label} can't be had here: {one}" for one in error.lines
        )
        raise UserError(*lines) from error
    return replace(model, label=label)


def _model_of(label: str, ref: str, setup: Setup) -> Model:
    """The model where it is here: on the server, or in the planned revision. Raises UserError."""
    kind = ENGINES[setup.engine]
    if kind.served_models is not None:
        (served,) = kind.served_models(kind.options(**setup.engine_options), (ref,))
        if served.label != label:
            raise UserError(
                f"the server at {setup.engine_options['server_url']} has it as {served.label}, so "
                "it is one of another kind; start a server of the planned kind"
            )
        return served
    model = parse_model(ref)
    if kind.needs_weights:
        return parse_model(exact_ref(model, setup.revision))
    return model


def _resolved(
    request: Request,
    file: Path,
    plan: SweepPlan,
    *,
    place: Place,
    models: list[Model],
    gpu_names: list[str],
) -> Resolved:
    """The plan and the place together. Raises UserError for a sampler that isn't known here."""
    sampler, sampler_options = sampler_of(plan.space, file)
    engine_options = _engine_options(plan)
    variants = tuple(dict.fromkeys(setup.variant() for setup in plan.setups))
    notes = [*_differences(plan, place, learns=sampler.learns)]
    return Resolved(
        request=request,
        space=plan.space,
        space_file=file,
        sampler=sampler,
        sampler_options=sampler_options,
        engine_options=engine_options,
        models=tuple(models),
        variants=variants,
        use_cases=plan.use_cases,
        use_case_files=(file,),
        machine=place.machine,
        machine_file=place.machine_file,
        machines=place.machines,
        machine_fixed=place.machine_fixed,
        each=place.each,
        samples=plan.samples,
        n_prompts=plan.n_prompts,
        parallel=parallel_of(place, variants),
        shard=place.shard,
        notes=(*notes, *cautions(request, place.machine, gpu_names, tuple(engine_options))),
        repeats=plan,
    )


def _differences(plan: SweepPlan, place: Place, *, learns: bool) -> Iterator[str]:
    """What is not the same as it was, for a person; each row records its machine and GPU."""
    before = plan.each or ((plan.machine,) if plan.machine else ())
    if before and place.machine_fixed and before != (place.machine.name,):
        yield (
            f"the plan was made for {', '.join(before)}, this machine is {place.machine.name}: "
            "texts may differ where hardware rounds otherwise, and energies are its own"
        )
    if learns:
        yield (
            f"{plan.space.sampler} asks for its configurations as results come in: they are the "
            "plan's only as far as the results are"
        )
