"""Made-up data sets whose truth is known: how energy, length and usability follow from what.

Configurations are points in [0, 1]^4, in the order of PARAMETERS. A world has prompts and sessions
of its own; its truth is computed by brute force from many configurations without noise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import qmc

from orchestrator.dataset.schema import ExecutionRow
from orchestrator.nouns import PARAMETERS
from orchestrator.samplers import LhsOptions
from orchestrator.samplers.lhs import design

Array = Any
N_TRUTH = 2**14
"""Configurations from which a truth is computed, in Sobol' order: its error is some thousandths."""
LOWEST = (100.0, 0.01, 2.0, 0.05)
HIGHEST = (1000.0, 0.99, 100.0, 2.0)


@dataclass(frozen=True)
class Kind:
    """A kind of truth. Functions take points (n, 4) and give (n,), on the scale of logarithms."""

    what: str
    direct: Callable[[Array], Array] = lambda x: 0.3 * x[:, 0] - 0.1 * x[:, 1] + 0.2 * x[:, 3]
    """Effect on energy at equal length."""
    length: Callable[[Array], Array] = lambda x: 0.3 * x[:, 3]
    """Effect on the length of an answer that nothing cuts."""
    saturates: bool = False
    """Whether max_length cuts answers, whose own lengths are around 500 tokens."""
    noise: float = 0.05
    """Standard deviation between configurations."""
    noise_grows: float = 0.0
    """How many times as large it is, less one, at the largest max_length."""
    prompt_slope: float = 0.0
    """Standard deviation between prompts of the effect of temperature."""
    n_sessions: int = 1
    session: float = 0.0
    """Standard deviation between sessions, each on a device of its own."""
    fails: float = 0.0
    """Share of the answers that fail at the largest max_length, from the hardest prompts on."""
    discards: float = 0.0
    """Share of the answers that are unusable at the largest temperature."""


def _step(x: Array) -> Array:
    """A step at 1.6 of 2 on temperature's axis."""
    return 0.3 * x[:, 0] + 0.5 * (x[:, 3] > 0.8)


KINDS = {
    "lines": Kind("effects that are straight lines"),
    "nothing": Kind("no effect at all", direct=lambda x: 0 * x[:, 0], length=lambda x: 0 * x[:, 0]),
    "saturation": Kind("max_length cuts answers that would end by themselves", saturates=True),
    "steep": Kind("energy grows as max_length", direct=lambda x: np.log(0.05 + x[:, 0])),
    "step": Kind("temperature does nothing up to 1.6", direct=_step),
    "together": Kind(
        "temperature matters at large max_length only", direct=lambda x: x[:, 0] * x[:, 3]
    ),
    "mediator": Kind(
        "temperature only makes texts longer",
        direct=lambda x: 0.3 * x[:, 0],
        length=lambda x: 0.9 * x[:, 3],
    ),
    "confounder": Kind(
        "temperature makes texts longer and costs by itself",
        direct=lambda x: 0.3 * x[:, 0] + 0.2 * x[:, 3],
        length=lambda x: 0.9 * x[:, 3] - 0.5 * x[:, 0],
    ),
    "uneven noise": Kind("noise grows with max_length", noise_grows=3.0),
    "prompts differ": Kind("temperature costs more on some prompts", prompt_slope=0.3),
    "sessions": Kind("four sessions, 13 % apart, on devices 5 % apart", n_sessions=4, session=0.14),
    "failures": Kind("long answers fail, from the hardest prompts on", fails=0.5),
    "discards": Kind("texts become unusable with temperature", discards=0.6),
}


@dataclass(frozen=True)
class World:
    """A kind of truth with prompts of its own."""

    kind: Kind
    prompt_length: Array
    """What a prompt does to the length; shape (prompts,)."""
    prompt_energy: Array
    prompt_slope: Array

    @property
    def n_prompts(self) -> int:
        """How many prompts each configuration answers."""
        return len(self.prompt_length)


def world(kind: Kind, seed: int, n_prompts: int = 5) -> World:
    """A world of a kind."""
    rng = np.random.default_rng([seed, 1])
    length = rng.normal(0, 0.3, n_prompts)
    # hard prompts make long answers that cost more by themselves: length is confounded with them
    energy = 0.3 * length + rng.normal(0, 0.1, n_prompts)
    return World(kind, length, energy, rng.normal(0, kind.prompt_slope or 1e-12, n_prompts))


def truths(of: World, seed: int, names: Collection[str]) -> dict[str, Array]:
    """Name of an outcome -> what each hyperparameter does to it, a difference of logarithms.

    It is the mean of the upper half of the space less that of the lower, averaged over prompts.
    `names`: the outcomes that are wanted.
    """
    rng = np.random.default_rng([seed, 2])
    points = qmc.Sobol(len(PARAMETERS), rng=rng).random(N_TRUTH)
    answers = _answers(of, points, rng, noise=False)
    direct = of.kind.direct(points)[:, None] + np.outer(points[:, 3] - 0.5, of.prompt_slope)
    everything = np.ones_like(answers["energy"], bool)
    ended, usable = answers["ended"], answers["ended"] & answers["usable"]
    explained = {
        "energy of an answer": (answers["energy"], ended),
        "energy at equal length": (direct, everything),
        "energy of a usable answer": (answers["energy"], usable),
        "new tokens": (answers["length"], ended),
        "usable answers": (answers["usable"].astype(float), ended),
    }
    return {name: _differences(points, *explained[name]) for name in names}


def _differences(points: Array, values: Array, counts: Array) -> Array:
    """Upper less lower half of each hyperparameter, averaged over prompts."""
    found = []
    for of_one in points.T:
        upper = (of_one > 0.5)[:, None]
        means = [
            np.where(counts & half, values, 0).sum(axis=0) / (counts & half).sum(axis=0)
            for half in (upper, ~upper)
        ]
        found.append((means[0] - means[1]).mean())
    return np.array(found)


def _answers(of: World, points: Array, rng: Any, *, noise: bool) -> dict[str, Array]:
    """Logarithms of length and energy, and whether answers ended and are usable.

    Each has the shape (configurations, prompts). How long a text becomes is chance in any case.
    """
    kind, shape = of.kind, (len(points), of.n_prompts)
    length = np.log(300) + kind.length(points)[:, None] + of.prompt_length
    length = length + rng.normal(0, 0.4, shape)
    limit = LOWEST[0] + points[:, 0] * (HIGHEST[0] - LOWEST[0])
    if kind.saturates:
        length = np.minimum(length + np.log(500 / 300), np.log(limit)[:, None])
    length = np.log(np.maximum(np.exp(length).round(), 2))
    energy = np.log(50 + 2 * np.exp(length)) + kind.direct(points)[:, None] + of.prompt_energy
    energy = energy + np.outer(points[:, 3] - 0.5, of.prompt_slope)
    if noise:
        spread = kind.noise * (1 + kind.noise_grows * points[:, 0])
        energy = energy + rng.normal(0, spread)[:, None] + rng.normal(0, 0.05, shape)
    hardness = of.prompt_length.argsort().argsort() / of.n_prompts
    fails = rng.random(shape) < kind.fails * points[:, [0]] * 2 * hardness
    unusable = rng.random(shape) < kind.discards * points[:, [3]]
    return {"length": length, "energy": energy, "ended": ~fails, "usable": ~unusable}


def executions(
    of: World,
    seed: int,
    n_points: int,
    *,
    number: int = 0,
    design_number: int = 0,
    repeats: bool = False,
    gain: float = 0.0,
) -> pd.DataFrame:
    """Rows of executions.parquet: a Latin hypercube of `n_points` configurations on the prompts.

    `number`: data sets of one seed have chance of their own, and the same design where
    `design_number` is the same. `repeats`: each session takes all configurations, not a share of
    them. `gain`: bounds of the error of the sensor, anywhere within which it is as likely.
    """
    rng = np.random.default_rng([seed, 3, number])
    design_seed = seed + 500_000_000 * design_number
    points = np.array(design(n_points, len(PARAMETERS), design_seed, LhsOptions()))
    # trials are handed out shuffled, so a session has some of all
    session = rng.permutation(np.arange(n_points) % of.kind.n_sessions)
    if repeats:
        session = np.repeat(np.arange(of.kind.n_sessions), n_points)
        points = np.tile(points, (of.kind.n_sessions, 1))
    answers = _answers(of, points, rng, noise=True)
    offset = rng.normal(0, of.kind.session or 1e-12, of.kind.n_sessions)
    offset = offset + rng.uniform(-gain, gain)
    energy = np.exp(answers["energy"] + offset[session][:, None])
    point, prompt = (grid.ravel() for grid in np.indices(energy.shape))
    values = np.array(LOWEST) + points * (np.array(HIGHEST) - np.array(LOWEST))
    columns = {name: values[point, i] for i, name in enumerate(PARAMETERS)}
    columns["max_length"], columns["top_k"] = (
        columns["max_length"].round(),
        columns["top_k"].round(),
    )
    joules, tokens = energy.ravel(), np.exp(answers["length"]).ravel().round()
    ended = answers["ended"].ravel()
    n = len(point)
    given: dict[str, Any] = {
        **columns,
        "machine": "gpu",
        "model": "smollm2",
        "quantization": "nf4",
        "strategy": "latinHypercubeSampling",
        "use_case": "fantasyWorld",
        "config_index": point % n_points,
        "prompt_number": prompt + 1,
        "prompt_sha256": [f"{one:064x}" for one in prompt],
        "session_id": [f"{number}-{one}" for one in session[point]],
        "gpu_uuid": f"GPU-{number}" if gain else "GPU",
        "tokens_per_s": 20.0,
        "status": np.where(ended, "ok", "failed"),
        "effective_do_sample": True,
        "effective_max_length": columns["max_length"],
        "n_new_tokens": np.where(ended, tokens, np.nan),
        "gpu_energy_counter_j": np.where(ended, joules, np.nan),
        "energy_basis": "gpu_energy_counter_j",
        "warning_flags": ["none"] * n,
        "usable": np.where(ended, answers["usable"].ravel(), None),
        "synthetic": False,
    }
    empty = dict.fromkeys(ExecutionRow.model_fields.keys() - given.keys())
    return pd.DataFrame({**empty, **given}, index=range(n))
