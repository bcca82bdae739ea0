"""4-bit weights by torch's own kernel (`_weight_int4pack_mm`), rounded to the nearest here.

Asymmetric: in each group of a row, w = (q - 8) * scale + zero with q from 0 to 15. All linear
layers but the output's are quantized, as bitsandbytes does. Needs bfloat16 and compute capability
8.0 on a GPU; a CPU has a kernel of its own with the same arithmetic.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

GROUPS = (128, 64, 32)
"""Weights that share a scale: the largest that divides every row of the model."""
LEVELS, MIDDLE = 16, 8
ROWS_MULTIPLE = 8
"""The kernel takes so many output rows at once."""
LEAST_SCALE = 1e-6
"""Of a group whose weights are all equal."""
KEPT = "lm_head"
"""The layer that stays as it is."""
CAPABILITY = 8
"""Compute capability from which GPUs have the kernel."""
FEW_ROWS = 32
"""Input rows up to which the kernel is used on a GPU.

It reads all weights again for each 16 rows; for more they are unpacked once and multiplied as they
are."""


def quantize(model: Any, device: str) -> int:
    """Quantize a model's linear layers, bring it to a device and tell the size of a group.

    The model is on the CPU, and each layer goes to the device by itself, so that the GPU needs no
    room for the whole. Raises ValueError for a model or a GPU that can't.
    """
    import torch

    if device != "cpu" and torch.cuda.get_device_capability()[0] < CAPABILITY:
        raise ValueError("int4 needs a GPU of compute capability 8.0 or newer; use nf4")
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if type(layer) is torch.nn.Linear and name != KEPT
    }
    group = _group_of([layer.weight.shape for layer in layers.values()])
    for name, layer in layers.items():
        weight = layer.weight.data.to(device)
        layer.weight = None  # its memory first
        q, scale, zero = rounded(weight, group)
        both = torch.stack([scale, zero], dim=-1).transpose(0, 1).contiguous()
        bias = None if layer.bias is None else layer.bias.data
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, linear_class()(packed(q), both, bias))
    model.to(device)
    return group


def _group_of(shapes: list[Any]) -> int:
    """The largest group that divides all rows. Raises ValueError where none does."""
    for group in GROUPS:
        if all(n_in % group == 0 and n_out % ROWS_MULTIPLE == 0 for n_out, n_in in shapes):
            return group
    raise ValueError(
        f"int4 needs rows that are multiples of {GROUPS[-1]}, which this model's are not; use nf4"
    )


def rounded(weight: Any, group: int) -> tuple[Any, Any, Any]:
    """(q uint8 [rows, columns], scales, zeros [rows, groups]) of a weight [rows, columns].

    Scales and zeros are rounded to the weight's type first, so that q is the best for those that
    the kernel will use.
    """
    grouped = weight.float().unflatten(1, (-1, group))
    low, high = grouped.amin(-1), grouped.amax(-1)
    scale = ((high - low) / (LEVELS - 1)).clamp(min=LEAST_SCALE).to(weight.dtype)
    zero = (low + MIDDLE * scale.float()).to(weight.dtype)
    q = (grouped - zero.float()[..., None]) / scale.float()[..., None] + MIDDLE
    return q.round().clamp(0, LEVELS - 1).flatten(1).byte(), scale, zero


def _tiles(columns: int) -> int:
    """Tiles of 16 columns that the kernel takes at once."""
    return next(tiles for tiles in (8, 4, 2) if columns % (16 * tiles) == 0)


def packed(q: Any) -> Any:
    """Values of 0 to 15, uint8 [rows, columns], as the device's kernel reads them."""
    import torch

    tiles = _tiles(q.shape[1])
    if not q.is_cuda:
        pack = torch.ops.aten._convert_weight_to_int4pack_for_cpu  # noqa: SLF001 - no public name
        return pack(q.int(), tiles)
    # two in a byte, the even column in the high half
    halves = (q[:, ::2] << 4) | q[:, 1::2]
    return torch.ops.aten._convert_weight_to_int4pack(halves.contiguous(), tiles)  # noqa: SLF001


def unpacked(weight: Any, columns: int) -> Any:
    """The values, int32 [rows, columns], of a GPU's packed weight: undoes `packed`."""
    width = columns // weight.shape[1]
    return _unshuffled(weight, _places_in_pack(width, weight.device), width)


def _unshuffled(weight: Any, places: Any, width: int) -> Any:
    """As `unpacked`; `places`: where in the packed tile each value of a tile [8, width] is."""
    import torch

    n_row_tiles, n_column_tiles = weight.shape[:2]
    words = weight.reshape(n_row_tiles, n_column_tiles, width)[:, :, places // 8]
    values = torch.bitwise_right_shift(words, (4 * (places % 8)).int()) & (LEVELS - 1)
    rows = values.unflatten(2, (8, width)).transpose(1, 2)
    return rows.reshape(8 * n_row_tiles, n_column_tiles * width)


@functools.cache
def _places_in_pack(width: int, device: Any) -> Any:
    """Where in a packed tile each value of a tile [8, width] is, int64 [8 * width].

    Tiles of 8 rows are shuffled the same way everywhere. The way is learned by packing a tile whose
    values are the digits of their own places.
    """
    import torch

    place = torch.arange(8 * width, device=device).reshape(8, width)
    shifts = torch.arange(0, 32, 4, device=device)
    found = torch.zeros(8 * width, dtype=torch.long, device=device)
    for digit in range(3):
        digits = ((place >> (4 * digit)) & (LEVELS - 1)).byte()
        read = (packed(digits).reshape(-1, 1) >> shifts) & (LEVELS - 1)
        found += read.flatten().long() << (4 * digit)
    return found.argsort()


@functools.cache
def _compiled_weight() -> Any:
    """`_weight` by torch.compile: one kernel, where plain torch takes ten."""
    import torch

    return torch.compile(_weight, dynamic=False)


def _weight(weight: Any, scale_and_zero: Any, places: Any, width: int) -> Any:
    """The weight [rows, columns] in its scales' type."""
    scale, zero = scale_and_zero.transpose(0, 1).unbind(-1)
    q = _unshuffled(weight, places, width).unflatten(1, (scale.shape[1], -1))
    grouped = (q - MIDDLE).to(scale.dtype) * scale[..., None] + zero[..., None]
    return grouped.flatten(1)


def joined(layers: Sequence[Any]) -> Any:
    """Layers of the same input as one: their rows one after the other. None on a CPU."""
    import torch

    if not layers[0].packed.is_cuda:
        return None
    return linear_class()(
        torch.cat([layer.packed for layer in layers]),
        torch.cat([layer.scale_and_zero for layer in layers], dim=1),
        None,
    )


@functools.cache
def linear_class() -> Any:
    """The class of a quantized layer; made here so that importing this module needs no torch."""
    import torch

    class Int4Linear(torch.nn.Module):  # type: ignore[misc] # torch is not typed here
        """A linear layer of packed 4-bit weights."""

        def __init__(self, packed_weight: Any, scale_and_zero: Any, bias: Any) -> None:
            """`scale_and_zero`: [groups, rows, 2]."""
            super().__init__()
            self.register_buffer("packed", packed_weight)
            self.register_buffer("scale_and_zero", scale_and_zero)
            self.register_buffer("bias", bias)

        @property
        def out_features(self) -> int:
            """Rows of the weight."""
            return int(self.scale_and_zero.shape[1])

        def forward(self, x: Any) -> Any:
            """[..., columns] -> [..., rows]."""
            columns = x.shape[-1]
            rows = x.reshape(-1, columns)
            if rows.is_cuda and len(rows) > FEW_ROWS:
                y = rows @ self.weight(columns).t()
            else:
                y = self._product(rows, columns // self.scale_and_zero.shape[0])
            y = y.reshape(*x.shape[:-1], y.shape[-1])
            return y if self.bias is None else y + self.bias

        def _product(self, rows: Any, group: int) -> Any:
            """By the device's kernel."""
            product = torch.ops.aten._weight_int4pack_mm  # noqa: SLF001 - no public name
            if not rows.is_cuda:
                product = torch.ops.aten._weight_int4pack_mm_for_cpu  # noqa: SLF001
            return product(rows, self.packed, group, self.scale_and_zero)

        def weight(self, columns: int) -> Any:
            """The weight in its scales' type [rows, columns]; on a GPU alone."""
            width = columns // self.packed.shape[1]
            places = _places_in_pack(width, self.packed.device)
            return _compiled_weight()(self.packed, self.scale_and_zero, places, width)

    return Int4Linear
