"""How --model is read, and how memory follows from a model's sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.models import (
    KNOWN,
    LLAMA2_7B,
    MISTRAL_7B,
    SMOLLM2_135M,
    architecture_of,
    exact_ref,
    parse_model,
    slug,
)
from orchestrator.nouns import QUANTIZATIONS

GIB = 2**30


@pytest.mark.parametrize(
    ("shape", "parameters"), [(LLAMA2_7B, 6.738e9), (MISTRAL_7B, 7.242e9), (SMOLLM2_135M, 134.5e6)]
)
def test_parameter_counts(shape, parameters: float) -> None:
    assert shape.parameters() == pytest.approx(parameters, rel=1e-3)


@pytest.mark.parametrize(("name", "gib"), [("nf4", 3.61), ("int8", 6.56), ("none", 12.58)])
def test_weights_of_llama2_as_measured_on_an_h100(name: str, gib: float) -> None:
    assert LLAMA2_7B.weights_bytes(QUANTIZATIONS[name], 2) / GIB == pytest.approx(gib, rel=0.05)


def test_fp4_without_double_quantization_is_larger_than_nf4_with_it() -> None:
    sizes = [LLAMA2_7B.weights_bytes(QUANTIZATIONS[name], 2) for name in ("nf4", "fp4")]
    assert sizes[0] < sizes[1] < 1.1 * sizes[0]


def test_weights_by_hand() -> None:
    """Matrices of Llama 2 have 4.127 bits, the rest (32000 x 4096 twice, 65 norms) two bytes."""
    linear = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    other = 2 * 32000 * 4096 + 65 * 4096
    assert (LLAMA2_7B.linear_parameters(), LLAMA2_7B.other_parameters()) == (linear, other)
    assert LLAMA2_7B.weights_bytes(QUANTIZATIONS["nf4"], 2) == int(linear * 4.127 / 8) + 2 * other
    assert LLAMA2_7B.weights_bytes(QUANTIZATIONS["none"], 4) == 4 * LLAMA2_7B.parameters()
    assert SMOLLM2_135M.other_parameters() == 49152 * 576 + 61 * 576, (
        "tied: one matrix for both ends"
    )


def test_cache_of_a_token() -> None:
    assert LLAMA2_7B.cache_bytes_per_token(2) == GIB // 2048  # 0.5 MiB
    assert MISTRAL_7B.cache_bytes_per_token(2) == GIB // 8192  # a quarter of the KV heads


COMMIT = "a" * 40


def test_a_known_model_in_one_of_its_revisions() -> None:
    wheel = KNOWN["smollm2"].wheel
    assert wheel is not None
    of_hub = parse_model(f"smollm2@hub:{COMMIT}")
    assert (of_hub.label, of_hub.revision, of_hub.wheel) == ("smollm2", COMMIT, None)
    of_wheel = parse_model(f"smollm2@gguf:{wheel.sha256}")
    assert (of_wheel.label, of_wheel.repo, of_wheel.wheel) == ("smollm2", None, wheel)
    assert parse_model(of_wheel.ref) == of_wheel


@pytest.mark.parametrize("revision", ["main", "hub:main", "gguf:123", COMMIT])
def test_a_revision_that_there_is_not_is_told_with_those_there_are(revision: str) -> None:
    with pytest.raises(UserError, match=r"no such revision; write smollm2@hub:<commit of 40 dig"):
        parse_model(f"smollm2@{revision}")


def test_the_reference_of_one_revision_leads_to_it() -> None:
    wheel = KNOWN["smollm2"].wheel
    assert wheel is not None
    for ref, revision, exact in (
        ("smollm2", f"gguf:{wheel.sha256}", f"smollm2@gguf:{wheel.sha256}"),
        ("smollm2", f"hub:{COMMIT}", f"smollm2@hub:{COMMIT}"),
        ("llama2", f"hub:{KNOWN['llama2'].revision}", "llama2"),
        ("org/name", f"hub:{COMMIT}", f"org/name@{COMMIT}"),
        ("synthetic-llama2", "random:seed0:1234", "synthetic-llama2"),
    ):
        model = parse_model(ref)
        assert exact_ref(model, revision) == exact
        assert parse_model(exact).label == model.label
        assert exact_ref(parse_model(exact), revision) == exact


def test_known_and_hub_models() -> None:
    assert parse_model("mistral") is KNOWN["mistral"]
    other = parse_model("Qwen/Qwen3-0.6B@abc")
    assert (other.kind, other.repo, other.revision, other.label) == (
        "hub",
        "Qwen/Qwen3-0.6B",
        "abc",
        "Qwen--Qwen3-0.6B",
    )
    assert parse_model("Qwen/Qwen3-0.6B").revision is None
    assert all(len(model.revision or "") == 40 for model in KNOWN.values())
    assert parse_model("Qwen/Qwen3-0.6B@refs/pr/1").revision == "refs/pr/1"
    assert {name: model.gated for name, model in KNOWN.items()} == {
        "llama2": True,
        "mistral": None,
        "smollm2": False,
    }
    assert KNOWN["llama2"].repo == "meta-llama/Llama-2-7b-chat-hf"
    assert KNOWN["mistral"].repo == "mistralai/Mistral-7B-v0.1"


def test_synthetic_models_say_so_and_keep_their_sizes_apart() -> None:
    whole, small = (
        parse_model("synthetic-llama2"),
        parse_model("synthetic-llama2:hidden_size=256,num_hidden_layers=2"),
    )
    assert (whole.architecture, whole.label) == (LLAMA2_7B, "synthetic-llama2")
    assert small.label == "synthetic-llama2-h256-l2"
    assert small.architecture is not None
    assert (small.architecture.hidden_size, small.architecture.num_hidden_layers) == (256, 2)
    assert "RANDOM" in whole.description
    assert (whole.kind, whole.repo, whole.revision, whole.wheel) == ("synthetic", None, None, None)
    assert parse_model("synthetic-llama2:").label == "synthetic-llama2"


def test_sizes_in_another_order_are_the_same_model() -> None:
    one, other = (
        parse_model(f"synthetic-llama2:{s}")
        for s in ("hidden_size=256,vocab_size=600", "vocab_size=600,hidden_size=256")
    )
    assert (one.label, one.architecture) == (other.label, other.architecture)


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        (
            "mistrel",
            (
                "there is no 'mistrel': did you mean mistral? "
                "Known: llama2, mistral, smollm2, synthetic-llama2, "
            ),
        ),
        (
            "synthetic-smollm",
            (
                "there is no 'synthetic-smollm': did you mean synthetic-smollm2? "
                "Known: synthetic-llama2, "
            ),
        ),
    ],
)
def test_an_unknown_model_suggests_the_nearest(ref: str, said: str) -> None:
    with pytest.raises(UserError) as raised:
        parse_model(ref)
    assert len(raised.value.lines) == 1
    assert raised.value.lines[0].startswith(f"--model: {said}")


@pytest.mark.parametrize(
    "ref",
    [
        *("", "lama2", "a/b/c", "./none", "../../etc"),
        *(
            "synthetic-",
            "synthetic-gpt",
            "synthetic-llama2:width=3",
            "synthetic-llama2:hidden_size=x",
        ),
        *(
            "synthetic-llama2:hidden_size=100",
            "synthetic-llama2:vocab_size=10",
            "synthetic-llama2:num_key_value_heads=5",
        ),
        *(
            f"synthetic-llama2:hidden_size={size}"
            for size in ("", "0", "-64", "\u00b2", "1.5", "1e3", "1" * 5000, "1000064")
        ),
        *(
            "a/..",
            "a/.",
            "a/b\n",
            "a b/c",
            "\u00e9/c",
            "a\0b",
            "x" * 5000,
            "~nobody-has-this-name/x",
        ),
    ],
)
def test_what_is_no_model(ref: str) -> None:
    with pytest.raises(UserError, match=r"^--model") as raised:
        parse_model(ref)
    assert all(line.isprintable() for line in raised.value.lines)


def test_local_folders(tmp_path: Path) -> None:
    (tmp_path / "my model").mkdir()
    config = {**LLAMA2_7B.model_dump(exclude={"family"}), "model_type": "llama"}
    (tmp_path / "my model" / "config.json").write_text(json.dumps(config))
    model = parse_model(str(tmp_path / "my model"))
    assert (model.kind, model.label, model.architecture) == ("local", "my-model", LLAMA2_7B)
    assert model.path == tmp_path / "my model"


def test_local_folders_by_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub" / "name").mkdir(parents=True)
    (tmp_path / "sub" / "name" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    for ref in ("sub/name", "./sub/name", str(tmp_path / "sub" / "name")):
        model = parse_model(ref)
        assert (model.kind, model.path, model.ref) == (
            "local",
            tmp_path / "sub" / "name",
            str(tmp_path / "sub" / "name"),
        )
    assert parse_model("sub/other").kind == "hub"


CONFIG = {**LLAMA2_7B.model_dump(exclude={"family"}), "model_type": "llama"}


@pytest.mark.parametrize(
    "text",
    [
        '{"model_type": "gpt2"}',
        *("", "{", "[]", "null", "3", '"llama"', "[" * 20_000),
        json.dumps({**CONFIG, "num_attention_heads": 0}),
        json.dumps({**CONFIG, "hidden_size": "wide"}),
        json.dumps({**CONFIG, "num_key_value_heads": None}),
    ],
    ids=range(11),
)
def test_folders_whose_sizes_are_not_known(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert architecture_of(tmp_path) is None
    assert parse_model(str(tmp_path)).architecture is None


def test_a_loop_of_links_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match=r"^--model"):
        parse_model(str(tmp_path / "loop"))


@pytest.mark.parametrize("name", ["../up", "a/b", "", "...", "\x00", "name with spaces", "é" * 200])
def test_slugs_are_safe(name: str) -> None:
    assert slug(name)
    assert "/" not in slug(name)
    assert not slug(name).startswith(".")
    assert len(slug(name)) <= 80
