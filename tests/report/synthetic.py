"""Made-up executions with known effects, which a report must find again. They are seeded."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from orchestrator.dataset.schema import ExecutionRow
from orchestrator.nouns import DOMAIN, PARAMETERS
from orchestrator.samplers import LhsOptions
from orchestrator.samplers.lhs import design

LENGTHS = (100.0, 1000.0)
"""The range of max_length in these executions."""


@dataclass(frozen=True)
class Truth:
    """How an energy is made: (a + b * tokens) * exp(effects), times two noises.

    One noise is the configuration's, the other one the execution's.
    """

    a_j: float = 50.0
    b_j: float = 2.0
    per_token: dict[str, float] = field(default_factory=dict)
    """Logarithm of the change of energy at equal length, from the lowest to the highest value."""
    length: dict[str, float] = field(default_factory=dict)
    """Logarithm of the change of the new tokens, from the lowest to the highest value."""
    noise: float = 0.05
    noise_of_point: float = 0.03


def executions(
    truth: Truth,
    seed: int,
    points: int = 40,
    prompts: int = 5,
    use_cases: int = 3,
    **columns: object,
) -> pd.DataFrame:
    """Rows of executions.parquet: a Latin hypercube on prompts of use cases. `columns` override."""
    rng = np.random.default_rng(seed)
    unit = np.array(design(points, 4, seed, LhsOptions()))
    n = points * prompts * use_cases
    point, prompt, use_case = (
        grid.ravel()
        for grid in np.meshgrid(range(points), range(prompts), range(use_cases), indexing="ij")
    )
    bounds = {
        **DOMAIN,
        "max_length": LENGTHS,
        "top_k": (2.0, 100.0),
        "top_p": (0.01, 0.99),
        "temperature": (0.05, 2.0),
    }
    u = {name: unit[point, i] for i, name in enumerate(PARAMETERS)}
    values = {
        name: bounds[name][0] + u[name] * (bounds[name][1] - bounds[name][0]) for name in PARAMETERS
    }
    scaled = {name: (u[name] - u[name].min()) / max(np.ptp(u[name]), 1e-9) for name in PARAMETERS}
    tokens = 200 * np.exp(
        sum(
            (truth.length.get(name, 0.0) * scaled[name] for name in PARAMETERS),
            rng.normal(0, 0.4, n),
        )
    )
    tokens = np.maximum(5, tokens.round())
    effect = sum(
        (truth.per_token.get(name, 0.0) * scaled[name] for name in PARAMETERS), np.zeros(n)
    )
    noise = rng.normal(0, truth.noise_of_point, points)[point] + rng.normal(0, truth.noise, n)
    energy = (truth.a_j + truth.b_j * tokens) * np.exp(effect + noise)
    names = np.array(["fantasyWorld", "creativeStorytelling", "danceCoreography"])
    base: dict[str, object] = dict.fromkeys(ExecutionRow.model_fields)
    base |= {
        "machine": "gpu",
        "model": "smollm2",
        "strategy": "latinHypercubeSampling",
        "use_case": names[use_case],
        "config_index": point,
        "config_hash": [f"{p:012x}" for p in point],
        "repetition": 1,
        "attempt": 1,
        "sweep_id": "lhs-0",
        "order_index": point,
        **values,
        "max_length": values["max_length"].round().astype(int),
        "top_k": values["top_k"].round().astype(int),
        "quantization": "nf4",
        "engine": "transformers",
        "synthetic": False,
        "prompt_number": prompt + 1,
        "status": "ok",
        "effective_do_sample": True,
        "n_prompt_tokens": 40 + 5 * prompt,
        "n_new_tokens": tokens,
        "window_s": tokens / 20,
        "tokens_per_s": 20.0,
        "energy_j": energy,
        "gpu_energy_counter_j": energy,
        "energy_basis": "gpu_energy_counter_j",
        "energy_per_token_j": energy / tokens,
        "energy_rel_systematic": 0.03,
        "energy_rel_statistical": 0.02,
        "energy_rel_uncertainty": 0.06,
        "counter_look_s": 0.004,
        "gpu_uuid": "GPU-1",
        "finish_reason": "length",
        "cpu_method": "cpu_load",
        "device": "cuda",
        "gpu_name": "GPU",
        "scope": "exclusive",
        "load_s": 5.0,
    }
    base |= {
        "warning_flags": [""] * n,
        "notes": [""] * n,
        "dormant": [""] * n,
        "limits": [""] * n,
        "reasons": [None] * n,
    }
    whole = base | columns
    frame = pd.DataFrame(
        {name: value if np.ndim(value) else [value] * n for name, value in whole.items()}
    )
    frame["execution"] = [
        f"gpu/smollm2/latinHypercubeSampling/{u}/{p:04d}-r1#{q}"
        for u, p, q in zip(names[use_case], point, prompt + 1, strict=True)
    ]
    return frame
