"""What a sweep will take: tokens, time, energy and memory. Nothing here loads a model.

Tokens come from the plan, time and energy from a pilot or from stored figures, memory from sizes.
Token counts are upper bounds: a text may end before max_length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import psutil

from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.sweep_plan import SweepPlan
from orchestrator.engine import ENGINES, options_of
from orchestrator.engine.offload import GPU_SHARE, RAM_SHARE
from orchestrator.gpu.devices import Gpu
from orchestrator.models import Architecture, Model
from orchestrator.nouns import (
    Configuration,
    LoadKey,
    Quantization,
    Setup,
    TrialSpec,
    effective_of,
)
from orchestrator.sweep.request import Resolved
from orchestrator.unknowns import known, median_of_known, product

TOKENS_PER_WORD = 1.15
"""Of English prompts by sub-word tokenizers, rather low: the bound is then rather high."""
TEMPLATE_TOKENS = 25
GPU_OVERHEAD_BYTES = 700 * 2**20
"""CUDA context and activations at batch 1."""
GPU_VALUE_BYTES, CPU_VALUE_BYTES = 2, 4
VALUE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Of a number that isn't quantized, where --dtype says its type."""


@dataclass(frozen=True)
class Figures:
    """Speed and energy of a model on a machine."""

    tokens_per_s: float
    energy_per_token_j: float | None
    source: str

    def seconds(self, tokens: int) -> float:
        """How long so many tokens take."""
        return tokens / self.tokens_per_s if self.tokens_per_s else math.inf

    def joules(self, tokens: int) -> float | None:
        """What so many tokens take; None: unknown."""
        return product(tokens, self.energy_per_token_j)


@dataclass(frozen=True)
class Fit:
    """Memory of a model at the sweep's largest length, against what there is."""

    model: str
    weights_bytes: int
    cache_bytes: int
    available_bytes: int | None
    tokens: int
    offloaded_bytes: int = 0
    """About what the host's memory has to hold of the layers, unquantized."""
    ram_bytes: int = 0

    def line(self) -> str:
        """One line for a person."""
        cache = f"cache {_gib(self.cache_bytes, 2)} at {self.tokens} tokens"
        need = f"{self.model}: weights {_gib(self.weights_bytes, 2)} + {cache}"
        if self.available_bytes is None:
            return f"{need} (memory of the nodes is not known here)"
        return f"{need} of {_gib(self.available_bytes)}: {self._verdict(self.available_bytes)}"

    def _verdict(self, available_bytes: int) -> str:
        """Whether it fits, and what happens or helps where it doesn't."""
        if self.offloaded_bytes:
            layers = f"about {_gib(self.offloaded_bytes)} of layers"
            # the host needs memory for itself, too
            if self.offloaded_bytes > RAM_SHARE * self.ram_bytes:
                return (
                    f"does NOT fit, not even with the host's memory: {layers} would lie there, "
                    f"and {_gib(self.ram_bytes)} are free"
                )
            return f"does NOT fit whole: {layers} stay in the host's memory, which is slow"
        if self.weights_bytes > available_bytes:
            return "does NOT fit: choose a smaller model or --quantization nf4"
        if self.weights_bytes + self.cache_bytes > available_bytes:
            return "does NOT fit whole: max_length will be lowered to what does, and recorded"
        return "fits"


def _gib(n_bytes: int, digits: int = 1) -> str:
    """Bytes for a person."""
    return f"{n_bytes / 2**30:.{digits}f} GiB"


def token_bound(
    requested: Configuration,
    prompt: str,
    model: Model,
    *,
    beyond_context: bool = False,
    of_new_tokens: bool = False,
) -> int:
    """The most new tokens a prompt can give; about, since the prompt isn't tokenized.

    `beyond_context`: whether texts may run past the model's context. `of_new_tokens`: whether
    max_length counts new tokens alone.
    """
    prompt_tokens = _prompt_tokens(prompt, model)
    effective = effective_of(
        requested,
        prompt_tokens=prompt_tokens,
        context_length=model.context_length,
        beyond_context=beyond_context,
        of_new_tokens=of_new_tokens,
    )
    return effective.max_length - prompt_tokens


def _prompt_tokens(prompt: str, model: Model) -> int:
    """About how many tokens a prompt has."""
    if model.kind == "synthetic":
        return len(prompt) + 1
    return int(len(prompt.split()) * TOKENS_PER_WORD) + TEMPLATE_TOKENS


def _counting(setup: Setup) -> dict[str, bool]:
    """How a setup's lengths count, as `token_bound` takes it."""
    return {
        "beyond_context": setup.beyond_context,
        "of_new_tokens": setup.length_of == "new tokens",
    }


def longest_text(plan: SweepPlan, models: Sequence[Model]) -> int:
    """Tokens of the longest text that a sweep may ask for; about, with the prompt's tokens."""
    longest = int(plan.space.parameters.max_length.high)
    if all(setup.length_of == "text" for setup in plan.setups):
        return longest
    prompts = [prompt.text for case in plan.use_cases for prompt in plan.prompts(case.name)]
    return longest + max(_prompt_tokens(text, model) for text in prompts for model in models)


def trial_bound(spec: TrialSpec, numbers: tuple[int, ...], model: Model) -> int:
    """The most new tokens of a trial's prompts of these numbers.

    `numbers`: as the prompts of the trial are numbered, from 1.
    """
    bounds = [
        token_bound(spec.configuration, prompt.text, model, **_counting(spec.setup))
        for prompt in spec.prompts
        if prompt.number in numbers
    ]
    return sum(bounds)


def unasked_bound(plan: SweepPlan, setup: Setup, model: Model, n_trials: int) -> int:
    """The most new tokens of trials that a sampler which learns has yet to propose for a setup.

    Each is taken at the middle of the space.
    """
    # nobody knows yet what the sampler will propose
    middle = Configuration.at(plan.space, [0.5] * 4)
    bounds = [
        token_bound(middle, prompt.text, model, **_counting(setup))
        for prompt in plan.prompts(setup.use_case)
    ]
    return n_trials * sum(bounds)


def stored_figures(
    records: Iterable[TrialRecord], plan: SweepPlan, load_key: LoadKey
) -> Figures | None:
    """Medians over the data set's executions of the same model in the same variant.

    None where there are none.
    """
    wanted = {_speed_key(setup) for setup in plan.setups if setup.load_key() == load_key}
    speeds: list[float] = []
    energies_j: list[float | None] = []
    for record in records:
        if plan.counts_on(record.columns.machine) and _speed_key(record.spec.setup) in wanted:
            ok = [one for one in record.executions if one.status == "ok"]
            for one in ok:
                if one.tokens_per_s:
                    speeds.append(one.tokens_per_s)
                    energies_j.append(one.energy_per_token_j)
    speed = median_of_known(speeds)
    if speed is None:
        return None
    known = f"{len(speeds)} executions in the data set"
    return Figures(speed, median_of_known(energies_j), known)


def _speed_key(setup: Setup) -> tuple[LoadKey, tuple[str, ...]]:
    """What decides, besides the machine, how fast tokens come and what they cost."""
    options = sorted(f"{name}={value}" for name, value in setup.engine_options.items())
    return setup.load_key(), tuple(options)


def memory_fit(plan: SweepPlan, models: list[Model], gpus: list[Gpu], *, local: bool) -> list[Fit]:
    """Memory of each model whose sizes are known, in each variant of the sweep.

    `gpus`: those of this machine. `local`: whether the sweep runs here; on a cluster nobody knows
    here what memory there is.
    """
    largest = longest_text(plan, models)
    available = available_bytes(gpus) if local else None
    offload = bool(gpus) and local and any(_offloads(setup) for setup in plan.setups)
    fits = []
    beyond = {setup.model for setup in plan.setups if setup.beyond_context}
    by_label = {model.label: model for model in models}
    one_way = len(plan.load_keys()) == len(models)
    for label, variant in plan.load_keys():
        model = by_label[label]
        architecture = model.architecture
        if architecture is None:
            continue
        dtype_bytes = VALUE_BYTES.get(variant.compute_dtype, value_bytes(gpus))
        cache_bytes = architecture.cache_bytes_per_token(dtype_bytes)
        tokens = largest
        # the engine lowers max_length to the context
        if model.label not in beyond:
            tokens = min(largest, architecture.max_position_embeddings)
        room = ENGINES[variant.engine].cache_length(tokens)
        fit = Fit(
            model=label if one_way else f"{label} ({variant.label()})",
            weights_bytes=architecture.weights_bytes(variant.quantization, dtype_bytes),
            cache_bytes=variant.batch_size * room * cache_bytes,
            available_bytes=available,
            tokens=tokens,
        )
        if offload:
            outside = offloaded_bytes(architecture, variant.quantization, available or 0)
            fit = replace(fit, offloaded_bytes=outside, ram_bytes=psutil.virtual_memory().available)
        fits.append(fit)
    return fits


def _offloads(setup: Setup) -> bool:
    """Whether layers may stay in the host's memory."""
    return options_of(setup).offloads


def offloaded_bytes(architecture: Architecture, quantization: Quantization, gpu_bytes: int) -> int:
    """About what the GPU leaves to the host's memory; 0 where it holds the whole model.

    What lies there is unquantized, so it takes more bytes than it would on the GPU.
    """
    over = architecture.weights_bytes(quantization, GPU_VALUE_BYTES) - GPU_SHARE * gpu_bytes
    others = architecture.other_parameters() * GPU_VALUE_BYTES
    of_matrices = over / (architecture.weights_bytes(quantization, GPU_VALUE_BYTES) - others)
    return int(min(1.0, max(0.0, of_matrices)) * architecture.linear_parameters() * GPU_VALUE_BYTES)


def too_small(plan: SweepPlan, resolved: Resolved) -> tuple[str, ...]:
    """Kinds of machine of a cluster whose GPU doesn't hold the weights of a model of the sweep.

    By the sizes in their files; of several variants the largest counts.
    """
    if plan.machine is not None or not resolved.needs_weights or any(map(_offloads, plan.setups)):
        return ()
    weights = [
        architecture.weights_bytes(
            variant.quantization, VALUE_BYTES.get(variant.compute_dtype, GPU_VALUE_BYTES)
        )
        for architecture in known(model.architecture for model in resolved.models)
        for variant in resolved.variants
    ]
    need_gib = (max(weights, default=0) + GPU_OVERHEAD_BYTES) / 2**30
    small = []
    for name in plan.each or resolved.machines:
        gpu_gib = resolved.machines[name].gpu_memory_gib
        if gpu_gib and gpu_gib < need_gib:
            small.append(name)
    return tuple(sorted(small))


def value_bytes(gpus: list[Gpu]) -> int:
    """Of a number that isn't quantized: float16 or bfloat16 on a GPU, float32 without one."""
    return GPU_VALUE_BYTES if gpus else CPU_VALUE_BYTES


def available_bytes(gpus: list[Gpu]) -> int:
    """What weights and cache may take: of the smallest GPU, else of the host's free memory."""
    if not gpus:
        return psutil.virtual_memory().available
    # any trial may get any GPU
    return min(gpu.memory_bytes for gpu in gpus) - GPU_OVERHEAD_BYTES
