"""Drawing a token: against transformers' own definition of temperature, top_k and top_p."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers.generation.logits_process import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from orchestrator.engine.sampling import (
    NOT_A_NUMBER,
    SAMPLERS,
    sampler_of,
    uniform_numbers,
)
from orchestrator.nouns import effective_of
from tests import builders

VOCABULARY = 300
N_DRAWS = 20_000


def reference(logits: torch.Tensor, temperature: float, top_k: int, top_p: float) -> torch.Tensor:
    """The distribution that transformers samples from."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    ids = torch.zeros((len(logits), 1), dtype=torch.long)
    return warpers(ids, logits).double().softmax(-1)


def drawn(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float, n: int = N_DRAWS
) -> torch.Tensor:
    """So many tokens of one row of logits."""
    effective = effective_of(
        builders.configuration(temperature=temperature, top_k=top_k, top_p=top_p)
    )
    sampler = SAMPLERS[sampler_of(effective)]
    return sampler(
        logits.expand(n, -1),
        uniform_numbers([11], n)[:, 0],
        torch.tensor([temperature]),
        torch.tensor([top_k]),
        torch.tensor([top_p], dtype=torch.float64),
    )


def some_logits(seed: int = 0, *, ties: bool = False) -> torch.Tensor:
    logits = 2 * torch.randn((1, VOCABULARY), generator=torch.Generator().manual_seed(seed))
    return logits.bfloat16().float().round() if ties else logits


EDGES = [
    (1.0, 0, 1.0),
    (0.3, 0, 1.0),
    (2.0, 0, 1.0),
    (1.0, 2, 1.0),
    (1.0, 100, 1.0),
    (1.0, 50, 0.9),
    (1.0, 0, 0.9),
    (1.0, 0, 0.01),
    (1.7, 7, 0.5),
    (1e-5, 0, 1.0),
    (1e-5, 3, 0.5),
]


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), EDGES)
@pytest.mark.parametrize("ties", [False, True])
def test_tokens_are_drawn_as_transformers_defines(
    temperature: float, top_k: int, top_p: float, ties: bool
) -> None:
    """Chi-square test on the tokens that are expected five times or more, the others as one."""
    logits = some_logits(ties=ties)
    expected = reference(logits, temperature, top_k, top_p)[0] * N_DRAWS
    tokens = drawn(logits, temperature, top_k, top_p)
    counts = torch.bincount(tokens, minlength=VOCABULARY).double()
    if ties and top_p < 1:
        # which of equal tokens the nucleus ends in is decided by the sort: compare by value
        expected, counts = by_value(logits, expected), by_value(logits, counts)
    assert not counts[expected == 0].any(), "a token that can't come"
    often = expected >= 5
    observed = [*counts[often].tolist(), float(counts[~often].sum())]
    wanted = [*expected[often].tolist(), float(expected[~often].sum())]
    if wanted[-1] == 0:
        observed, wanted = observed[:-1], wanted[:-1]
    if len(wanted) == 1:
        assert observed == pytest.approx(wanted)
    else:
        total = sum(wanted)
        assert chisquare(observed, [w * sum(observed) / total for w in wanted]).pvalue > 1e-4


def by_value(logits: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Sums over tokens of equal logits."""
    values, where = logits[0].unique(return_inverse=True)
    return torch.zeros(len(values), dtype=torch.float64).index_add(0, where, amounts)


@given(
    seed=st.integers(0, 2**31),
    temperature=st.floats(0.01, 2),
    top_k=st.sampled_from([0, *range(2, 101)]),
    top_p=st.floats(0.001, 1),
)
def test_no_token_comes_that_transformers_leaves_out(
    seed: int, temperature: float, top_k: int, top_p: float
) -> None:
    """But for one at the edge of the nucleus, where float32 sums round otherwise."""
    logits = some_logits(seed)
    allowed = reference(logits, temperature, top_k, top_p)[0]
    tokens = drawn(logits, temperature, top_k, top_p, 50).unique()
    left_out = [int(token) for token in tokens if allowed[token] == 0]
    smallest = allowed[allowed > 0].min()
    probabilities = (logits[0] / temperature).double().softmax(-1)
    assert len(left_out) <= 1
    assert all(probabilities[token] <= smallest + 1e-9 for token in left_out)


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
@pytest.mark.parametrize(("temperature", "top_k", "top_p"), EDGES)
def test_the_ends_of_the_unit_interval_give_a_token_that_is_allowed(
    temperature: float, top_k: int, top_p: float, uniform: float
) -> None:
    logits = some_logits()
    effective = effective_of(
        builders.configuration(temperature=temperature, top_k=top_k, top_p=top_p)
    )
    token = SAMPLERS[sampler_of(effective)](
        logits,
        torch.tensor([uniform], dtype=torch.float64),
        torch.tensor([temperature]),
        torch.tensor([top_k]),
        torch.tensor([top_p], dtype=torch.float64),
    )
    assert reference(logits, temperature, top_k, top_p)[0, token] > 0


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_unfit_logits_are_told_row_by_row(sampler: str, bad: float) -> None:
    logits = some_logits().repeat(3, 1)
    logits[1, 5] = bad
    one: Any = torch.tensor([1.0])
    uniform = torch.full((3,), 0.4, dtype=torch.float64)
    tokens = SAMPLERS[sampler](logits, uniform, one, torch.tensor([50]), one.double())
    assert tokens[1] == NOT_A_NUMBER
    assert tokens[0] == tokens[2] >= 0


def test_a_row_s_numbers_follow_from_its_seed_alone() -> None:
    alone, beside = uniform_numbers([7], 50), uniform_numbers([3, 7, 2**63 - 1], 50)
    assert torch.equal(alone[:, 0], beside[:, 1])
    assert torch.equal(uniform_numbers([7], 90)[:50], alone)
    assert ((beside >= 0) & (beside < 1)).all()


def test_the_three_programs() -> None:
    def program(**asked: Any) -> str:
        return sampler_of(effective_of(builders.configuration(**asked)))

    assert program(temperature=0.0) == program(top_p=0.0) == program(top_k=1) == "greedy"
    assert program(top_k=2, temperature=1.0, top_p=0.5) == "among_top_k"
    assert program(top_k=0, temperature=1.0, top_p=0.5) == "among_all"
