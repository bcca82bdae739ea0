"""Drawing the next token on the device, as transformers' temperature, top_k and top_p define it.

A token is drawn by inverting the distribution function with a number of a row's own stream, uniform
in [0, 1). So a text depends on its seed, not on what else is generated beside it, and the same
numbers serve every quantization and device. All parameters are tensors on the device: one captured
step serves every configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.nouns import Effective

MOST_CANDIDATES = 128
"""So many of the largest logits are sorted where top_k is on.

It is at most 100. The rest is for logits that equal the k-th one, which transformers keeps, too.
"""
NOT_A_NUMBER = -1
"""The token of a distribution with nan or inf."""

Sampler = Callable[..., Any]
"""(logits, uniform, temperature, top_k, top_p) -> tokens.

Shapes: logits [rows, vocabulary] in float32, uniform [rows] in float64, parameters [1]; the
tokens are int64 [rows], `NOT_A_NUMBER` where the logits are unfit."""


def greedy(logits: Any, uniform: Any, temperature: Any, top_k: Any, top_p: Any) -> Any:  # noqa: ARG001 - as all samplers
    """The most probable token."""
    tokens = logits.argmax(-1)
    return _checked(tokens, logits.amax(-1))


def among_top_k(logits: Any, uniform: Any, temperature: Any, top_k: Any, top_p: Any) -> Any:
    """A token among the k most probable ones, k from 2 to 100."""
    largest, tokens = logits.topk(min(MOST_CANDIDATES, logits.shape[-1]), dim=-1)
    last = (top_k.clamp(max=largest.shape[-1]) - 1).expand(len(largest), 1)
    kept = ~(largest < largest.gather(-1, last))  # nan stays, and is told
    scaled = (largest / temperature).masked_fill(~kept, float("-inf"))
    return _drawn(scaled, tokens, uniform, top_p)


def among_all(logits: Any, uniform: Any, temperature: Any, top_k: Any, top_p: Any) -> Any:  # noqa: ARG001 - as all samplers
    """A token of the whole vocabulary."""
    ordered, tokens = logits.sort(dim=-1, descending=True)
    return _drawn(ordered / temperature, tokens, uniform, top_p)


def _drawn(logits: Any, tokens: Any, uniform: Any, top_p: Any) -> Any:
    """A token drawn from descending logits, after top_p.

    The sums are in float64: in float32 their rounding would be a token's probability in large
    vocabularies, and a parallel sum isn't always the same in its last bits.
    """
    probabilities = logits.double().softmax(-1)
    up_to = probabilities.cumsum(-1)
    kept = (up_to - probabilities) < top_p
    of_kept = (probabilities * kept).sum(-1, keepdim=True)
    place = (up_to <= uniform[:, None] * of_kept).sum(-1, keepdim=True)
    last_kept = kept.sum(-1, keepdim=True) - 1
    place = place.minimum(last_kept).clamp(min=0)
    return _checked(tokens.gather(-1, place).squeeze(-1), of_kept.squeeze(-1))


def _checked(tokens: Any, witness: Any) -> Any:
    """The tokens, `NOT_A_NUMBER` where the value that stands for a row's logits is not finite."""
    return tokens.where(witness.isfinite(), NOT_A_NUMBER)


SAMPLERS: dict[str, Sampler] = {
    "greedy": greedy,
    "among_top_k": among_top_k,
    "among_all": among_all,
}
"""Name -> sampler: the three programs that the four hyperparameters choose from."""


def sampler_of(effective: Effective) -> str:
    """The name of the program that a configuration runs."""
    if not effective.do_sample:
        return "greedy"
    if effective.top_k:
        return "among_top_k"
    return "among_all"


def uniform_numbers(seeds: list[int], n: int) -> Any:
    """The rows' streams, float64 [n, rows] on the CPU: a row's numbers follow from its seed."""
    import torch

    streams = [
        torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    return torch.stack(streams, dim=1)
