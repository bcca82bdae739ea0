"""The work that all ways do: the trials of a sweep's plan, as plain data.

Doesn't know how it is done. Values are those that run (nouns/effective.py); how many new tokens a
length leaves is known where the prompt has been tokenized.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.dataset.sweep_plan import SweepPlan
from orchestrator.nouns import TrialSpec, effective_of, generation_seed


@dataclass(frozen=True)
class Generation:
    """One prompt under one configuration."""

    prompt: int
    """Its number, from 1."""
    text: str
    seed: int
    max_length: int
    do_sample: bool
    top_k: int | None
    top_p: float | None
    temperature: float | None


@dataclass(frozen=True)
class PlannedTrial:
    """One configuration on its prompts."""

    trial: str
    """What names it: use case, strategy, index and repeat."""
    generations: tuple[Generation, ...]


@dataclass(frozen=True)
class Work:
    """What a way is given."""

    model_folder: Path
    quantization: dict[str, Any]
    """The fields of nouns.Quantization."""
    of_new_tokens: bool
    """Whether max_length counts the new tokens alone."""
    context_length: int | None
    """Positions of the model, which no text passes; None: unknown."""
    threads: int
    gpu_index: int | None
    """NVML's number of the GPU; None: the CPU."""
    country_iso_code: str
    """CodeCarbon's offline tracker must have one."""
    trials: tuple[PlannedTrial, ...]


def planned_trials(plan: SweepPlan) -> tuple[PlannedTrial, ...]:
    """The trials of a plan in their order."""
    return tuple(_planned(spec) for spec in plan.specs())


def _planned(spec: TrialSpec) -> PlannedTrial:
    """One trial with its seeds and the values that run."""
    configuration = spec.configuration
    # of the values that are read here, none depends on the prompt's length
    effective = effective_of(configuration)
    generations = [
        Generation(
            prompt=prompt.number,
            text=prompt.text,
            seed=generation_seed(spec.setup.seed, configuration, prompt.text, spec.repeat),
            max_length=configuration.max_length,
            do_sample=effective.do_sample,
            top_k=effective.top_k,
            top_p=effective.top_p,
            temperature=effective.temperature,
        )
        for prompt in spec.prompts
    ]
    name = trial_name(spec.setup.use_case, spec.strategy, spec.config_index, spec.repeat)
    return PlannedTrial(name, tuple(generations))


def trial_name(use_case: str, strategy: str, config_index: int, repeat: int) -> str:
    """What names a trial in all ways: 'fantasyWorld latinHypercubeSampling 0003-r1'."""
    return f"{use_case} {strategy} {config_index:04d}-r{repeat}"
