"""How long a text of each known model can be in a machine's memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.models import KNOWN, Architecture
from orchestrator.nouns import QUANTIZATIONS, Quantization


@dataclass(frozen=True)
class Room:
    """How long a text of a model can be in this machine's memory."""

    model: str
    quantization: str
    weights_bytes: int
    max_length: int
    """Tokens, prompt included; at most the model's context; 0 where the weights alone don't fit."""
    context_length: int


def rooms(memory_bytes: int, dtype_bytes: int) -> Iterator[Room]:
    """How long a text can be in this memory, for each known model in each quantization.

    `dtype_bytes`: size of a value that isn't quantized.
    """
    for name, model in KNOWN.items():
        for quantization in QUANTIZATIONS.values():
            if model.architecture:
                yield _room(name, model.architecture, quantization, memory_bytes, dtype_bytes)


def _room(
    name: str,
    architecture: Architecture,
    quantization: Quantization,
    memory_bytes: int,
    dtype_bytes: int,
) -> Room:
    """How many tokens fit beside a model's weights in the memory, its context at most."""
    weights_bytes = architecture.weights_bytes(quantization, dtype_bytes)
    left = memory_bytes - weights_bytes
    tokens = max(0, left // architecture.cache_bytes_per_token(dtype_bytes))
    context = architecture.max_position_embeddings
    return Room(name, quantization.name, weights_bytes, min(tokens, context), context)
