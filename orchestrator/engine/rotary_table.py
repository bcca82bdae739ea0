"""The angles of rotary position embeddings, looked up instead of computed.

A compiled step would compute their cosines anew for each key that a token attends to.
"""

from __future__ import annotations

from typing import Any

POSITION_ONLY = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embeddings whose angles follow from the position alone."""


def use_table(model: Any, longest: int) -> None:
    """Let a model look its angles up for positions below `longest`, where it has such angles."""
    body: Any = getattr(model, model.base_model_prefix, None)
    rotary: Any = getattr(body, "rotary_emb", None)
    rotary = getattr(rotary, "original", rotary)  # of a table that was shorter
    if getattr(rotary, "rope_type", None) in POSITION_ONLY:
        body.rotary_emb = _table(rotary, model, longest)


def _table(rotary: Any, model: Any, longest: int) -> Any:
    """A module that gives what `rotary` gives."""
    import torch

    class RotaryTable(torch.nn.Module):  # type: ignore[misc] # torch is not typed here
        """Cosines and sines by position, [longest, size] each."""

        def __init__(self) -> None:
            super().__init__()
            self.original = rotary
            positions = torch.arange(longest, device=model.device)[None]
            like = torch.empty(1, dtype=model.dtype, device=model.device)
            cosines, sines = rotary(like, positions)
            self.register_buffer("cosines", cosines[0], persistent=False)
            self.register_buffer("sines", sines[0], persistent=False)

        def forward(self, _x: Any, position_ids: Any) -> tuple[Any, Any]:
            """[rows, tokens, size] each, of positions [rows, tokens]."""
            return self.cosines[position_ids], self.sines[position_ids]

    return RotaryTable()
