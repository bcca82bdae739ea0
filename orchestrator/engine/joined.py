"""Layers that read the same input as one product: fewer, larger kernels for one token.

The projections of a layer's attention read the same input, and so do the two of its feed-forward
part. Joined, their rows are the same rows, with the same scales: only the launches are fewer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

FAMILIES = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of the same input, in the order in which models call them, by transformers' names."""


def join(model: Any) -> bool:
    """Join what can be joined of a model; whether anything was."""
    families = list(_families(model))
    for parent, names in families:
        parts = [getattr(parent, name) for name in names]
        whole = _whole_of(parts)
        if whole is None:
            return False
        sizes = [part.out_features for part in parts]
        for name, part in zip(names, _parts(whole, sizes), strict=True):
            setattr(parent, name, part)
    return bool(families)


def _families(model: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Modules with a whole family of layers, and the family's names."""
    for module in list(model.modules()):
        for names in FAMILIES:
            if all(hasattr(module, name) for name in names):
                yield module, names


def _whole_of(layers: Sequence[Any]) -> Any:
    """Layers of one kind as one; None for a kind that can't be joined."""
    from bitsandbytes.nn import Linear4bit
    from torch import nn

    from orchestrator.engine import int4

    kinds = {type(layer) for layer in layers}
    if len(kinds) > 1 or any(layer.bias is not None for layer in layers):
        return None
    ways: dict[Any, Callable[[Sequence[Any]], Any]] = {
        nn.Linear: _linear,
        Linear4bit: _four_bit,
        int4.linear_class(): int4.joined,
    }
    way = ways.get(kinds.pop())
    return way(layers) if way else None


def _linear(layers: Sequence[Any]) -> Any:
    """Unquantized layers as one."""
    import torch

    weight = torch.cat([layer.weight.data for layer in layers])
    n_out, n_in = weight.shape
    whole = torch.nn.Linear(n_in, n_out, bias=False, device="meta")
    whole.weight = torch.nn.Parameter(weight, requires_grad=False)
    return whole


def _four_bit(layers: Sequence[Any]) -> Any:
    """Layers of bitsandbytes as one, their scales no longer quantized, but the same numbers."""
    import torch
    from bitsandbytes import functional

    states = [layer.weight.quant_state for layer in layers]
    first = states[0]
    n_in = first.shape[1]
    if n_in % first.blocksize or getattr(first, "packing_format_for_cpu", False):
        return None  # a scale would belong to two rows, or the rows are in another order
    scales = []
    for state in states:
        scale = state.absmax
        if state.nested:
            scale = functional.dequantize_blockwise(state.absmax, state.state2) + state.offset
        scales.append(scale.float())
    state = functional.QuantState(
        absmax=torch.cat(scales),
        shape=torch.Size((sum(one.shape[0] for one in states), n_in)),
        code=first.code,
        blocksize=first.blocksize,
        quant_type=first.quant_type,
        dtype=first.dtype,
    )
    packed = torch.cat([layer.weight.data.reshape(-1, 1) for layer in layers])
    return _four_bit_class()(packed, state, layers[0].compute_dtype)


@functools.cache
def _four_bit_class() -> Any:
    """The class of joined layers of bitsandbytes; importing this module needs no torch."""
    import torch
    from bitsandbytes import matmul_4bit

    class FourBit(torch.nn.Module):  # type: ignore[misc] # torch is not typed here
        """A linear layer of bitsandbytes' packed 4-bit weights."""

        def __init__(self, packed: Any, state: Any, compute_dtype: Any) -> None:
            super().__init__()
            self.register_buffer("packed", packed)
            self.state, self.compute_dtype = state, compute_dtype

        def forward(self, x: Any) -> Any:
            """[..., columns] -> [..., rows]."""
            product = matmul_4bit(x.to(self.compute_dtype), self.packed, quant_state=self.state)
            return product.to(x.dtype)

    return FourBit


def _parts(whole: Any, sizes: list[int]) -> list[Any]:
    """A joined layer as one layer for each part, of so many rows."""
    last = len(sizes) - 1
    products: list[Any] = []
    return [
        _part_class()(whole if i == 0 else None, products, sizes, i, is_last=i == last)
        for i in range(len(sizes))
    ]


@functools.cache
def _part_class() -> Any:
    """The class of a part of a joined layer."""
    import torch

    class Part(torch.nn.Module):  # type: ignore[misc] # torch is not typed here
        """Some rows of a joined layer. The first part multiplies for all, the last one forgets."""

        def __init__(
            self, whole: Any, products: list[Any], sizes: list[int], number: int, *, is_last: bool
        ) -> None:
            super().__init__()
            self.whole, self.products = whole, products
            self.sizes, self.number, self.is_last = sizes, number, is_last

        def forward(self, x: Any) -> Any:
            """[..., columns] -> [..., rows of this part]."""
            if self.whole is not None:
                self.products[:] = self.whole(x).split(self.sizes, dim=-1)
            product = self.products[self.number]
            if self.is_last:
                self.products.clear()
            return product

    return Part
