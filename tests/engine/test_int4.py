"""4-bit weights by torch's own kernel, on a CPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine import int4


@given(
    seed=st.integers(0, 1000),
    group=st.sampled_from(int4.GROUPS),
    spread=st.sampled_from([1e-3, 1.0, 100.0]),
    constant=st.booleans(),
)
def test_no_weight_moves_by_more_than_half_a_step(
    seed: int, group: int, spread: float, constant: bool
) -> None:
    weight = spread * torch.randn((16, 2 * group), generator=torch.Generator().manual_seed(seed))
    if constant:
        weight[0, :group] = 0.5
    q, scale, zero = int4.rounded(weight, group)
    grouped = q.float().unflatten(1, (-1, group)) - int4.MIDDLE
    back = (grouped * scale[..., None] + zero[..., None]).flatten(1)
    step = scale[..., None].expand(-1, -1, group).flatten(1)
    assert ((back - weight).abs() <= step / 2 + 1e-5 * spread).all()
    assert int(q.max()) < int4.LEVELS


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_multiplies_by_the_rounded_weights(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(64, 256, dtype=dtype), torch.randn(3, 5, 256, dtype=dtype)
    q, scale, zero = int4.rounded(weight, 64)
    grouped = q.float().unflatten(1, (-1, 64)) - int4.MIDDLE
    back = (grouped * scale.float()[..., None] + zero.float()[..., None]).flatten(1)
    both = torch.stack([scale, zero], dim=-1).transpose(0, 1).contiguous()
    bias = torch.randn(64, dtype=dtype)
    layer = int4.linear_class()(int4.packed(q), both, bias)
    expected = x.float() @ back.t() + bias.float()
    tolerance = 1e-4 if dtype == torch.float32 else 0.02
    assert (layer(x).float() - expected).abs().max() < tolerance * expected.abs().max()
    assert layer.out_features == 64


def test_a_model_s_layers_but_the_last_are_quantized_in_the_largest_group() -> None:
    model = torch.nn.Sequential()
    model.add_module("first", torch.nn.Linear(192, 128, bias=True))
    model.add_module("second", torch.nn.Linear(128, 192, bias=False))
    model.add_module("lm_head", torch.nn.Linear(192, 32, bias=False))
    x = torch.randn(4, 192)
    with torch.inference_mode():
        before = model[1](model[0](x))
        assert int4.quantize(model, "cpu") == 64
        after = model[1](model[0](x))
    assert type(model.lm_head) is torch.nn.Linear
    assert (after - before).std() < 0.15 * before.std()


@pytest.mark.parametrize("shape", [(30, 128), (128, 100)])
def test_rows_that_the_kernel_can_t_take_are_told(shape: tuple[int, int]) -> None:
    n_out, n_in = shape
    model = torch.nn.Sequential(torch.nn.Linear(n_in, n_out))
    with pytest.raises(ValueError, match="multiples of 32, which this model's are not; use nf4"):
        int4.quantize(model, "cpu")
