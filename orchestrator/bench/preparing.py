"""From the flags of `bench` to what is run: the ways, the work, the flags of `tune`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import host
from orchestrator.bench.catalogue import (
    ENGINES_COMPARED,
    LETTERS,
    REFERENCE_ENGINE,
    Way,
    ways_of,
)
from orchestrator.bench.work import Work, planned_trials
from orchestrator.engine.weights import locate
from orchestrator.errors import ModelUnavailableError, UserError
from orchestrator.gpu.access import GpuAccess, open_gpu
from orchestrator.gpu.devices import visible_gpus
from orchestrator.models import architecture_of
from orchestrator.packages import package_versions
from orchestrator.say import Say
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.request import Request, Resolved, resolve_request
from orchestrator.sweep.staging import staged_revisions
from orchestrator.yaml_files import nearest

GPU_MODEL, CPU_MODEL = "synthetic-llama2", "smollm2"
"""What is run where no model is named: both can be had anywhere."""
QUANTIZATIONS_COMPARED = ("nf4", "fp4", "int8", "none")
"""Those that transformers loads by itself, so that every way has them."""
RANGE = "max_length=100:140"
"""Lengths where no range is given: a comparison needs no long texts."""
SOME_COUNTRY = "ITA"
"""For CodeCarbon's tracker where the machine's file names none: no energy depends on it."""
PACKAGES = ("torch", "transformers", "bitsandbytes", "codecarbon", "ray")


@dataclass(frozen=True)
class Asked:
    """The flags of `bench`."""

    letters: tuple[str, ...]
    engines: tuple[str, ...]
    model: str | None
    quantization: str
    space: str
    samples: int
    prompts: int
    seed: int
    use_cases: tuple[str, ...]
    ranges: tuple[str, ...]
    max_new_tokens: bool


@dataclass(frozen=True)
class Prepared:
    """What is run."""

    ways: tuple[Way, ...]
    work: Work
    tune_flags: list[str]
    gpu: GpuAccess | None


def prepare(asked: Asked, say: Say) -> Prepared:
    """Check the flags, plan the work and have the weights here. Raises UserError."""
    _check(asked)
    gpus = visible_gpus()
    gpu = open_gpu(gpus[0].uuid) if gpus else None
    model = asked.model or (CPU_MODEL if gpu is None else GPU_MODEL)
    ranges = asked.ranges
    if not any(one.startswith("max_length=") for one in ranges):
        ranges = (*ranges, RANGE)
    request = Request(
        space=asked.space,
        samples=asked.samples,
        seed=asked.seed,
        models=(model,),
        quantizations=(asked.quantization,),
        engines=(REFERENCE_ENGINE,),
        fixed_length=True,
        max_new_tokens=asked.max_new_tokens,
        use_cases=asked.use_cases,
        prompts=asked.prompts,
        ranges=ranges,
    )
    resolved = resolve_request(request, [gpu.gpu.name] if gpu else [])
    plan = make_plan(resolved)
    if plan.learns():
        raise UserError(
            f"--space {asked.space}: its configurations depend on results, which would differ from "
            "way to way; take lhs, uniform, grid or sobol"
        )
    staged_revisions(resolved, say)
    folder = _folder_of(resolved)
    architecture = architecture_of(folder)
    work = Work(
        model_folder=folder,
        quantization=resolved.variants[0].quantization.model_dump(),
        of_new_tokens=asked.max_new_tokens,
        context_length=architecture.max_position_embeddings if architecture else None,
        threads=os.cpu_count() or 1,
        gpu_index=gpu.gpu.index if gpu else None,
        country_iso_code=resolved.machine.country_iso_code or SOME_COUNTRY,
        trials=planned_trials(plan),
    )
    ways = ways_of(asked.letters, asked.engines)
    return Prepared(ways, work, tune_flags(request), gpu)


def tune_flags(request: Request) -> list[str]:
    """The flags of `tune` that make the same plan; its engine and folder are added for each run."""
    flags = ["--space", str(request.space), "--samples", str(request.samples)]
    flags += ["--seed", str(request.seed), "--model", request.models[0]]
    flags += ["--quantization", request.quantizations[0], "--prompts", str(request.prompts)]
    flags += ["--fixed-length"]
    if request.max_new_tokens:
        flags += ["--max-new-tokens"]
    for use_case in request.use_cases:
        flags += ["--use-case", use_case]
    for one in request.ranges:
        flags += ["--range", one]
    return flags


def _folder_of(resolved: Resolved) -> Path:
    """Where the staged weights are."""
    weights = locate(resolved.models[0])
    if weights is None:
        raise ModelUnavailableError(f"{resolved.models[0].ref}: its weights were just removed")
    return weights.path


def _check(asked: Asked) -> None:
    """Raise UserError for ways, engines and quantizations that can't be compared."""
    strange = [letter for letter in asked.letters if letter not in LETTERS]
    lines = [f"--ways {letter}: the ways are {', '.join(LETTERS)}" for letter in strange]
    for engine in asked.engines:
        if engine not in ENGINES_COMPARED:
            known = nearest(engine, list(ENGINES_COMPARED))
            lines.append(f"--engine {engine}: bench compares engines that run a model: {known}")
    if asked.quantization not in QUANTIZATIONS_COMPARED:
        lines.append(
            f"--quantization {asked.quantization}: the other ways have what transformers loads by "
            f"itself: {', '.join(QUANTIZATIONS_COMPARED)}"
        )
    if lines:
        raise UserError(*lines)


def where(prepared: Prepared) -> dict[str, Any]:
    """The machine, and the versions of what is compared."""
    return {
        "cpu": host.cpu_model(),
        "gpu": prepared.gpu.gpu.name if prepared.gpu else None,
        "versions": package_versions(PACKAGES),
    }
