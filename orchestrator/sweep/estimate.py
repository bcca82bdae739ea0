"""What a sweep will take: tokens from the plan, time and energy from a pilot or from stored figures, memory from sizes.

Token counts are upper bounds: a text may end before max_length. Nothing here loads a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.sweep_plan import SweepPlan
from orchestrator.engine.offload import GPU_SHARE, RAM_SHARE
from orchestrator.meters.nvml import Gpu
from orchestrator.models import Architecture, Model
from orchestrator.nouns import Configuration, Quantization, TrialSpec, resolve
from orchestrator.sweep.request import Resolved

TOKENS_PER_WORD = 1.15
"""English prompts by sub-word tokenizers, rather low: the bound on new tokens is then rather high."""
TEMPLATE_TOKENS = 25
CHARACTERS_PER_BYTE_TOKEN = 1.0
"""Models of random weights have a token a byte."""
GPU_OVERHEAD_BYTES = 700 * 2**20
"""CUDA context and activations at batch 1."""
GPU_VALUE_BYTES, CPU_VALUE_BYTES = 2, 4


@dataclass(frozen=True)
class Figures:
    """Speed and energy of a model on a machine."""

    tokens_per_s: float
    energy_j_per_token: float | None
    source: str


@dataclass(frozen=True)
class Fit:
    """Memory of a model at the sweep's largest length, against what there is."""

    model: str
    weights_bytes: int
    cache_bytes: int
    available_bytes: int | None
    tokens: int
    offloaded_bytes: int = 0
    """About what the host's memory has to hold, unquantized, where that is asked for."""
    ram_bytes: int = 0

    def line(self) -> str:
        """One line for a person."""
        gib = 2**30
        cache = f"cache {self.cache_bytes / gib:.2f} GiB at {self.tokens} tokens"
        need = f"{self.model}: weights {self.weights_bytes / gib:.2f} GiB + {cache}"
        if self.available_bytes is None:
            return f"{need} (memory of the nodes is not known here)"
        fits = self.weights_bytes + self.cache_bytes <= self.available_bytes
        verdict = (
            "fits"
            if fits
            else "does NOT fit whole: max_length will be lowered to what does, and recorded"
        )
        layers = f"about {self.offloaded_bytes / gib:.1f} GiB of layers"
        if self.offloaded_bytes > RAM_SHARE * self.ram_bytes:
            free = f"{self.ram_bytes / gib:.1f} GiB are free there"
            verdict = f"does NOT fit, not even by --cpu-offload: {layers} would lie in the host's memory, and {free}"
        elif self.offloaded_bytes:
            verdict = f"does NOT fit whole: {layers} stay in the host's memory (--cpu-offload), which is slow"
        elif self.weights_bytes > self.available_bytes:
            verdict = "does NOT fit: choose a smaller model or --quantization nf4"
        return f"{need} of {self.available_bytes / gib:.1f} GiB: {verdict}"


def token_bound(
    asked: Configuration, prompt: str, model: Model, *, beyond_context: bool = False
) -> int:
    """The most new tokens a prompt can give under a configuration; about, since the prompt isn't tokenized."""
    words = len(prompt.split())
    prompt_tokens = (
        len(prompt) + 1
        if model.kind == "synthetic"
        else int(words * TOKENS_PER_WORD) + TEMPLATE_TOKENS
    )
    context = model.architecture.max_position_embeddings if model.architecture else None
    effective = resolve(
        asked, prompt_tokens=prompt_tokens, context_length=context, beyond_context=beyond_context
    )
    return effective.max_length - prompt_tokens


def trial_bound(spec: TrialSpec, todo: tuple[int, ...], model: Model) -> int:
    """The most new tokens of a trial's prompts."""
    beyond = spec.setup.beyond_context
    return sum(
        token_bound(spec.asked, p.text, model, beyond_context=beyond)
        for p in spec.prompts
        if p.number in todo
    )


def unasked_bound(
    plan: SweepPlan, models: dict[str, Model], trials_of_setup: dict[tuple[str, str], int]
) -> int:
    """The same for trials that a learning sampler has yet to ask for, taken at the middle of the space."""
    middle = Configuration.at(plan.space, [0.5] * 4)
    return sum(
        n
        * token_bound(
            middle,
            prompt.text,
            models[model],
            beyond_context=plan.setup(model, use_case).beyond_context,
        )
        for (model, use_case), n in trials_of_setup.items()
        for prompt in plan.prompts(use_case)
    )


def stored_figures(records: list[TrialRecord], plan: SweepPlan) -> Figures | None:
    """Medians over the data set's executions of the same model, quantization and engine; None where there are none."""
    setups = {(s.model, s.quantization.name, s.engine, s.cpu_offload) for s in plan.setups}
    rows = [
        execution
        for record in records
        if (
            record.columns.model,
            record.columns.quantization,
            record.columns.engine,
            record.setup.cpu_offload,
        )
        in setups
        and not {None, record.columns.machine}.isdisjoint(plan.kinds())
        for execution in record.executions
        if execution.status == "ok" and execution.tokens_per_s
    ]
    if not rows:
        return None
    energies = [row.energy_per_token_j for row in rows if row.energy_per_token_j is not None]
    speed = median(row.tokens_per_s for row in rows if row.tokens_per_s)
    return Figures(
        speed, median(energies) if energies else None, f"{len(rows)} executions in the data set"
    )


def memory_fit(
    plan: SweepPlan,
    models: list[Model],
    quantization: Quantization,
    gpus: list[Gpu],
    *,
    local: bool,
) -> list[Fit]:
    """Memory of each model whose sizes are known. On a CPU float32, on a GPU 2 bytes a value."""
    largest = int(plan.space.parameters.max_length.high)
    dtype_bytes = value_bytes(gpus)
    available = available_bytes(gpus) if local else None
    offload = bool(gpus) and local and any(s.cpu_offload for s in plan.setups)
    fits = []
    for model in models:
        if model.architecture is None:
            continue
        beyond = any(s.model == model.label and s.beyond_context for s in plan.setups)
        tokens = largest if beyond else min(largest, model.architecture.max_position_embeddings)
        fits.append(
            Fit(
                model=model.label,
                weights_bytes=model.architecture.weights_bytes(quantization, dtype_bytes),
                cache_bytes=tokens * model.architecture.cache_bytes_per_token(dtype_bytes),
                available_bytes=available,
                tokens=tokens,
                offloaded_bytes=offloaded_bytes(model.architecture, quantization, available or 0)
                if offload
                else 0,
                ram_bytes=_ram_bytes() if offload else 0,
            )
        )
    return fits


def offloaded_bytes(architecture: Architecture, quantization: Quantization, gpu_bytes: int) -> int:
    """About what a GPU of that size leaves to the host's memory by --cpu-offload; 0 where it holds the model."""
    over = architecture.weights_bytes(quantization, GPU_VALUE_BYTES) - GPU_SHARE * gpu_bytes
    others = architecture.other_parameters() * GPU_VALUE_BYTES
    of_matrices = over / (architecture.weights_bytes(quantization, GPU_VALUE_BYTES) - others)
    return int(min(1.0, max(0.0, of_matrices)) * architecture.linear_parameters() * GPU_VALUE_BYTES)


def too_small(plan: SweepPlan, resolved: Resolved) -> tuple[str, ...]:
    """Kinds of machine of a cluster whose GPU, by their files, doesn't hold the weights of a model of the sweep."""
    if (
        plan.machine is not None
        or resolved.request.engine == "simulated"
        or resolved.request.cpu_offload
    ):
        return ()
    weights = [
        m.architecture.weights_bytes(resolved.quantization, GPU_VALUE_BYTES)
        for m in resolved.models
        if m.architecture
    ]
    need = (max(weights, default=0) + GPU_OVERHEAD_BYTES) / 2**30
    kinds = {name: resolved.machines[name] for name in plan.each or resolved.machines}
    return tuple(
        sorted(
            name
            for name, machine in kinds.items()
            if machine.gpu_memory_gib and machine.gpu_memory_gib < need
        )
    )


def value_bytes(gpus: list[Gpu]) -> int:
    """Of a number that isn't quantized: float16 or bfloat16 on a GPU, float32 without one."""
    return GPU_VALUE_BYTES if gpus else CPU_VALUE_BYTES


def available_bytes(gpus: list[Gpu]) -> int:
    """What weights and cache may take: of the smallest GPU, without one of the host's memory that is free now."""
    return min(gpu.memory_bytes for gpu in gpus) - GPU_OVERHEAD_BYTES if gpus else _ram_bytes()


def _ram_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().available)
