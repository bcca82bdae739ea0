"""How a --model is read, and memory from sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.models import KNOWN, LLAMA2_7B, MISTRAL_7B, SMOLLM2_135M, architecture_of, parse_model, slug
from orchestrator.nouns import QUANTIZATIONS

GIB = 2**30


@pytest.mark.parametrize(("shape", "parameters"), [(LLAMA2_7B, 6.738e9), (MISTRAL_7B, 7.242e9), (SMOLLM2_135M, 134.5e6)])
def test_parameter_counts(shape, parameters: float) -> None:
    assert shape.parameters() == pytest.approx(parameters, rel=1e-3)


@pytest.mark.parametrize(("name", "gib"), [("nf4", 3.61), ("int8", 6.56), ("none", 12.58)])
def test_weights_of_llama2_as_measured_on_an_h100(name: str, gib: float) -> None:
    assert LLAMA2_7B.weights_bytes(QUANTIZATIONS[name], 2) / GIB == pytest.approx(gib, rel=0.05)


def test_fp4_without_double_quantization_is_larger_than_nf4_with_it() -> None:
    sizes = [LLAMA2_7B.weights_bytes(QUANTIZATIONS[name], 2) for name in ("nf4", "fp4")]
    assert sizes[0] < sizes[1] < 1.1 * sizes[0]


def test_cache_of_a_token() -> None:
    assert LLAMA2_7B.cache_bytes_per_token(2) == GIB // 2048  # 0.5 MiB
    assert MISTRAL_7B.cache_bytes_per_token(2) == GIB // 8192  # a quarter of the KV heads


def test_known_and_hub_models() -> None:
    assert parse_model("mistral") is KNOWN["mistral"]
    other = parse_model("Qwen/Qwen3-0.6B@abc")
    assert (other.kind, other.repo, other.revision, other.label) == ("hub", "Qwen/Qwen3-0.6B", "abc", "Qwen--Qwen3-0.6B")
    assert parse_model("Qwen/Qwen3-0.6B").revision is None
    assert all(len(model.revision or "") == 40 for model in KNOWN.values())


def test_synthetic_models_say_so_and_keep_their_sizes_apart() -> None:
    whole, small = parse_model("synthetic-llama2"), parse_model("synthetic-llama2:hidden_size=256,num_hidden_layers=2")
    assert (whole.architecture, whole.label) == (LLAMA2_7B, "synthetic-llama2")
    assert small.label == "synthetic-llama2-h256-l2"
    assert small.architecture is not None
    assert (small.architecture.hidden_size, small.architecture.num_hidden_layers) == (256, 2)
    assert "RANDOM" in whole.description


@pytest.mark.parametrize(
    "ref",
    [
        *("", "lama2", "a/b/c", "./none", "../../etc"),
        *("synthetic-", "synthetic-gpt", "synthetic-llama2:width=3", "synthetic-llama2:hidden_size=x"),
        *("synthetic-llama2:hidden_size=100", "synthetic-llama2:vocab_size=10", "synthetic-llama2:num_key_value_heads=5"),
    ],
)
def test_what_is_no_model(ref: str) -> None:
    with pytest.raises(UserError, match="--model"):
        parse_model(ref)


def test_local_folders(tmp_path: Path) -> None:
    (tmp_path / "my model").mkdir()
    config = {**LLAMA2_7B.model_dump(exclude={"family"}), "model_type": "llama"}
    (tmp_path / "my model" / "config.json").write_text(json.dumps(config))
    model = parse_model(str(tmp_path / "my model"))
    assert (model.kind, model.label, model.architecture) == ("local", "my-model", LLAMA2_7B)
    (tmp_path / "my model" / "config.json").write_text('{"model_type": "gpt2"}')
    assert architecture_of(tmp_path / "my model") is None


@pytest.mark.parametrize("name", ["../up", "a/b", "", "...", "\x00", "name with spaces", "é" * 200])
def test_slugs_are_safe(name: str) -> None:
    assert slug(name)
    assert "/" not in slug(name)
    assert not slug(name).startswith(".")
    assert len(slug(name)) <= 80
