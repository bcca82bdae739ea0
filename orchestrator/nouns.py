"""The nouns of the project: frozen values with their few pure derivations, and no file access.

Units stand in the names: `_j` joules, `_kwh` kilowatt hours, `_s` seconds, `_w` watts, `_bytes`.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

PARAMETERS = ("max_length", "top_p", "top_k", "temperature")
"""The four swept hyperparameters, in the order of the report; the axes of every design."""

DOMAIN: dict[str, tuple[float, float]] = {
    "max_length": (100, 10000),
    "top_p": (0.0, 1.0),
    "top_k": (0, 100),
    "temperature": (0.0, 2.0),
}
"""The report's ranges (section 5.2). A space may be narrower, never wider."""

KINDS: dict[str, Literal["int", "float"]] = {
    "max_length": "int",
    "top_p": "float",
    "top_k": "int",
    "temperature": "float",
}
"""Type of each axis."""

GREEDY_BELOW_TEMPERATURE = 1e-5
"""Below it sampling is the argmax to float precision, and denormals end in inf/nan: the run is greedy instead."""


class Noun(BaseModel):
    """Base of all values: frozen, and no unknown key passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def digest(value: Any, length: int = 12) -> str:
    """First `length` hex digits of the SHA-256 of the value's canonical JSON: the same on every machine."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()[:length]


class Parameter(Noun):
    """One axis of the space: all values from `low` to `high`, both included."""

    type: Literal["int", "float"]
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)

    @field_validator("low", "high")
    @classmethod
    def _one_zero(cls, bound: float) -> float:
        """-0.0 is 0.0: they are the same bound, and must have the same hash."""
        return bound + 0.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            msg = f"low {self.low:g} is above high {self.high:g}"
            raise ValueError(msg)
        if self.type == "int" and (self.low != int(self.low) or self.high != int(self.high)):
            msg = f"an int parameter needs whole numbers, not {self.low:g} and {self.high:g}"
            raise ValueError(msg)
        return self

    def at(self, u: float) -> int | float:
        """Value at u in [0, 1]. Integers have cells of equal width: rounding would halve the weight of both ends."""
        if self.type == "int":
            cells = int(self.high) - int(self.low) + 1
            return min(int(self.high), int(self.low) + math.floor(u * cells))
        return min(self.high, max(self.low, self.low + u * (self.high - self.low)))

    def position(self, value: float) -> float:
        """Inverse of `at`: where a value stands in [0, 1] (an integer at the middle of its cell)."""
        if self.type == "int":
            return (value - self.low + 0.5) / (self.high - self.low + 1)
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5


class Parameters(Noun):
    """The four axes, each within the report's domain."""

    max_length: Parameter
    top_p: Parameter
    top_k: Parameter
    temperature: Parameter

    @field_validator(*PARAMETERS)
    @classmethod
    def _within_domain(cls, parameter: Parameter, info: ValidationInfo) -> Parameter:
        name = str(info.field_name)
        low, high = DOMAIN[name]
        if parameter.type != KINDS[name]:
            msg = f"type must be {KINDS[name]}"
            raise ValueError(msg)
        if parameter.low < low or parameter.high > high:
            msg = f"{parameter.low:g}..{parameter.high:g} leaves the domain {low:g}..{high:g}"
            raise ValueError(msg)
        return parameter

    def __getitem__(self, name: str) -> Parameter:
        """The axis of that name; raises KeyError for another one."""
        if name not in PARAMETERS:
            raise KeyError(name)
        return getattr(self, name)  # type: ignore[no-any-return]


class Space(Noun):
    """The ranges of the four hyperparameters and the sampler that draws from them."""

    name: str
    sampler: str
    options: dict[str, Any] = {}
    parameters: Parameters

    def narrowed(self, ranges: dict[str, tuple[float, float]]) -> Space:
        """The space with some ranges replaced; raises pydantic's ValidationError where they are not valid."""
        axes = {name: self.parameters[name].model_dump() for name in PARAMETERS}
        for name, (low, high) in ranges.items():
            axes[name] |= {"low": low, "high": high}
        return Space.model_validate({**self.model_dump(), "parameters": axes})


class Configuration(Noun):
    """One point of the space: the requested values."""

    max_length: int
    top_p: float
    top_k: int
    temperature: float

    @classmethod
    def at(cls, space: Space, point: list[float]) -> Configuration:
        """The configuration at a point of the unit cube, axes in the order of `PARAMETERS`."""
        values = {
            name: space.parameters[name].at(u) for name, u in zip(PARAMETERS, point, strict=True)
        }
        return cls.model_validate(values)


class Effective(Noun):
    """What really runs for a configuration, after the model's limits and the dormant parameters are resolved."""

    max_length: int
    do_sample: bool
    temperature: float | None
    top_p: float | None
    top_k: int | None
    dormant: tuple[str, ...]
    """Parameters whose value changes nothing under this configuration."""
    limits: tuple[str, ...]
    """What moved max_length: 'prompt' (raised to prompt + 1), 'context' or 'memory' (lowered)."""

    def key(self) -> tuple[object, ...]:
        """Two configurations with the same key run the same program."""
        return (self.max_length, self.do_sample, self.temperature, self.top_p, self.top_k)


def resolve(
    asked: Configuration,
    *,
    prompt_tokens: int = 0,
    context_length: int | None = None,
    memory_tokens: int | None = None,
    beyond_context: bool = False,
) -> Effective:
    """Turn requested into effective values.

    temperature < 1e-5, top_p = 0 and top_k = 1 are the same greedy program, in which the other parameters are
    dormant; top_k = 0 and top_p = 1 are off. max_length counts the prompt: it is raised to one token more than the
    prompt, and lowered to the context (unless `beyond_context`) and to what memory holds.
    """
    limits: list[str] = []
    max_length = asked.max_length
    if context_length is not None and max_length > context_length and not beyond_context:
        max_length = context_length
        limits.append("context")
    if memory_tokens is not None and max_length > memory_tokens:
        max_length = memory_tokens
        limits.append("memory")
    if max_length <= prompt_tokens:
        max_length = prompt_tokens + 1
        limits.append("prompt")
    if max_length == asked.max_length:  # lowered and raised again
        limits.clear()
    reasons = {
        "temperature": asked.temperature < GREEDY_BELOW_TEMPERATURE,
        "top_p": asked.top_p <= 0.0,
        "top_k": asked.top_k == 1,
    }
    if any(reasons.values()):
        dormant = tuple(name for name in ("top_p", "top_k", "temperature") if not reasons[name])
        return Effective(
            max_length=max_length,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            dormant=dormant,
            limits=tuple(limits),
        )
    return Effective(
        max_length=max_length,
        do_sample=True,
        temperature=float(asked.temperature),
        top_p=float(asked.top_p),
        top_k=int(asked.top_k),
        dormant=(),
        limits=tuple(limits),
    )


LONGEST_PROMPT = 100_000
"""Characters: several times the context of the models that are known here; more is a mistake."""


class UseCase(Noun):
    """Prompts of one kind, in order; the folder of the data set has its name."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    description: str = ""
    language: str = "en"
    prompts: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _no_empty_or_twin(self) -> Self:
        faults = [
            f"prompts[{i}] is empty" for i, prompt in enumerate(self.prompts) if not prompt.strip()
        ]
        faults += [
            f"prompts[{i}] has {len(prompt):,} characters, more than {LONGEST_PROMPT:,}"
            for i, prompt in enumerate(self.prompts)
            if len(prompt) > LONGEST_PROMPT
        ]
        first: dict[str, int] = {}
        faults += [
            f"prompts[{i}] repeats prompts[{first[prompt]}]"
            for i, prompt in enumerate(self.prompts)
            if first.setdefault(prompt, i) != i
        ]
        if faults:
            raise ValueError("\n".join(faults))
        return self


class Quantization(Noun):
    """The whole bitsandbytes record; two records that differ anywhere never share a config hash."""

    name: str
    bits: int | None
    quant_type: str | None = None
    double_quant: bool | None = None
    int8_threshold: float | None = None


QUANTIZATIONS = {
    "nf4": Quantization(name="nf4", bits=4, quant_type="nf4", double_quant=True),
    "fp4": Quantization(name="fp4", bits=4, quant_type="fp4", double_quant=False),
    "int8": Quantization(name="int8", bits=8, int8_threshold=6.0),
    "none": Quantization(name="none", bits=None),
}


class Setup(Noun):
    """What besides the configuration decides an execution; part of the config hash."""

    seed: int
    """The sweep's seed: every generation's seed is derived from it."""
    model: str
    revision: str
    """Where the weights come from and which: 'hub:<commit>', 'gguf:<sha256>', 'local:<fingerprint>', 'random:...'."""
    engine: str
    quantization: Quantization
    compute_dtype: str = "auto"
    """As asked; 'auto' is resolved for the device and recorded with each execution."""
    batch_size: int = 1
    chat_template: Literal["auto", "off"] = "auto"
    length_mode: Literal["natural", "fixed"] = "natural"
    """'fixed' forbids an early end: as many tokens as max_length admits."""
    beyond_context: bool = False
    cpu_offload: bool = False
    """Layers that the GPU has no room for stay in the host's memory, unquantized, and pass through the GPU at each token."""
    use_case: str
    prompts_sha256: str

    @model_serializer(mode="wrap")
    def _as_before(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without offload as before there was any, so that hashes and ids of earlier data sets stay what they are."""
        values: dict[str, Any] = serialize(self)
        if not self.cpu_offload:
            values.pop("cpu_offload", None)
        return values


class Profile(Noun):
    """What a kind of machine changes in the defaults; flags given by the user beat it."""

    model: str | None = None
    samples: int | None = Field(default=None, ge=1)
    prompts: int | None = Field(default=None, ge=1)
    quantization: str | None = None
    ranges: dict[Literal["max_length", "top_p", "top_k", "temperature"], tuple[float, float]] = {}

    @field_validator("ranges")
    @classmethod
    def _valid_axes(cls, ranges: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """Told here, where the file is named: once they are merged with a space it would look like the user's --range."""
        for name, (low, high) in ranges.items():
            try:
                Parameter(type=KINDS[name], low=low, high=high)
            except ValidationError as error:
                raise ValueError(
                    f"{name}: " + error.errors()[0]["msg"].removeprefix("Value error, ")
                ) from error
        return ranges


SlurmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""An account, partition or quality of service: it stands unquoted in a line of #SBATCH."""
ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+/-]{0,127}$")]
"""As `module load` takes it, e.g. cuda/12.2."""


def _absolute(path: str) -> str:
    """Job scripts quote it, so neither ~ nor variables are resolved in it."""
    if not path.startswith("/") or not path.isprintable():
        raise ValueError(
            "must be an absolute path that all nodes see, without ~, variables or control characters"
        )
    return path


NodePath = Annotated[str, AfterValidator(_absolute)]


class Listening(Noun):
    """Where a node of a Ray cluster listens; the flags of `cluster start` and `join` beat it."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]{0,252}$")] | None = None
    """An address or a name of this machine; None: 127.0.0.1 for a head, for others the address that reaches the head."""
    ports: Annotated[str, Field(pattern=r"^[0-9]{4,5}-[0-9]{4,5}$")] | None = None
    """LOW-HIGH; None: any free ones."""


class Slurm(Noun):
    """How jobs are submitted on a machine that is run by SLURM."""

    account: SlurmName | None = None
    """Whom the hours are billed to; a person's or a group's, so it is in no data set."""
    partition: SlurmName | None = None
    qos: SlurmName | None = None
    gpus_per_node: int | None = Field(default=None, ge=1, le=64)
    cpus_per_node: int | None = Field(default=None, ge=1, le=4096)
    """Cores of the whole node; a job with fewer GPUs asks for their share."""
    memory_mb_per_node: int | None = Field(default=None, ge=1, le=2**27)
    """What SLURM gives out of a node; shared out like the cores."""
    interface: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$")] | None = None
    """Network interface for Ray, e.g. ib0; without one the address that a node's host name has."""
    modules: tuple[ModuleName, ...] = ()
    venv: NodePath | None = None
    """Virtual environment to run from; without one that of the Python which wrote the script."""
    container: NodePath | None = None
    """Apptainer image that has the program, in place of an environment."""

    @model_validator(mode="after")
    def _one_environment(self) -> Self:
        if self.venv and self.container:
            raise ValueError("venv and container exclude each other; leave one out")
        return self


class Machine(Noun):
    """A kind of hardware; its name is a level of the data set's folders and the label `machine` of a Ray node."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    description: str = ""
    accelerator: Literal["gpu", "cpu"]
    country_iso_code: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    """ISO 3166-1 alpha-3; without one CodeCarbon's world average is used and the row says so."""
    carbon_intensity_g_per_kwh: float | None = Field(default=None, gt=0)
    pue: float = Field(default=1.0, ge=1.0)
    cpu_power_w: float | None = Field(default=None, gt=0)
    """Nominal power of the CPU for CodeCarbon's model, where it doesn't know the CPU; given, RAPL is not used."""
    ram_power_w: float | None = Field(default=None, gt=0)
    parallel_trials: int | None = Field(default=None, ge=1)
    """How many trials at once on one machine without a GPU; with GPUs it is one a GPU."""
    gpu_memory_gib: float | None = Field(default=None, gt=0)
    """Of one GPU. In a cluster a kind of machine that can't hold the model gets no trials."""
    profile: Profile = Profile()
    listen: Listening = Field(default=Listening(), exclude=True)
    """Never written out with the machine: a network's addresses don't belong into published data."""
    slurm: Slurm = Field(default=Slurm(), exclude=True)
    """Never written out with the machine: whose account paid for a measurement doesn't belong into published data."""


class Prompt(Noun):
    """One prompt of a use case, numbered from 1."""

    number: int
    text: str


ANCHOR = "anchor"
"""Strategy of the repeated reference configuration."""


def generation_seed(sweep_seed: int, asked: Configuration, prompt: str, repeat: int) -> int:
    """Seed of one generation, 0 <= seed < 2^63. Independent of model and quantization: those share random numbers."""
    return int(digest([sweep_seed, asked.model_dump(), prompt, repeat], 16), 16) >> 1


TrialKey = tuple[str, str, str, str, int]
"""Strategy, use case, index, config hash, repeat: what identifies a trial on any machine."""


class TrialSpec(Noun):
    """One trial as it is scheduled: a configuration on the prompts of a use case, on one GPU."""

    sweep_id: str
    strategy: str
    index: int
    """Number of the point in its design (anchors: of the anchor among anchors)."""
    repeat: int
    attempt: int = 1
    order_index: int
    """Place in the order in which the sweep's trials are handed out."""
    asked: Configuration
    setup: Setup
    prompts: tuple[Prompt, ...]
    """The prompts this attempt has to run."""
    model_ref: str
    """How a worker finds the weights: what the user wrote after --model."""

    def config_hash(self) -> str:
        """Hash of configuration and setup; an anchor belongs to its sweep, so that every sweep has its own."""
        of_sweep = [self.sweep_id] if self.strategy == ANCHOR else []
        return digest([self.asked.model_dump(), self.setup.model_dump(), *of_sweep])

    def key(self) -> TrialKey:
        """The same for every attempt."""
        return (
            self.strategy,
            self.setup.use_case,
            f"{self.index:04d}",
            self.config_hash(),
            self.repeat,
        )

    def folder(self) -> str:
        """Name of the trial's folder in its leaf."""
        attempt = f"-a{self.attempt}" if self.attempt > 1 else ""
        return f"{self.index:04d}-{self.config_hash()}-r{self.repeat}{attempt}"
