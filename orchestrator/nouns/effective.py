"""From the requested configuration to the values that really run."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.nouns.base import Noun
from orchestrator.nouns.bounds import Count, Real
from orchestrator.nouns.space import Configuration

GREEDY_BELOW_TEMPERATURE = 1e-5
"""Below it sampling is the argmax to float precision, and denormals end in inf or nan."""


class Effective(Noun):
    """What really runs for a configuration, once limits and dormant parameters are resolved."""

    max_length: Count
    do_sample: bool
    temperature: Real | None
    top_p: Real | None
    top_k: Count | None
    dormant: tuple[str, ...]
    """Parameters whose value changes nothing under this configuration."""
    limits: tuple[str, ...]
    """What moved max_length: 'prompt' (raised to prompt + 1), 'context' or 'memory' (lowered)."""

    def key(self) -> tuple[object, ...]:
        """Two configurations with the same key run the same program."""
        return (self.max_length, self.do_sample, self.temperature, self.top_p, self.top_k)


def effective_of(
    requested: Configuration,
    *,
    prompt_tokens: int = 0,
    context_length: int | None = None,
    memory_tokens: int | None = None,
    beyond_context: bool = False,
    of_new_tokens: bool = False,
    not_taken: Collection[str] = (),
) -> Effective:
    """Turn requested into effective values.

    temperature < 1e-5, top_p = 0 and top_k = 1 are the same greedy program, in which the other
    parameters are dormant; top_k = 0 and top_p = 1 are off. max_length counts the prompt (unless
    `of_new_tokens`): it is raised to one token more than the prompt, and lowered to the context
    (unless `beyond_context`) and to what memory holds. A top_k that is `not_taken`, since a server
    has no field for it, is dormant when sampling; what runs in its place is unknown.
    """
    max_length, limits = _limited(
        requested.max_length + (prompt_tokens if of_new_tokens else 0),
        prompt_tokens,
        memory_tokens,
        (None if beyond_context else context_length),
    )
    greedy_by = {
        "temperature": requested.temperature < GREEDY_BELOW_TEMPERATURE,
        "top_p": requested.top_p <= 0.0,
        "top_k": requested.top_k == 1,
    }
    if any(greedy_by.values()):
        dormant = [name for name in ("top_p", "top_k", "temperature") if not greedy_by[name]]
        return Effective(
            max_length=max_length,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            dormant=tuple(dormant),
            limits=limits,
        )
    takes_top_k = "top_k" not in not_taken
    return Effective(
        max_length=max_length,
        do_sample=True,
        temperature=float(requested.temperature),
        top_p=float(requested.top_p),
        top_k=int(requested.top_k) if takes_top_k else None,
        dormant=() if takes_top_k else ("top_k",),
        limits=limits,
    )


def _limited(
    requested: int, prompt_tokens: int, memory_tokens: int | None, context_length: int | None
) -> tuple[int, tuple[str, ...]]:
    """The max_length that runs, and what moved it."""
    limits = []
    max_length = requested
    if context_length is not None and max_length > context_length:
        max_length = context_length
        limits.append("context")
    if memory_tokens is not None and max_length > memory_tokens:
        max_length = memory_tokens
        limits.append("memory")
    if max_length <= prompt_tokens:
        max_length = prompt_tokens + 1
        limits.append("prompt")
    if max_length == requested:  # lowered and raised again
        return requested, ()
    return max_length, tuple(limits)
