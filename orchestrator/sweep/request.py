"""What a user requested on the command line, and the defaults that fill it in.

Precedence: a flag, then the machine's profile (clusters/*.yaml), then the general default. Every
reduction by a profile is told with the flag that lifts it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.dataset.sweep_plan import MOST_TRIALS, SweepPlan
from orchestrator.engine import ENGINES, flag_of
from orchestrator.errors import UserError
from orchestrator.machine_files import country, detect, read_machine
from orchestrator.models import Model, parse_model
from orchestrator.nouns import (
    ANCHOR,
    DOMAIN,
    MOST_IN_A_BATCH,
    PARAMETERS,
    PLACES,
    Dtype,
    Machine,
    Noun,
    Profile,
    SetupEntry,
    Space,
    TrialSpec,
    UseCase,
    Variant,
)
from orchestrator.samplers import SamplerKind, sampler_of
from orchestrator.sweep.variants import variants_of
from orchestrator.units import plural
from orchestrator.yaml_files import faults as lines_of
from orchestrator.yaml_files import names, nearest, printable, read, short

T = TypeVar("T")

DEFAULT_SAMPLES = 20
MOST_SAMPLES = 20_000
"""More is a mistake: at a minute a trial it is a fortnight on one GPU."""
GPU_MODEL, CPU_MODEL = "llama2", "smollm2"
ANY, EACH = "any", "each"
"""--machine for a cluster: a trial runs on whichever is free, or every kind runs all of them."""
SEPARATE_RUNS = "run them into different --out folders"
RENAME = "rename one in its file"
"""What to do about two models, or two use cases, that would share a folder."""


BESIDE_A_PLAN = (
    *("plan", "models", "machine", "country", "parallel", "isolation", "shard", "out", "address"),
)
"""Fields of a request that may stand beside a plan: where it runs, and where its weights are."""
ONE_OF_MANY = {
    "models": "--model",
    "quantizations": "--quantization",
    "engines": "--engine",
    "dtypes": "--dtype",
    "batch_sizes": "--batch-size",
    "use_cases": "--use-case",
    "ranges": "--range",
}
"""Field -> its flag, which is given once for each value."""


@dataclass(frozen=True)
class Request:
    """What is asked of `tune` and `plan`, by flags or from Python; None: not given.

    `request_of` makes one of what a user gave.
    """

    space: str | None = None
    """Name or file of a search space; None: `plan` says it."""
    plan: Path | None = None
    """The plan of a sweep that is repeated (repeating.py)."""
    samples: int | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    repeats: int = 1
    models: tuple[str, ...] = ()
    quantizations: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    dtypes: tuple[Dtype, ...] = ()
    batch_sizes: tuple[Annotated[int, Field(ge=1, le=MOST_IN_A_BATCH)], ...] = ()
    chat_template: Literal["auto", "off"] = "auto"
    fixed_length: bool = False
    max_new_tokens: bool = False
    beyond_context: bool = False
    engine_options: dict[str, Any] = field(default_factory=dict)
    """Options of engines, those that were given."""
    use_cases: tuple[str, ...] = ()
    prompts: int | None = None
    ranges: tuple[str, ...] = ()
    machine: str | None = None
    country: str | None = None
    parallel: int | None = None
    isolation: Literal["gpu", "host"] | None = None
    order: Literal["shuffled", "design"] = "shuffled"
    shard: str | None = None
    out: Path = Path("measurements")
    address: str | None = None

    def axes(self) -> dict[str, tuple[Any, ...]]:
        """Axis of the variants -> the values that were given (sweep/variants.py)."""
        return {
            "quantization": self.quantizations,
            "engine": self.engines,
            "dtype": self.dtypes,
            "batch_size": self.batch_sizes,
        }


def request_of(given: Mapping[str, Any]) -> Request:
    """The request of what a user gave: names of fields -> values, without defaults.

    Raises UserError for values of another type, for neither a space nor a plan, and for what
    contradicts a plan.
    """
    try:
        request: Request = TypeAdapter(Request).validate_python(dict(given))
    except ValidationError as error:
        raise UserError(*map(_value_fault, error.errors(include_url=False))) from error
    if request.plan is not None:
        _check_beside_plan(request.plan, given)
    elif request.space is None:
        raise UserError(
            "name a search space (lhs, uniform, grid, sobol, optuna or a YAML file), or the plan "
            "of a sweep to repeat (--plan FILE)"
        )
    return request


def _check_beside_plan(plan: Path, given: Mapping[str, Any]) -> None:
    """Raise UserError for what a plan says itself: one of both would be ignored."""
    said = [_flag(name) for name in given if name not in (*BESIDE_A_PLAN, "engine_options")]
    said += [flag_of(name) for name in given.get("engine_options", {}) if name not in PLACES]
    if said:
        allowed = [_flag(name) for name in BESIDE_A_PLAN if name != "plan"]
        beside = ", ".join([*allowed, *map(flag_of, PLACES)])
        raise UserError(
            f"--plan {plan}: says itself what is run, so leave out {', '.join(said)}; beside it go "
            f"{beside}, and limits of the run"
        )


def _flag(name: str) -> str:
    """The flag of a request's field."""
    return ONE_OF_MANY.get(name, flag_of(name))


def _value_fault(item: ErrorDetails) -> str:
    """A sentence on a field's value that isn't valid."""
    valid = item["msg"].replace("Input should be", "must be")
    return f"{_flag(str(item['loc'][0]))} {printable(short(str(item['input'])))}: {valid}"


@dataclass(frozen=True)
class Resolved:
    """A request with everything read and every default filled in."""

    request: Request
    space: Space
    space_file: Path
    sampler: SamplerKind
    sampler_options: Noun
    engine_options: dict[str, dict[str, Any]]
    """Engine -> its options that are not at their default."""
    models: tuple[Model, ...]
    variants: tuple[Variant, ...]
    """How each model is run; the sweep crosses them."""
    use_cases: tuple[UseCase, ...]
    use_case_files: tuple[Path, ...]
    machine: Machine
    machine_file: Path
    machines: dict[str, Machine]
    machine_fixed: bool
    """Whether every trial runs as this machine; else each node says what it is."""
    each: tuple[str, ...]
    """Kinds of machine of a cluster of which each runs the whole plan; (): they share it."""
    samples: int
    n_prompts: int | None
    parallel: int
    shard: Shard | None
    """Which part of the plan is run; None: all of it."""
    notes: tuple[str, ...]
    """What a person should know before it starts."""
    repeats: SweepPlan | None = None
    """The plan that is repeated, as it was read; None: the sweep is planned here."""

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that run its variants, each once."""
        return tuple(self.engine_options)

    @property
    def is_served(self) -> bool:
        """Whether a server runs its models."""
        return any(ENGINES[name].served_models is not None for name in self.engines)

    @property
    def needs_weights(self) -> bool:
        """Whether the models' weights must be here before it starts: all its engines agree."""
        return any(ENGINES[name].needs_weights for name in self.engines)

    def isolation_of(self, machine: str | None) -> str:
        """What trials on a kind of machine don't share: gpu or host. None: whichever is free."""
        return self.machines.get(machine or self.machine.name, self.machine).isolation


@dataclass(frozen=True)
class Shard:
    """One of so many parts of a plan, for machines that can't reach each other.

    A trial's part follows from its configuration's number. So all models, use cases and repeats of
    a configuration are run on one machine, and a larger design leaves each where it was. Anchors
    are dealt out by their number.
    """

    number: int
    of: int

    def has(self, spec: TrialSpec) -> bool:
        """Whether a trial is in it."""
        turn = spec.config_index
        if spec.strategy == ANCHOR:
            turn = spec.repeat - 1
        # by the number alone: a larger design moves no configuration to another part
        return turn % self.of == self.number - 1

    def __str__(self) -> str:
        """As it is written on the command line."""
        return f"{self.number}/{self.of}"


class _Faults:
    """Collects the user errors of independent steps, so that they are told together."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def collect(self, call: Callable[..., T], *arguments: Any) -> list[T]:
        """The call's result as the only item of a list, or [] with its fault noted."""
        try:
            return [call(*arguments)]
        except UserError as error:
            self._lines.extend(error.lines)
            return []

    def raise_all(self) -> None:
        """Raise UserError with all faults, if there are any: else each call has its result."""
        if self._lines:
            raise UserError(*self._lines)


@dataclass(frozen=True)
class _Inputs:
    """What the flags and the files that they name say, each sound by itself."""

    machine: Machine
    machine_file: Path
    machines: dict[str, Machine]
    """Those that a node of the cluster may be labelled with; {} without a cluster."""
    space: Space
    space_file: Path
    sampler: SamplerKind
    sampler_options: Noun
    models: list[Model]
    use_cases: list[UseCase]
    use_case_files: list[Path]
    ranges: dict[str, tuple[float, float]]
    """Of --range: name of a parameter -> bounds."""
    variants: tuple[Variant, ...]
    shard: Shard | None


@dataclass(frozen=True)
class Place:
    """Where a sweep runs, whatever it runs; the fields are those of `Resolved`."""

    machine: Machine
    machine_file: Path
    machines: dict[str, Machine]
    machine_fixed: bool
    each: tuple[str, ...]
    parallel: int
    shard: Shard | None


def place_of(
    request: Request, gpu_names: list[str], cluster_machines: tuple[str, ...] = ()
) -> Place:
    """What a request says of machines alone; arguments as of `resolve_request`.

    Raises UserError.
    """
    faults = _Faults()
    machine_found = faults.collect(_machine_of, request, gpu_names)
    faults.collect(_check_flags, request, Profile())
    shard_found = faults.collect(_shard, request.shard)
    faults.collect(_check_machine, request)
    machines_found = faults.collect(_machines_of_nodes, request)
    faults.raise_all()
    (machine_and_file,) = machine_found
    (shard,), (machines,) = shard_found, machines_found
    return _placed(request, machine_and_file, machines, shard, cluster_machines)


def _placed(
    request: Request,
    machine_and_file: tuple[Machine, Path],
    machines: dict[str, Machine],
    shard: Shard | None,
    cluster_machines: tuple[str, ...],
) -> Place:
    """The place of what was read. Raises UserError where its parts don't go together."""
    machine, machine_file = machine_and_file
    _check_parallel(request, machine)
    _check_labels(cluster_machines, machines)
    return Place(
        machine=machine,
        machine_file=machine_file,
        # this machine last: its country may come from --country
        machines={**machines, machine.name: machine},
        machine_fixed=request.address is None or request.machine not in (None, ANY, EACH),
        each=cluster_machines,
        parallel=request.parallel or machine.parallel_trials or 1,
        shard=shard,
    )


def resolve_request(
    request: Request, gpu_names: list[str], cluster_machines: tuple[str, ...] = ()
) -> Resolved:
    """Read and check everything, and tell all faults at once that don't depend on one another.

    `gpu_names`: the GPUs of this machine. `cluster_machines`: the kinds of machine that the
    cluster has, for --machine each. Raises UserError.
    """
    given = _inputs(request, gpu_names)
    machine = given.machine
    engines = tuple(dict.fromkeys(variant.engine for variant in given.variants))
    models = [_labelled(model, engines) for model in given.models]
    _check_names("--model", [model.label for model in models], SEPARATE_RUNS)
    _check_names("--use-case", [one.name for one in given.use_cases], RENAME)
    # a profile that takes all prompts of every use case anyway reduces nothing
    fullest = max(len(use_case.prompts) for use_case in given.use_cases)
    scale = _scaled(request, machine, given.space, given.ranges, fullest)
    check_shard(given.shard, given.sampler, given.space, scale.samples)
    _check_size(
        scale.samples, len(models), len(given.variants), len(given.use_cases), request.repeats
    )
    _check_batches(given.variants, given.use_cases, scale.n_prompts)
    space = _narrowed(given.space, scale.ranges)
    place = _placed(
        request, (machine, given.machine_file), given.machines, given.shard, cluster_machines
    )
    return Resolved(
        request=request,
        space=space,
        space_file=given.space_file,
        sampler=given.sampler,
        sampler_options=given.sampler_options,
        engine_options={
            name: ENGINES[name].given_options(**request.engine_options) for name in engines
        },
        models=tuple(models),
        variants=given.variants,
        use_cases=tuple(given.use_cases),
        use_case_files=tuple(given.use_case_files),
        machine=place.machine,
        machine_file=place.machine_file,
        machines=place.machines,
        machine_fixed=place.machine_fixed,
        each=place.each,
        samples=scale.samples,
        n_prompts=scale.n_prompts,
        parallel=parallel_of(place, given.variants),
        shard=place.shard,
        notes=(*scale.notes, *cautions(request, machine, gpu_names, engines)),
    )


def parallel_of(place: Place, variants: Sequence[Variant]) -> int:
    """Trials at once on a machine without a GPU."""
    # a server is asked for one text at a time
    return 1 if _is_served(variants) else place.parallel


def _inputs(request: Request, gpu_names: list[str]) -> _Inputs:
    """Read every flag and file. Raises UserError with the faults of all of them."""
    faults = _Faults()
    machine_found = faults.collect(_machine_of, request, gpu_names)
    # without a machine the rest is checked all the same, so that one run tells every fault
    profile, default_models = _defaults_of(machine_found)
    # None is no space: `request_of` asks for one
    space_found = faults.collect(_space, request.space or "")
    models: list[Model] = []
    if not _asks_server(request, space_found):
        # each once, however often it is named: twice would be two trials in one folder
        for ref in dict.fromkeys(request.models or default_models):
            models += faults.collect(parse_model, ref)
    use_cases: list[tuple[UseCase, Path]] = []
    for name in dict.fromkeys(request.use_cases or names("prompts")):
        use_cases += faults.collect(_use_case, name)
    ranges_found = faults.collect(_ranges, request.ranges)
    variants_found = faults.collect(_variants, request, space_found, profile)
    faults.collect(_check_flags, request, profile)
    # options are those of the engines: of unknown ones nothing can be said
    for variants in variants_found:
        faults.collect(_check_engine_options, request, variants, gpu_names)
    shard_found = faults.collect(_shard, request.shard)
    faults.collect(_check_machine, request)
    for variants in variants_found:
        faults.collect(_check_served, request, variants)
    machines_found = faults.collect(_machines_of_nodes, request)
    faults.raise_all()
    ((machine, machine_file),) = machine_found
    ((space, space_file, sampler, sampler_options),) = space_found
    (ranges,), (variants,) = ranges_found, variants_found
    (shard,), (machines,) = shard_found, machines_found
    # a server is asked when everything else is sound
    if _is_served(variants):
        models = _served_models(request, variants)
    return _Inputs(
        machine=machine,
        machine_file=machine_file,
        machines=machines,
        space=space,
        space_file=space_file,
        sampler=sampler,
        sampler_options=sampler_options,
        models=models,
        use_cases=[use_case for use_case, _ in use_cases],
        use_case_files=[path for _, path in use_cases],
        ranges=ranges,
        variants=variants,
        shard=shard,
    )


def _defaults_of(machines: list[tuple[Machine, Path]]) -> tuple[Profile, tuple[str, ...]]:
    """Profile and models of the machine; of one that couldn't be read an empty one and none.

    So the other flags are checked all the same.
    """
    if not machines:
        return Profile(), ()
    ((machine, _),) = machines
    return machine.profile, (_default_model(machine),)


def _narrowed(space: Space, ranges: dict[str, tuple[float, float]]) -> Space:
    """The space within these ranges. Raises UserError where they can't be met."""
    try:
        return space.narrowed(ranges)
    except ValidationError as error:
        raise UserError(*lines_of(error, Space, "--range")) from error


def check_shard(shard: Shard | None, sampler: SamplerKind, space: Space, samples: int) -> None:
    """Raise UserError where a plan has nothing to share out, or too little."""
    if shard is None:
        return
    # it has no list of configurations that could be dealt out
    if sampler.learns:
        raise UserError(
            f"--shard {shard}: {space.sampler} asks for its configurations as it goes, so there is "
            "nothing to share out"
        )
    if shard.of > samples:
        raise UserError(
            f"--shard {shard}: there are only {samples} configurations to share out; take fewer "
            "parts"
        )


def _check_labels(labels: tuple[str, ...], machines: dict[str, Machine]) -> None:
    """Raise UserError for a kind of machine in the cluster that has no file."""
    for label in sorted(set(labels) - set(machines)):
        raise UserError(
            f"--machine each: there is no clusters/{label}.yaml for the nodes labelled "
            f"machine={label}"
        )


def _check_machine(request: Request) -> None:
    """Raise UserError for --machine any or each without a cluster."""
    if request.machine in (ANY, EACH) and request.address is None:
        raise UserError(
            f"--machine {request.machine}: there is one machine here; name a Ray cluster with "
            "--address, or leave --machine out"
        )


def _check_parallel(request: Request, machine: Machine) -> None:
    """Raise UserError for several trials at once where each is to have a host for itself."""
    if machine.isolation == "host" and (request.parallel or 1) > 1:
        raise UserError(
            f"--parallel {request.parallel}: with isolation host one trial at a time runs on a "
            "host; leave it out, or give --isolation gpu"
        )


def _machine_of(request: Request, gpu_names: list[str]) -> tuple[Machine, Path]:
    """The machine that is named, or the one that this seems to be, with its file."""
    name = request.machine
    if name is None or name in (ANY, EACH):
        name = detect(gpu_names)
    machine, path = read_machine(name)
    if request.country is not None:
        code = country(request.country, "--country")
        machine = machine.model_copy(update={"country_iso_code": code})
    return _isolated(machine, request), path


def _isolated(machine: Machine, request: Request) -> Machine:
    """The machine with the isolation that was asked for, if any: trial.json holds what ran."""
    if request.isolation is None:
        return machine
    return machine.model_copy(update={"isolation": request.isolation})


def _machines_of_nodes(request: Request) -> dict[str, Machine]:
    """Every machine that has a file, by name, since a node of a cluster may carry any label.

    {} without a cluster: then this machine's file is all that is needed.
    """
    if not request.address:
        return {}
    return {name: _isolated(read_machine(name)[0], request) for name in names("clusters")}


def _use_case(name: str) -> tuple[UseCase, Path]:
    """A use case and its file."""
    return read("prompts", name, UseCase)


def _default_model(machine: Machine) -> str:
    """The model of a machine where the user names none."""
    fitting = CPU_MODEL
    if machine.accelerator == "gpu":
        fitting = GPU_MODEL
    return machine.profile.model or fitting


def _variants(
    request: Request, spaces: list[tuple[Space, Path, SamplerKind, Noun]], profile: Profile
) -> tuple[Variant, ...]:
    """How the models are run. Of a space that couldn't be read only the flags are checked."""
    entries: tuple[SetupEntry, ...] = ()
    space_file = Path()
    for space, path, _, _ in spaces:
        entries, space_file = space.setups, path
    return variants_of(request.axes(), entries, space_file, profile.quantization)


def _asks_server(request: Request, spaces: list[tuple[Space, Path, SamplerKind, Noun]]) -> bool:
    """Whether an engine is named that asks a server: then models have the server's names."""
    named = [*request.engines, *(entry.engine for space, *_ in spaces for entry in space.setups)]
    kinds = [ENGINES[name] for name in named if name in ENGINES]
    return any(kind.served_models is not None for kind in kinds)


def _is_served(variants: Sequence[Variant]) -> bool:
    """Whether a server runs the models."""
    return any(ENGINES[variant.engine].served_models is not None for variant in variants)


def _check_served(request: Request, variants: Sequence[Variant]) -> None:
    """Raise UserError for what can't be with a server, which is one and on this host."""
    if not _is_served(variants):
        return
    lines = []
    if request.address is not None:
        lines.append(
            "--address: a server is measured on its own host; run this command there, without "
            "--address"
        )
    if (request.parallel or 1) > 1:
        lines.append(
            f"--parallel {request.parallel}: the server is asked for one text at a time; leave it "
            "out"
        )
    if lines:
        raise UserError(*lines)


def _served_models(request: Request, variants: Sequence[Variant]) -> list[Model]:
    """The models as their server has them. Raises UserError, also where no server answers."""
    (engine,) = {variant.engine for variant in variants}
    kind = ENGINES[engine]
    assert kind.served_models is not None  # noqa: S101 - such engines alone come here
    options = kind.options(**request.engine_options)
    return kind.served_models(options, tuple(dict.fromkeys(request.models)))


def _labelled(model: Model, engines: tuple[str, ...]) -> Model:
    """Rows of engines without a model never lie among a model's own.

    Of several such engines the first by name gives the label, so that their rows can be compared.
    """
    if model.kind == "served" or any(ENGINES[engine].needs_weights for engine in engines):
        return model
    return replace(model, label=f"{min(engines)}-{model.label}")


def _space(name: str) -> tuple[Space, Path, SamplerKind, Noun]:
    """A space, its file, its sampler and the sampler's options."""
    space, path = read("search_spaces", name, Space)
    return space, path, *sampler_of(space, path)


def _check_flags(request: Request, profile: Profile) -> None:
    """Raise UserError for numbers below 1, and too many samples."""
    counts = {
        "samples": request.samples,
        "repeats": request.repeats,
        "prompts": request.prompts,
        "parallel": request.parallel,
    }
    lines = []
    for flag, value in counts.items():
        if value is not None and value < 1:
            lines.append(f"--{flag} {value}: must be 1 or more")
    samples, where = request.samples, "--samples"
    if samples is None:
        samples, where = profile.samples, "the machine profile's samples"
    if samples is not None and samples > MOST_SAMPLES:
        limit = f"{MOST_SAMPLES:,} configurations"
        lines.append(f"{where} {samples}: more than {limit}; take fewer, or several seeds")
    if lines:
        raise UserError(*lines)


def _check_engine_options(
    request: Request, variants: tuple[Variant, ...], gpu_names: list[str]
) -> None:
    """Raise UserError for options that aren't valid for each engine of the sweep."""
    engines = dict.fromkeys(variant.engine for variant in variants)
    lines = [line for name in engines for line in option_faults(request, name, gpu_names)]
    if lines:
        # engines that share an option share its faults
        raise UserError(*dict.fromkeys(lines))


def option_faults(request: Request, name: str, gpu_names: list[str]) -> list[str]:
    """What is wrong with the options for an engine, a line each."""
    engine = ENGINES[name]
    foreign = sorted(request.engine_options.keys() - engine.options.model_fields.keys())
    if foreign:
        return [_foreign_option(option, name) for option in foreign]
    try:
        options = engine.options(**request.engine_options)
    except ValidationError as error:
        return [_option_fault(item, name) for item in error.errors(include_url=False)]
    # on a cluster other machines may have GPUs
    if request.address is None and not gpu_names:
        return options.faults_without_gpu()
    return []


def _option_fault(item: ErrorDetails, engine: str) -> str:
    """A sentence on an option whose value isn't valid, or on options that don't go together."""
    valid = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if not item["loc"]:
        return f"--engine {engine}: {valid}"
    flag = flag_of(str(item["loc"][0]))
    return f"{flag} {printable(short(str(item['input'])))}: {valid}"


def _foreign_option(option: str, engine: str) -> str:
    """A sentence on an option that belongs to other engines than the one that was asked for."""
    owners = [name for name, kind in ENGINES.items() if option in kind.options.model_fields]
    return (
        f"{flag_of(option)}: the {engine} engine doesn't have it; leave it out, or take --engine "
        f"{' or '.join(owners)}"
    )


def _check_size(samples: int, models: int, variants: int, use_cases: int, repeats: int) -> None:
    """Raise UserError for more trials than can be planned."""
    trials = samples * models * variants * use_cases * repeats
    if trials > MOST_TRIALS:
        design = f"{samples} configurations x {models} models"
        if variants > 1:
            design += f" x {variants} setups"
        product = f"{design} x {use_cases} use cases x {repeats} repeats"
        raise UserError(
            f"{product} are {trials:,} trials, more than {MOST_TRIALS:,}; split it into several "
            "sweeps"
        )


def _check_batches(
    variants: Sequence[Variant], use_cases: Sequence[UseCase], n_prompts: int | None
) -> None:
    """Raise UserError for batches that no use case's prompts fill: they would be smaller ones.

    `n_prompts`: of each use case; None: all.
    """
    largest = max(variant.batch_size for variant in variants)
    for use_case in use_cases:
        n = len(use_case.prompts[:n_prompts])
        if largest > n:
            raise UserError(
                f"a batch of {largest} is more than the {plural(n, 'prompt')} of {use_case.name} "
                f"that are run; take a batch size up to {n}, or more --prompts"
            )


def _check_names(flag: str, given: list[str], remedy: str) -> None:
    """Raise UserError where two things would share a folder's name."""
    shared = sorted({name for name in given if given.count(name) > 1})
    if shared:
        names_text = ", ".join(shared)
        raise UserError(f"{flag}: two would share the folder name {names_text}; {remedy}")


@dataclass(frozen=True)
class _Scale:
    """How much is run, after the machine's profile."""

    samples: int
    n_prompts: int | None
    ranges: dict[str, tuple[float, float]]
    notes: list[str]


def _scaled(
    request: Request,
    machine: Machine,
    space: Space,
    ranges: dict[str, tuple[float, float]],
    fullest: int,
) -> _Scale:
    """Flags first, then the profile; a note for each reduction with the flag that lifts it.

    `fullest`: prompts of the use case that has the most.
    """
    profile = machine.profile
    samples, samples_notes = _samples(request, profile)
    n_prompts, prompts_notes = _n_prompts(request, profile, fullest)
    profile_ranges, ranges_notes = _profile_ranges(profile, space, given=ranges)
    notes = [*samples_notes, *prompts_notes, *ranges_notes]
    return _Scale(
        samples=samples,
        n_prompts=n_prompts,
        ranges={**ranges, **profile_ranges},
        notes=[f"profile of machine {machine.name}: {note}" for note in notes],
    )


def _samples(request: Request, profile: Profile) -> tuple[int, list[str]]:
    """How many configurations, and a note where the profile takes fewer than usual."""
    if request.samples is not None:
        return request.samples, []
    samples = profile.samples or DEFAULT_SAMPLES
    if samples >= DEFAULT_SAMPLES:
        return samples, []
    lift = f"--samples {DEFAULT_SAMPLES} lifts it"
    return samples, [f"samples {samples} instead of {DEFAULT_SAMPLES} ({lift})"]


def _n_prompts(request: Request, profile: Profile, fullest: int) -> tuple[int | None, list[str]]:
    """Prompts of each use case (None: all), and a note where the profile takes fewer."""
    if request.prompts is not None:
        return request.prompts, []
    if not profile.prompts or profile.prompts >= fullest:
        return None, []
    lift = f"--prompts {fullest} lifts it"
    return profile.prompts, [f"prompts {profile.prompts} of {fullest} per use case ({lift})"]


def _profile_ranges(
    profile: Profile, space: Space, given: dict[str, tuple[float, float]]
) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """The ranges that the profile narrows, but for those `given` by a flag, with their notes."""
    ranges: dict[str, tuple[float, float]] = {}
    notes = []
    for name, (low, high) in profile.ranges.items():
        axis = space.parameters[name]
        own = f"{axis.low:g}..{axis.high:g}"
        # a flag wins over the profile, and a range within the profile's needs no change
        if name in given or (low <= axis.low and axis.high <= high):
            continue
        if axis.high < low or axis.low > high:
            # there is no range in common, and the space is what the user chose
            notes.append(f"{name} stays {own}, which lies outside the profile's {low:g}..{high:g}")
            continue
        narrowed = (max(low, axis.low), min(high, axis.high))
        ranges[name] = narrowed
        lift = f"--range {name}={axis.low:g}:{axis.high:g} lifts it"
        notes.append(f"{name} {narrowed[0]:g}..{narrowed[1]:g} instead of {own} ({lift})")
    return ranges, notes


def cautions(
    request: Request, machine: Machine, gpu_names: list[str], engines: tuple[str, ...]
) -> list[str]:
    """What a person should know that is no error."""
    notes = []
    real = any(ENGINES[name].needs_weights for name in engines)
    if request.address is None and machine.accelerator == "gpu" and not gpu_names and real:
        notes.append(
            f"--machine {machine.name} is a machine with GPUs and this one has none: it runs on "
            "the CPU under that name"
        )
    if machine.country_iso_code is None:
        notes.append(
            "no country is known: emissions use CodeCarbon's world average (--country ITA, or "
            "country_iso_code in clusters/)"
        )
    return notes


def _shard(text: str | None) -> Shard | None:
    """`2/3` -> the second part of three. Raises UserError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text, re.ASCII)
    number, of = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= of:
        raise UserError(f"--shard {short(text)}: write it as I/N, e.g. 2/3 for the second of three")
    return Shard(number, of)


def _ranges(items: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """`max_length=100:200` or `top_k=50` (one value) -> bounds.

    Raises UserError with all faults: an unknown name, a name given twice, bounds that are no
    numbers.
    """
    result: dict[str, tuple[float, float]] = {}
    errors = []
    for item in items:
        name, _, bounds = item.partition("=")
        low, colon, high = bounds.partition(":")
        if name not in PARAMETERS:
            errors.append(
                f"--range {item}: there is no parameter {name!r}: {nearest(name, list(PARAMETERS))}"
            )
            continue
        if name in result:
            errors.append(f"--range {item}: {name} is given twice")
        try:
            result[name] = (float(low), float(high if colon else low))
        except ValueError:
            widest = "{:g}:{:g}".format(*DOMAIN[name])
            errors.append(f"--range {item}: write it as {name}=low:high, within {name}={widest}")
    if errors:
        raise UserError(*errors)
    return result
