"""Where layers go: planned on a model without weights, and then loaded by that plan.

In place of the GPU and the host's memory stand the CPU and the disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.hf import (
    HfEngine,
    bitsandbytes_config,
    device_map_of,
    quantized_as_requested,
)
from orchestrator.engine.offload import (
    GPU,
    GPU_SHARE,
    HOST,
    RAM_SHARE,
    bytes_on,
    offload_fraction,
    passing_bytes,
    place,
    skeleton,
)
from orchestrator.engine.weights import Weights
from orchestrator.errors import ModelTooLargeError
from orchestrator.models import LLAMA2_7B
from orchestrator.nouns import QUANTIZATIONS, Setup
from tests import builders

GIB = 2**30
MUCH = 2**50
Tiny = Callable[[str], Weights]


def model(**gigabytes: float) -> Any:
    """A loaded model with so many bytes on each device."""
    parameters = [
        SimpleNamespace(
            nelement=lambda n=n: int(n * 1e9) // 2,
            element_size=lambda: 2,
            device=SimpleNamespace(type=device),
        )
        for device, n in gigabytes.items()
    ]
    return SimpleNamespace(parameters=lambda: parameters)


@pytest.mark.parametrize(
    ("bytes_by_device", "share"),
    [
        ({"cuda": 4}, 0.0),
        ({"cuda": 3, "meta": 1}, 0.25),
        ({"cuda": 1, "cpu": 2, "meta": 1}, 0.75),
        ({}, 0.0),
    ],
)
def test_what_lies_outside_the_gpu_is_counted_by_its_bytes(
    bytes_by_device: dict[str, float], share: float
) -> None:
    assert offload_fraction(model(**bytes_by_device)) == share


def test_a_matrix_passes_through_only_where_one_is_offloaded() -> None:
    assert passing_bytes(model(cuda=4)) == 0
    assert passing_bytes(model(cuda=4, meta=1)) == 10**9


def llama2_7b() -> Any:
    """Llama-2-7B without weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = LLAMA2_7B.model_dump(exclude={"family"}, exclude_none=True)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            AutoConfig.for_model("llama", **sizes), dtype=torch.float16
        )


@pytest.fixture(scope="module")
def llama2() -> Any:
    return llama2_7b()


def layers_on_gpu(found: dict[str, int | str]) -> int:
    return sum(where == GPU for name, where in found.items() if name.startswith("model.layers."))


@pytest.mark.parametrize(("name", "fits_gib"), [("nf4", 6), ("int8", 10), ("none", 18)])
def test_what_fits_lies_whole_on_the_gpu(llama2: Any, name: str, fits_gib: int) -> None:
    assert place(llama2, QUANTIZATIONS[name], fits_gib * GIB, 0) == {"": GPU}
    assert HOST in place(llama2, QUANTIZATIONS[name], fits_gib // 2 * GIB, MUCH).values()


def test_the_first_layers_lie_on_the_gpu_and_take_what_they_may(llama2: Any) -> None:
    device_map = place(llama2, QUANTIZATIONS["nf4"], 3 * GIB, MUCH)
    assert device_map["model.embed_tokens"] == GPU
    where = [device_map[f"model.layers.{i}"] for i in range(32)]
    assert where == sorted(where, key=str), "those on the GPU first"
    layer, embedding = LLAMA2_7B.linear_parameters() // 32 // 2, 32000 * 4096 * 2
    assert layers_on_gpu(device_map) * layer + embedding <= GPU_SHARE * 3 * GIB
    assert 15 <= layers_on_gpu(device_map) <= 22, (
        "2.4 GiB, less the embedding and room for the head, by 0.1 GiB"
    )
    assert bytes_on(llama2, device_map, HOST) == pytest.approx(
        (32 - layers_on_gpu(device_map)) * layer * 4 + embedding, rel=0.01
    )


def test_a_map_of_one_entry_is_the_whole_model(llama2: Any) -> None:
    assert bytes_on(llama2, {"": HOST}, HOST) == 2 * LLAMA2_7B.parameters()
    assert bytes_on(llama2, {"": GPU}, HOST) == 0
    assert bytes_on(llama2, {"model.layers.1": HOST, "": GPU}, HOST) == pytest.approx(
        LLAMA2_7B.linear_parameters() / 16, rel=0.01
    )


def test_the_host_must_hold_the_rest_unquantized(llama2: Any) -> None:
    rest = bytes_on(llama2, place(llama2, QUANTIZATIONS["nf4"], 3 * GIB, MUCH), HOST)
    place(llama2, QUANTIZATIONS["nf4"], 3 * GIB, int(rest / RAM_SHARE) + 1)
    with pytest.raises(
        ModelTooLargeError,
        match=rf"have to hold {rest / GIB:.1f} GiB of layers, but only 2\.0 GiB are free",
    ):
        place(llama2, QUANTIZATIONS["nf4"], 3 * GIB, 2 * GIB)


def test_a_gpu_without_room_for_a_layer_is_none(llama2: Any) -> None:
    with pytest.raises(ModelTooLargeError, match=r"no layer fits in the 0\.1 GiB"):
        place(llama2, QUANTIZATIONS["nf4"], GIB // 10, MUCH)


@given(st.sampled_from(sorted(QUANTIZATIONS)), st.floats(0.7, 40))
def test_nothing_ever_lies_on_a_disk_and_every_weight_somewhere(
    llama2: Any, name: str, gib: float
) -> None:
    try:
        device_map = place(llama2, QUANTIZATIONS[name], int(gib * GIB), MUCH)
    except ModelTooLargeError:
        return
    assert set(device_map.values()) <= {GPU, HOST}
    assert (
        bytes_on(llama2, device_map, GPU) + bytes_on(llama2, device_map, HOST)
        == 2 * LLAMA2_7B.parameters()
    )


@pytest.mark.parametrize("name", ["nf4", "int8"])
def test_bitsandbytes_quantizes_what_the_plan_has_on_the_gpu_and_nothing_else(
    llama2: Any, name: str
) -> None:
    from transformers.quantizers import AutoHfQuantizer

    device_map = place(llama2, QUANTIZATIONS[name], 3 * GIB, MUCH)
    one = llama2_7b()
    quantizer = AutoHfQuantizer.from_config(
        bitsandbytes_config(QUANTIZATIONS[name], torch.float16, offloads=True)
    )
    quantizer.preprocess_model(one, device_map=device_map)
    kinds = [type(layer.mlp.up_proj).__name__ for layer in one.model.layers]
    assert {kinds[0], kinds[31]} == {{"nf4": "Linear4bit", "int8": "Linear8bitLt"}[name], "Linear"}
    assert [kind == "Linear" for kind in kinds] == [
        device_map[f"model.layers.{i}"] == HOST for i in range(32)
    ]


def test_a_plan_is_loaded_and_its_text_is_that_of_the_whole_model(tiny: Tiny) -> None:
    """The CPU stands for the GPU, and a disk for the host's memory.

    In both cases a layer is brought in when it is needed.
    """
    from transformers import AutoModelForCausalLM

    path = tiny("llama2").path
    plan = place(skeleton(path, torch.float32), QUANTIZATIONS["none"], 600_000, MUCH)
    assert {GPU, HOST} == set(plan.values())
    played = {name: {GPU: "cpu", HOST: "disk"}[where] for name, where in plan.items()}
    part = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, device_map=played)
    whole = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    ids = torch.arange(5, 15)[None]
    first, second = (
        m.generate(ids, max_new_tokens=12, do_sample=False).tolist() for m in (whole, part)
    )
    assert first == second
    outside = sum(
        p.nelement() * p.element_size() for p in part.parameters() if p.device.type == "meta"
    )
    assert outside == bytes_on(skeleton(path, torch.float32), plan, HOST) > 0


def offloading(**values: Any) -> Setup:
    """A setup with --cpu-offload."""
    return builders.setup(**values, engine_options={"cpu_offload": True})


def test_only_when_asked_may_layers_lie_elsewhere(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders.host_memory(monkeypatch, MUCH, MUCH)
    path = tiny("llama2").path
    plain = builders.setup(engine="transformers", quantization="none")
    asked = offloading(engine="transformers", quantization="none")
    whole = device_map_of(plain, path, torch.float32, 600_000)
    assert whole == {"": GPU}, "whole on the GPU, or not at all"
    assert HOST in device_map_of(asked, path, torch.float32, 600_000).values()
    assert device_map_of(asked, path, torch.float32, None) == {}


def test_what_not_even_offload_can_run_is_told_in_a_sentence(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders.host_memory(monkeypatch, 1000, MUCH)
    asked = offloading(engine="transformers", quantization="none")
    with pytest.raises(
        ModelTooLargeError,
        match=r"doesn't fit, not even with --cpu-offload: the host's .*; use a smaller model",
    ) as told:
        device_map_of(asked, tiny("llama2").path, torch.float32, 600_000)
    assert len(told.value.lines) == 1


@pytest.mark.parametrize("name", ["nf4", "fp4", "int8"])
def test_bitsandbytes_is_told_of_offload_only_where_layers_are_offloaded(name: str) -> None:
    for offloads in (False, True):
        record = bitsandbytes_config(QUANTIZATIONS[name], torch.float16, offloads=offloads)
        assert record.llm_int8_enable_fp32_cpu_offload is offloads


def test_weights_that_are_quantized_already_stay_whole(tmp_path: Path) -> None:
    asked = bitsandbytes_config(QUANTIZATIONS["nf4"], torch.float16)
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": asked.to_dict()}))
    assert quantized_as_requested(tmp_path, asked)
    with pytest.raises(ValueError, match="leave out --cpu-offload"):
        quantized_as_requested(tmp_path, asked, offloads=True)


@pytest.mark.parametrize("name", ["nf4", "int8"])
def test_on_a_cpu_offload_takes_nothing_from_quantization(tiny: Tiny, name: str) -> None:
    """In a cluster a node without a GPU may get such a trial."""
    weights = tiny("llama2")
    values = {"engine": "transformers", "quantization": name, "revision": weights.revision}
    sizes = []
    for setup in (builders.setup(**values), offloading(**values)):
        one = HfEngine(setup, weights, 1)
        sizes.append((one.info.weights_bytes, one.info.columns.offload_fraction))
        one.close()
    assert sizes[0] == sizes[1]
