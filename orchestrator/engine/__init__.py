"""Engines: what turns a prompt into tokens. One protocol, one table, one contract suite.

hf.py is the engine for transformers' models, weights.py finds their weights; server.py asks a
server that runs a model. Only `generate` runs inside a measurement window: `encode` comes before
it, `decode` after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from orchestrator.gpu.access import GpuAccess, open_gpu, simulated_access
from orchestrator.gpu.devices import visible_gpus
from orchestrator.nouns import (
    ERROR_KINDS,
    QUANTIZATIONS,
    SERVED,
    Amount,
    Column,
    Count,
    Effective,
    Fact,
    Noun,
    Setup,
)

if TYPE_CHECKING:
    from orchestrator.models import Model


class GenerationError(Exception):
    """A generation that failed in a known way; it becomes a row, not a crash."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        if kind not in ERROR_KINDS:
            raise ValueError(f"{kind!r} is not a kind of error: {', '.join(ERROR_KINDS)}")
        self.kind = kind
        """A key of ERROR_KINDS."""


def timed_out(timeout_s: float, n_tokens: int) -> GenerationError:
    """The error of a generation that was ended for its time."""
    return GenerationError(
        "timeout", f"ended after {timeout_s:g} s with {n_tokens} new tokens (--execution-timeout)"
    )


@dataclass(frozen=True)
class Encoded:
    """A prompt as token ids (templated where the model has a template)."""

    n_tokens: int
    ids: Any


@dataclass(frozen=True)
class BatchRow:
    """A prompt of a batch, and what its text is to be made with.

    Rows of one batch differ in nothing else than the prompt, the seed and the effective max_length.
    """

    encoded: Encoded
    effective: Effective
    seed: int

    @property
    def n_new(self) -> int:
        """The most new tokens that the row may get."""
        return self.effective.max_length - self.encoded.n_tokens


def n_steps(rows: Sequence[BatchRow]) -> int:
    """The most steps of a batch: its rows begin together."""
    return max(row.n_new for row in rows)


def padded_length(rows: Sequence[BatchRow]) -> int:
    """Tokens of the longest text of a batch, its padding at the left included."""
    return max(row.encoded.n_tokens for row in rows) + n_steps(rows)


@dataclass(frozen=True)
class Generated:
    """What a generation gave a row.

    `tokens` are the new ids up to and including the end of sequence.
    """

    tokens: list[int]
    finish_reason: str
    """eos or length."""
    ttft_s: float | None
    """Seconds until the first token; None where the engine can't tell."""
    n_steps_beyond: int = 0
    """Steps after its end, whose tokens nobody sees.

    They were launched before the end was known, or for other rows of its batch."""
    cache_length: int | None = None
    """Places of the key-value cache that the last step saw; None: it grows with the text."""
    text: str | None = None
    """The text, where the engine gets it and no tokens."""
    n_told: int | None = None
    """How many tokens a server says that it generated; None: `tokens` has them."""
    n_cached_tokens: int | None = None
    """Of the prompt's tokens those that a server had kept from an earlier one; None: not told."""

    @property
    def n_new(self) -> int:
        """How many tokens were generated."""
        return len(self.tokens) if self.n_told is None else self.n_told


@dataclass(frozen=True)
class Built:
    """What was made before the first window."""

    n_compiled: int | None = None
    """Programs that were compiled; None: the engine compiles nothing."""
    n_from_disk: int | None = None
    """Programs that an earlier process had compiled."""


class ServedBy(Noun):
    """Who runs the model, where that isn't this process."""

    pid: int | None
    """The process whose tree is the server; None: on another host."""
    nvml_pids: frozenset[int] = frozenset()
    """Its processes as NVML knows them."""
    why_unmeasured: str | None = None
    """Why no energy can be measured; None: it can."""


class ServerFacts(Noun):
    """What a server tells of itself, and how it is asked: recorded with each trial."""

    kind: str
    """Which server it is, a row of SERVERS (server_kinds.py)."""
    version: str | None
    """None: not told."""
    model: str
    """The model as the server names it."""
    endpoint: str
    """chat/completions or completions."""
    keeps_prompts: bool
    """Whether a prompt that it has seen may cost it less: its fields can't forbid it."""
    facts: dict[str, Fact] = {}
    """What else it tells, without secrets; of paths the last part."""
    command: tuple[str, ...] = ()
    """How its process was started, scrubbed in the same way; (): on another host."""
    n_processes: int | None = None
    """None: on another host."""


SIMULATED_DEVICE = "simulated"
"""The column `device` of trials on a GPU that isn't there."""


class EngineColumns(Noun):
    """What an engine tells of itself in every row of the tables."""

    model_revision: Annotated[str, Column("origin and revision of the weights")]
    synthetic: Annotated[
        bool, Column("random weights or no model at all: the text means nothing")
    ] = False
    double_quant: Annotated[
        bool | None,
        Column(
            "whether the scales are quantized too, as it ran: on a CPU with AVX512-BF16 "
            "bitsandbytes dequantizes them",
            null="not 4 bit, or no model was loaded",
        ),
    ] = None
    compute_dtype: Annotated[
        str,
        Column(
            "type in which the quantized matrices are multiplied, as it ran; served: the server's"
        ),
    ]
    device: Annotated[
        str,
        Column("cuda, cpu, simulated, none (no model) or elsewhere (a server on another host)"),
    ]
    chat_template: Annotated[bool, Column("whether the model's chat template was applied")] = False
    attention: Annotated[str, Column("implementation of attention; served: the server's")] = "none"
    cache: Annotated[
        str, Column("kind of key-value cache: dynamic, static, none or served (the server's)")
    ] = "none"
    kernels: Annotated[
        str | None,
        Column(
            "whose kernels multiply the quantized matrices, and how they were changed for it",
            null="no model, or not recorded",
        ),
    ] = None
    decoding: Annotated[
        str | None,
        Column(
            "how a token is made: eager, compiled, or compiled and captured as a CUDA graph",
            null="no model, or not recorded",
        ),
    ] = None
    offload_fraction: Annotated[
        Amount,
        Column("share of the weights' bytes outside the GPU (--cpu-offload); not quantized", "1"),
    ] = 0.0
    threads: Annotated[Count | None, Column("CPU threads of the engine", null="on a GPU")] = None
    gpu_uuid: Annotated[str | None, Column("identity of the GPU", null="no GPU")] = None
    server: Annotated[
        str | None,
        Column(
            "kind and, where it is told, version of the server that ran the model",
            null="it ran in the worker",
        ),
    ] = None
    not_taken: Annotated[
        tuple[str, ...],
        Column("what was requested and the server has no field for, so that it had no effect"),
    ] = ()


class EngineInfo(Noun):
    """What was loaded and on what: recorded with each trial."""

    columns: EngineColumns
    context_length: int | None = None
    memory_tokens: int | None = None
    """Tokens whose key-value cache fits in the memory left after loading, for each row of a batch;
    None: unknown."""
    load_s: float = 0.0
    weights_bytes: int | None = None
    model_sha256: dict[str, str] = {}
    """File of the model -> SHA-256; {}: none, as of the simulated engine."""
    versions: dict[str, str] = {}
    """Package -> version."""
    server: ServerFacts | None = None
    served_by: ServedBy | None = None
    """Both None: the model runs in this process."""


class Engine(Protocol):
    """A loaded model."""

    info: EngineInfo
    gpu: GpuAccess | None
    """How to ask the GPU that it runs on; None: it runs on the CPU."""

    def build_shapes(self, longest: int) -> Built:
        """Build what each length needs once a process, up to so many tokens in all.

        Called before the first window, and again before a batch that is longer by its padding, so
        that no window pays for it. What is built already takes no time.
        """

    def encode(self, prompt: str) -> Encoded:
        """Token ids of a prompt."""

    def generate(
        self,
        rows: Sequence[BatchRow],
        *,
        fixed_length: bool,
        timeout_s: float | None = None,
    ) -> list[Generated]:
        """Generate the texts of a batch, one or more, at once; the only call inside a window.

        Each row ends by itself, the batch with its last row. Raises GenerationError, which is that
        of all rows; of kind timeout at the first token after `timeout_s`.
        """

    def decode(self, generated: Generated) -> str:
        """Text of the new tokens."""

    def synchronize(self) -> None:
        """Wait until the device has done all that was launched.

        Raises RuntimeError where the device is lost.
        """

    def close(self) -> None:
        """Free the device's memory."""


class EngineOptions(Noun):
    """Options of an engine: each field is a flag of `tune` and `plan`.

    The field's description is the flag's help, its type and limits are checked when the flag is
    given. Its default is what ran before the option existed. Options of one name, of several
    engines, are one flag.
    """

    @property
    def offloads(self) -> bool:
        """Whether layers that the GPU has no room for stay in the host's memory."""
        return False

    def faults_without_gpu(self) -> list[str]:
        """Sentences on options that mean nothing on a machine without a GPU."""
        return []


class TransformersOptions(EngineOptions):
    """Options of the transformers engine."""

    cpu_offload: bool = Field(
        default=False,
        description="Keep layers that the GPU has no room for in the host's memory: slow, "
        "unquantized, recorded as offload_fraction.",
    )

    @property
    def offloads(self) -> bool:
        """With --cpu-offload; they pass through the GPU at each token."""
        return self.cpu_offload

    def faults_without_gpu(self) -> list[str]:
        """There is no memory but the host's."""
        if not self.cpu_offload:
            return []
        why = "this machine has no GPU, so all layers are in its memory anyway"
        return [f"--cpu-offload: {why}; leave it out"]


class ServerOptions(EngineOptions):
    """Options of the engine that asks a server."""

    server_url: str | None = Field(
        default=None,
        description="Address of an OpenAI-compatible server on this host, up to /v1, e.g. "
        "http://127.0.0.1:8000/v1 (--engine server); --model is then the server's own name of it.",
    )
    server_elsewhere: bool = Field(
        default=False,
        description="The server is on another host, or its processes can't be seen: no energy is "
        "measured.",
    )

    @field_validator("server_url")
    @classmethod
    def _plain_address(cls, url: str | None) -> str | None:
        """The address without a slash at its end. Raises ValueError for what is no address."""
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
            is_plain = not (parts.username or parts.password or parts.query or parts.fragment)
            parts.port  # noqa: B018 - raises where it is no number
        except ValueError:
            is_address = is_plain = False
        if not is_address or not is_plain:
            raise ValueError(
                "must be an address such as http://127.0.0.1:8000/v1, without a user and a query; "
                "a key is taken from the variable OPENAI_API_KEY"
            )
        return url.rstrip("/")


def flag_of(option: str) -> str:
    """The flag of an engine's option."""
    return f"--{option.replace('_', '-')}"


@dataclass(frozen=True)
class EngineKind:
    """One row of the table of engines."""

    meaning: str
    load: Callable[[Setup, str, int | None, GpuAccess | None], Engine]
    """(setup, model reference, CPU threads, what `gpu` gave) -> engine. It may take minutes.

    Raises ModelUnavailableError in one sentence.
    """
    needs_weights: bool
    """Whether the model's weights must be on the machine before a sweep starts."""
    packages: tuple[str, ...]
    """Packages whose version may change a text, its time or its energy."""
    gpu: Callable[[], GpuAccess | None] = lambda: None
    """The GPU that an engine of this process will use; nothing is opened on it. None: the CPU."""
    open_context: Callable[[GpuAccess], None] = lambda _gpu: None
    """Make this process's context on that GPU, as loading would."""
    options: type[EngineOptions] = EngineOptions
    """Its options (`EngineOptions`: none).

    What is not at its default stands in `Setup.engine_options`.
    """
    quantizations: tuple[str, ...] = tuple(QUANTIZATIONS)
    """Names of the quantizations that it runs."""
    batches: bool = False
    """Whether it can generate several prompts at once."""
    cache_length: Callable[[int], int] = lambda n_tokens: n_tokens
    """Tokens for which its key-value cache takes memory, for texts up to so many."""
    served_models: Callable[[EngineOptions, Sequence[str]], list[Model]] | None = None
    """Finds models, by name, on the server that runs them; None: this program loads them."""

    def given_options(self, **options: Any) -> dict[str, Any]:
        """The options that are not at their default. Raises pydantic's ValidationError."""
        return self.options(**options).model_dump(exclude_defaults=True)


def _transformers(
    setup: Setup, model_ref: str, threads: int | None, gpu: GpuAccess | None
) -> Engine:
    """The engine with a real model; importing it here keeps torch out of every other command."""
    from orchestrator.engine.hf import load

    return load(setup, model_ref, threads, gpu)


def _compiled(setup: Setup, model_ref: str, threads: int | None, gpu: GpuAccess | None) -> Engine:
    """The engine with a compiled step."""
    from orchestrator.engine.compiled import load

    return load(setup, model_ref, threads, gpu)


def _visible_gpu() -> GpuAccess | None:
    """The first GPU that this process sees; Ray shows a worker its own alone."""
    gpus = visible_gpus()
    return open_gpu(gpus[0].uuid) if gpus else None


def _open_cuda(_gpu: GpuAccess) -> None:
    """Make torch's context."""
    from orchestrator.engine.hf import open_context

    open_context()


def _simulated(setup: Setup, model_ref: str, threads: int | None, gpu: GpuAccess | None) -> Engine:
    """The engine without a model."""
    from orchestrator.engine.simulated import SimulatedEngine

    return SimulatedEngine(setup, model_ref, threads, gpu.simulated if gpu else None)


def _simulated_gpu() -> GpuAccess:
    """A GPU that isn't there."""
    from orchestrator.engine.simulated import device_of_environment

    return simulated_access(device_of_environment())


def _open_simulated(gpu: GpuAccess) -> None:
    """Make the simulated GPU's context."""
    assert gpu.simulated is not None  # noqa: S101 - the engine's own GPU
    gpu.simulated.open_context()


def _server(setup: Setup, model_ref: str, threads: int | None, gpu: GpuAccess | None) -> Engine:
    """The engine that asks a server."""
    from orchestrator.engine.server import load

    return load(setup, model_ref, threads, gpu)


def _static_cache_length(n_tokens: int) -> int:
    """The length of a compiled step's cache, which grows in steps."""
    from orchestrator.engine.static_cache import seen_lengths

    return seen_lengths(n_tokens)[-1]


def _served_models(options: EngineOptions, refs: Sequence[str]) -> list[Model]:
    """The models of a server."""
    from orchestrator.engine.server import served_models

    return served_models(options, refs)


ENGINES: dict[str, EngineKind] = {
    "transformers": EngineKind(
        "a model by transformers, quantized by bitsandbytes",
        load=_transformers,
        gpu=_visible_gpu,
        open_context=_open_cuda,
        needs_weights=True,
        packages=("torch", "transformers", "bitsandbytes", "accelerate"),
        options=TransformersOptions,
        batches=True,
    ),
    "compiled": EngineKind(
        "a model by transformers, its decoding step compiled and captured",
        load=_compiled,
        gpu=_visible_gpu,
        open_context=_open_cuda,
        needs_weights=True,
        packages=("torch", "transformers", "bitsandbytes", "accelerate"),
        batches=True,
        cache_length=_static_cache_length,
    ),
    "server": EngineKind(
        "a model that an OpenAI-compatible server runs (--server-url)",
        load=_server,
        needs_weights=False,
        packages=("vllm", "sglang", "llama.cpp", "ollama", "tgi"),
        options=ServerOptions,
        quantizations=(SERVED.name,),
        served_models=_served_models,
    ),
    "simulated": EngineKind(
        "no model at all: words drawn at random, to try things out",
        load=_simulated,
        gpu=_simulated_gpu,
        open_context=_open_simulated,
        needs_weights=False,
        packages=("simulated",),
        batches=True,
    ),
}


def options_of(setup: Setup) -> EngineOptions:
    """The options of a setup's engine, defaults filled in, as the model of its row."""
    return ENGINES[setup.engine].options.model_validate(setup.engine_options)
