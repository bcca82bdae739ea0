"""A key-value cache of fixed size, and attention over it for one new token a row.

The cache's tensors never move, so that a decoding step can be compiled and captured. It is as long
as the longest text, and a step sees as much of its beginning as its text needs so far: the lengths
of `seen_lengths`. So a short text doesn't pay for the room of a long one.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any

SHORTEST = 512
"""The least length that a step sees; each next one is twice as long."""
UNSEEN = 8
"""Places that no step sees: so views of every length have gaps, and one program serves all."""
ATTENTION = "orchestrator_one_token"
"""The name by which transformers knows `one_token_attention`."""


def seen_lengths(longest: int) -> tuple[int, ...]:
    """512, 1024, 2048 ... up to the first that holds the longest text."""
    powers = (SHORTEST * 2**i for i in range(64))
    shorter = tuple(takewhile(lambda length: length < longest, powers))
    return (*shorter, SHORTEST * 2 ** len(shorter))


def seen_length(lengths: tuple[int, ...], n_tokens: int) -> int:
    """The shortest of ascending lengths that holds so many tokens."""
    return next(length for length in lengths if length >= n_tokens)


def longest_room(n_tokens: int) -> int:
    """The longest cache that takes no more memory than so many tokens' keys and values; 0: none."""
    lengths = seen_lengths(n_tokens)
    return max((length for length in lengths if length <= n_tokens), default=0)


class StaticCache:
    """Keys and values of every layer, [rows, heads, length, head size] each."""

    def __init__(self, prefilled: Any, length: int) -> None:
        """Room for `length` tokens, shaped as a cache of transformers that has been filled once."""
        self.layers = []
        for layer in prefilled.layers:
            pair = []
            for filled in (layer.keys, layer.values):
                rows, heads, _, size = filled.shape
                room = (rows, heads, length + UNSEEN, size)
                pair.append(filled.new_zeros(room))
            self.layers.append(tuple(pair))

    def fill(self, prefilled: Any, n_tokens: int) -> None:
        """Take over the keys and values of so many tokens from a cache of transformers.

        A layer with a sliding window has those of the last tokens alone.
        """
        for (keys, values), layer in zip(self.layers, prefilled.layers, strict=True):
            n_kept = layer.keys.shape[-2]
            keys[:, :, n_tokens - n_kept : n_tokens] = layer.keys
            values[:, :, n_tokens - n_kept : n_tokens] = layer.values

    def beginning(self, length: int) -> list[tuple[Any, Any]]:
        """Views on the first `length` places of each layer.

        torch.compile is told that the length of one row varies, so that one program serves all
        lengths. Of several rows torch 2.11 on a GPU can't compile such a one.
        """
        from torch._dynamo import mark_dynamic, mark_static  # documented under this name

        views = [(keys[:, :, :length], values[:, :, :length]) for keys, values in self.layers]
        for view in (view for pair in views for view in pair):
            mark = mark_dynamic if len(view) == 1 else mark_static
            mark(view, 2)
        return views


class CacheAt:
    """What a model of transformers takes for its cache: it writes a token's keys at one place."""

    def __init__(self, layers: list[tuple[Any, Any]], place: Any) -> None:
        """`place`: int64 [1], where the new token stands."""
        self._layers = layers
        self._place = place

    def update(self, keys: Any, values: Any, layer: int, *_args: Any, **_kwargs: Any) -> Any:
        """Write a layer's new keys and values; all of its keys and values."""
        all_keys, all_values = self._layers[layer]
        all_keys.index_copy_(2, self._place, keys)
        all_values.index_copy_(2, self._place, values)
        return all_keys, all_values

    def get_seq_length(self, *_args: Any) -> int:
        """Not asked for where positions and mask are given."""
        return 0


def masks(config: Any, length: int, place: Any, padding: Any) -> Any:
    """Which places the token at `place` attends to, as transformers' models take it.

    Boolean [rows, 1, 1, length], or one for each kind of layer where a model has several.
    `place`: int64 [1]; `padding`: int64 [rows], how many places a row leaves free at its left.
    """
    import torch

    places = torch.arange(length, device=place.device)
    full = (places <= place) & (places >= padding[:, None])
    full = full[:, None, None, :]
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or [])
    if not window or kinds == {"full_attention"}:
        return full
    sliding = full & (places > place - window)
    if kinds in (set(), {"sliding_attention"}):
        return sliding
    return {"full_attention": full, "sliding_attention": sliding}


def one_token_attention(  # noqa: PLR0917 - as transformers calls it
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,  # noqa: ARG001 - as transformers calls it
    **kwargs: Any,
) -> tuple[Any, None]:
    """Attention of one new token a row.

    Query heads that share a key head are rows of one matrix, so that no key is read twice. Shapes:
    query [rows, heads, 1, size], key and value [rows, key heads, length, size]; the result is
    [rows, 1, heads, size]. Raises NotImplementedError for kinds of attention that it isn't.
    """
    for unknown in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(unknown) is not None:
            raise NotImplementedError(f"attention with {unknown}")
    rows, heads, _, size = query.shape
    key_heads = key.shape[1]
    # plain products and sums, in float32: torch.compile makes them two kernels that all of a GPU
    # works on, where the ready-made kernels take one block a head for one token
    asked = query.reshape(rows, key_heads, heads // key_heads, 1, size).float()
    scores = (asked * key[:, :, None].float()).sum(-1) * (scaling or module.scaling)
    shares = scores.masked_fill(~attention_mask, float("-inf")).softmax(-1)
    output = (shares[..., None] * value[:, :, None].float()).sum(-2)
    return output.to(query.dtype).reshape(rows, 1, heads, value.shape[-1]), None
