"""The real engine: transformers and bitsandbytes on tiny models, and the faults it must catch."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from orchestrator.engine import BatchRow, Generated, GenerationError, hf
from orchestrator.engine.hf import HfEngine, as_it_runs, load
from orchestrator.engine.weights import Weights, resolve
from orchestrator.errors import ModelUnavailableError
from orchestrator.models import parse_model
from orchestrator.nouns import effective_of
from tests import builders
from tests.engine.conftest import REFS
from tests.engine.subject import Subject, subject_of

Engines = Callable[[str, str], HfEngine]


@pytest.fixture
def real(engines: Engines) -> Subject:
    return subject_of(engines("llama2", "none"))


# --- the edges of the domain, on the real engine --------------------------------------------------

GREEDY = [
    {"temperature": 0.0},
    {"temperature": 1e-30},
    {"temperature": 5e-324},
    {"temperature": 1e-45},
    {"temperature": 9.9e-6},
    {"top_p": 0.0},
    {"top_k": 1},
    {"top_k": 1, "temperature": 2.0},
    {"temperature": 0.0, "top_p": 0.0, "top_k": 1},
    {"temperature": 0.0, "top_k": 0, "top_p": 1.0},
]


@pytest.mark.parametrize("asked", GREEDY)
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_all_greedy_configurations_are_one_program(
    engines: Engines, quantization: str, asked: dict[str, Any]
) -> None:
    subject = subject_of(engines("llama2", quantization))
    assert subject.effective(**asked).do_sample is False
    assert subject.generate(5, **asked).tokens == subject.generate(6, temperature=0.0).tokens


def test_greedy_is_the_model_s_own_argmax(real: Subject) -> None:
    import torch

    assert isinstance(real.engine, HfEngine)
    ids = real.encoded.ids
    with torch.inference_mode():
        for _ in range(6):
            ids = torch.cat(
                [ids, real.engine.model(ids).logits[:, -1].argmax(-1, keepdim=True)], dim=1
            )
    expected = ids[0, real.encoded.n_tokens :].tolist()
    assert real.generate(max_length=real.encoded.n_tokens + 6, temperature=0.0).tokens == expected


@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": 1e-5},
        {"temperature": 0.01},
        {"temperature": 1},
        {"temperature": 2.0},
        {"top_p": 1e-30},
        {"top_p": 1.0},
        {"top_p": 1},
        {"top_k": 0},
        {"top_k": 2},
        {"top_k": 100},
        {"top_k": 0, "top_p": 1.0, "temperature": 2.0},
        {"top_k": 100, "top_p": 1e-9, "temperature": 1e-5},
    ],
)
@pytest.mark.parametrize("alias", ["llama2", "mistral"])
def test_every_sampling_edge_runs(engines: Engines, alias: str, asked: dict[str, Any]) -> None:
    subject = subject_of(engines(alias, "none"))
    assert subject.effective(**asked).do_sample is True
    generated = subject.generate(2, fixed_length=True, **asked)
    assert len(generated.tokens) == 16
    assert all(0 <= token < 512 for token in generated.tokens)


def test_tiny_temperature_or_nucleus_sample_the_argmax(real: Subject) -> None:
    greedy = real.generate(temperature=0.0).tokens
    assert real.generate(1, temperature=1e-5).tokens == greedy
    assert real.generate(2, top_p=1e-30).tokens == greedy


def test_top_k_zero_is_off_not_the_library_s_fifty(real: Subject) -> None:
    """On a flat distribution over 512 tokens few of the drawn ones are among the 50 likeliest."""
    import torch

    assert isinstance(real.engine, HfEngine)
    with torch.inference_mode():
        likeliest = set(real.engine.model(real.encoded.ids).logits[0, -1].topk(50).indices.tolist())
    one_more = real.encoded.n_tokens + 1
    free = [real.generate(seed, top_k=0, max_length=one_more).tokens[0] for seed in range(20)]
    held = [real.generate(seed, top_k=50, max_length=one_more).tokens[0] for seed in range(20)]
    assert not set(free) <= likeliest
    assert set(held) <= likeliest


def test_the_context_limits_the_length(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine]
) -> None:
    subject = subject_of(load_folder(folder(config={"max_position_embeddings": 40})))
    assert subject.engine.info.context_length == 40
    assert subject.effective(max_length=10000).limits == ("context",)
    generated = subject.generate(max_length=10000, fixed_length=True)
    assert subject.encoded.n_tokens + len(generated.tokens) == 40


def test_beyond_the_context_it_runs_when_asked(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine]
) -> None:
    subject = subject_of(load_folder(folder(config={"max_position_embeddings": 40})))
    asked = builders.configuration(max_length=100)
    effective = effective_of(
        asked, prompt_tokens=subject.encoded.n_tokens, context_length=40, beyond_context=True
    )
    row = BatchRow(subject.encoded, effective, 1)
    [generated] = subject.engine.generate([row], fixed_length=True)
    assert subject.encoded.n_tokens + len(generated.tokens) == 100


def test_a_prompt_longer_than_the_context_gives_one_token(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine]
) -> None:
    subject = subject_of(load_folder(folder(config={"max_position_embeddings": 10})))
    assert subject.effective(max_length=100).limits == ("context", "prompt")
    assert len(subject.generate(max_length=100).tokens) == 1


# --- how a text ends ------------------------------------------------------------------------------


def test_a_text_ends_at_the_first_of_the_model_s_end_tokens(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine], real: Subject
) -> None:
    """generation_config decides the end tokens and nothing else; the end token is counted."""
    free = real.generate(4).tokens
    place, end = next(
        (i, token) for i, token in enumerate(free) if i >= 5 and token not in free[:i]
    )
    ended = subject_of(load_folder(folder(generation={"eos_token_id": [2, end]})))
    generated = ended.generate(4)
    assert generated.tokens == free[: place + 1]
    assert generated.finish_reason == "eos"
    assert generated.ttft_s > 0  # type: ignore[operator]
    at_the_edge = ended.generate(4, max_length=ended.encoded.n_tokens + place + 1)
    assert (len(at_the_edge.tokens), at_the_edge.finish_reason) == (place + 1, "eos")
    cut = ended.generate(4, max_length=ended.encoded.n_tokens + place)
    assert (len(cut.tokens), cut.finish_reason) == (place, "length")
    fixed = ended.generate(4, fixed_length=True)
    assert (len(fixed.tokens), fixed.finish_reason) == (16, "length")
    assert end not in fixed.tokens


def test_a_model_without_end_tokens_runs_to_max_length(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine]
) -> None:
    without: dict[str, Any] = {"eos_token_id": ..., "pad_token_id": ...}
    path = folder(
        config=without, generation=without, tokenizer={"eos_token": ..., "pad_token": ...}
    )
    (path / "special_tokens_map.json").unlink(missing_ok=True)
    subject = subject_of(load_folder(path))
    generated = subject.generate(1)
    assert (len(generated.tokens), generated.finish_reason) == (16, "length")


def test_decode_leaves_out_the_end(real: Subject) -> None:
    word = real.engine.encode("castle").ids[0].tolist()[1:]
    assert real.engine.decode(Generated([*word, 2], "eos", None)) == "castle"


# --- nothing leaks in -----------------------------------------------------------------------------

LEAKY = {
    "temperature": 0.6,
    "top_p": 0.9,
    "top_k": 7,
    "max_length": 4096,
    "do_sample": True,
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 2,
    "min_length": 20,
    "min_new_tokens": 30,
    "max_new_tokens": 3,
    "typical_p": 0.5,
    "min_p": 0.2,
    "bad_words_ids": [[5], [6], [7]],
    "suppress_tokens": [5, 6, 7],
    "forced_eos_token_id": 2,
    "num_beams": 2,
    "stop_strings": ["e"],
}


@pytest.mark.parametrize(
    "generation", [LEAKY, *({name: value} for name, value in LEAKY.items())], ids=["all", *LEAKY]
)
def test_the_model_s_own_generation_config_never_leaks_in(
    folder: Callable[..., Path],
    load_folder: Callable[..., HfEngine],
    real: Subject,
    generation: dict[str, Any],
) -> None:
    leaky = subject_of(load_folder(folder(generation=generation)))
    for asked in (
        {"temperature": 0.0},
        {"temperature": 1.0, "top_k": 0, "top_p": 1.0},
        {"temperature": 1.5, "top_k": 40, "top_p": 0.95},
    ):
        assert leaky.generate(1, **asked) == pytest_equal(real.generate(1, **asked))


def test_old_models_keep_such_values_in_config_json(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine], real: Subject
) -> None:
    path = folder(
        config={
            "temperature": 0.6,
            "top_k": 7,
            "repetition_penalty": 1.3,
            "max_length": 25,
            "do_sample": True,
        }
    )
    (path / "generation_config.json").unlink()
    leaky = subject_of(load_folder(path))
    for asked in ({"temperature": 0.0}, {"temperature": 1.0}):
        assert leaky.generate(1, **asked) == pytest_equal(real.generate(1, **asked))


def pytest_equal(generated: Generated) -> Generated:
    """Equal but for the time of the first token."""

    class AnyTime(Generated):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Generated) and (other.tokens, other.finish_reason) == (
                self.tokens,
                self.finish_reason,
            )

        __hash__ = Generated.__hash__

    return AnyTime(generated.tokens, generated.finish_reason, None)


# --- templates ------------------------------------------------------------------------------------

TEMPLATE = "<s>[INST] {{ messages[0]['content'] }} [/INST]"


def test_the_chat_template_is_applied_once(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine]
) -> None:
    path = folder(tokenizer={"chat_template": TEMPLATE})
    with_template, without = load_folder(path), load_folder(path, chat_template="off")
    assert (with_template.info.columns.chat_template, without.info.columns.chat_template) == (
        True,
        False,
    )
    ids = with_template.encode("castle").ids[0].tolist()
    assert with_template.tokenizer.decode(ids) == "<s>[INST] castle [/INST]"
    assert ids.count(1) == 1, "one beginning of sequence, not the template's and the tokenizer's"
    plain = without.encode("castle").ids[0].tolist()
    assert without.tokenizer.decode(plain) == "<s>castle"
    assert plain.count(1) == 1


def test_a_base_model_has_no_template(real: Subject) -> None:
    assert real.engine.info.columns.chat_template is False
    assert real.engine.encode("castle").ids[0].tolist()[0] == 1


# --- what was loaded ------------------------------------------------------------------------------


def test_quantization_is_real(engines: Engines) -> None:
    sizes = {
        name: engines("llama2", name).info.weights_bytes for name in ("none", "int8", "nf4", "fp4")
    }
    assert sizes["none"] > sizes["int8"] > sizes["nf4"]  # type: ignore[operator]
    layers = {
        name: type(engines("llama2", name).model.model.layers[0].mlp.up_proj).__name__
        for name in sizes
    }
    assert layers == {
        "none": "Linear",
        "int8": "Linear8bitLt",
        "nf4": "Linear4bit",
        "fp4": "Linear4bit",
    }
    for name in ("nf4", "fp4"):
        weight = engines("llama2", name).model.model.layers[0].mlp.up_proj.weight
        assert weight.quant_state.quant_type == name
    assert type(engines("llama2", "nf4").model.lm_head).__name__ == "Linear"


@pytest.mark.parametrize(
    ("quantization", "double_quant"),
    [("none", None), ("int8", None), ("fp4", False), ("nf4", True)],
)
def test_what_is_recorded_of_the_quantization_is_what_runs(
    monkeypatch: pytest.MonkeyPatch,
    tiny: Callable[[str], Weights],
    quantization: str,
    double_quant: bool | None,
) -> None:
    """On a CPU without AVX512-BF16, and unchanged by a generation."""
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
    weights = tiny("llama2")
    engine = HfEngine(
        builders.setup(quantization=quantization, revision=weights.revision), weights, 1
    )
    recorded = (engine.info.columns.compute_dtype, engine.info.columns.double_quant)
    assert recorded == ("float32", double_quant)
    subject_of(engine).generate(fixed_length=True)
    assert as_it_runs(engine.model, torch.float32) == recorded


@pytest.mark.parametrize("quantization", ["nf4", "fp4"])
def test_repacked_4_bit_weights_have_plain_scales_and_compute_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch, tiny: Callable[[str], Weights], quantization: str
) -> None:
    """What bitsandbytes does at the first forward pass on a CPU with AVX512-BF16."""
    from bitsandbytes.functional import _convert_weight_packed_for_cpu

    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
    weights = tiny("llama2")
    setup = builders.setup(quantization=quantization, revision=weights.revision)
    engine = HfEngine(setup, weights, 1)
    for module in engine.model.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            module.weight.data, _ = _convert_weight_packed_for_cpu(module.weight.data, state)
    assert as_it_runs(engine.model, torch.float32) == ("bfloat16", False)


@pytest.mark.parametrize("quantization", ["nf4", "fp4"])
def test_what_is_recorded_holds_on_this_cpu(engines: Engines, quantization: str) -> None:
    """Whichever kind of CPU this is: a generation changes nothing that was recorded at loading."""
    engine = engines("llama2", quantization)
    recorded = (engine.info.columns.compute_dtype, engine.info.columns.double_quant)
    subject_of(engine).generate(fixed_length=True)
    assert as_it_runs(engine.model, torch.float32) == recorded


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_the_cpu_s_compute_type(engines: Engines, quantization: str) -> None:
    info = engines("llama2", quantization).info
    assert (
        info.columns.device,
        info.columns.compute_dtype,
        info.columns.threads,
        info.columns.cache,
    ) == (
        "cpu",
        "float32",
        1,
        "dynamic",
    )
    assert info.columns.attention == "sdpa"
    assert set(info.versions) == {"torch", "transformers", "bitsandbytes", "accelerate"}


def test_an_asked_compute_type_is_taken(tiny: Callable[[str], Weights]) -> None:
    import torch

    weights = tiny("llama2")
    engine = HfEngine(
        builders.setup(quantization="nf4", compute_dtype="bfloat16", revision=weights.revision),
        weights,
        1,
    )
    assert engine.info.columns.compute_dtype == "bfloat16"
    assert engine.model.model.layers[0].mlp.up_proj.compute_dtype == torch.bfloat16
    assert len(subject_of(engine).generate(fixed_length=True).tokens) == 16


@pytest.mark.parametrize(("alias", "memory_tokens"), [("llama2", 900), ("mistral", 1800)])
def test_the_memory_left_bounds_the_tokens(
    monkeypatch: pytest.MonkeyPatch,
    tiny: Callable[[str], Weights],
    alias: str,
    memory_tokens: int,
) -> None:
    """2 layers x (key, value) x 4 heads x 16 x 4 bytes = 1024 bytes a token; a tenth stays free.

    Mistral has half as many key and value heads.
    """
    builders.host_memory(monkeypatch, 1_024_000, 2_048_000)
    weights = tiny(alias)
    setup = builders.setup(quantization="none", revision=weights.revision)
    assert HfEngine(setup, weights, 1).info.memory_tokens == memory_tokens


def test_a_local_folder_is_no_synthetic_model(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine]
) -> None:
    assert load_folder(folder()).info.columns.synthetic is False


def test_close_frees_the_model(tiny: Callable[[str], Weights]) -> None:
    weights = tiny("llama2")
    engine = HfEngine(builders.setup(quantization="none", revision=weights.revision), weights, 1)
    engine.close()
    assert not hasattr(engine, "model")


# --- loading refused ------------------------------------------------------------------------------


def one_sentence(error: pytest.ExceptionInfo[ModelUnavailableError]) -> str:
    (line,) = error.value.lines
    assert "\n" not in line
    assert len(line) < 700
    return line


def test_a_worker_refuses_altered_weights_and_says_the_hashes_of_others(
    folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache on another machine may be altered, too; a folder's trials say what was in it."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    setup = builders.setup(quantization="none", revision="")
    made = resolve(parse_model(REFS["llama2"]))
    with (made.path / "tokenizer.json").open("a") as tokenizer:
        tokenizer.write(" ")
    with pytest.raises(ModelUnavailableError) as raised:
        load(setup.model_copy(update={"revision": made.revision}), REFS["llama2"], 1)
    line = one_sentence(raised)
    assert line.startswith("tokenizer.json of synthetic-llama2-")
    assert "has changed since it was made on " in line
    own = resolve(parse_model(str(folder())))
    engine = load(setup.model_copy(update={"revision": own.revision}), str(own.path), 1)
    weights = (own.path / "model.safetensors").read_bytes()
    sha256 = engine.info.model_sha256["model.safetensors"]
    assert sha256 == hashlib.sha256(weights).hexdigest()
    assert set(engine.info.model_sha256) >= {"config.json", "tokenizer.json"}


def test_load_takes_only_the_planned_revision(
    tiny_cache: Path, monkeypatch: pytest.MonkeyPatch, real: Subject
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tiny_cache))
    revision = real.engine.info.columns.model_revision
    engine = load(builders.setup(quantization="none", revision=revision), REFS["llama2"], 1)
    assert engine.info.columns.model_revision == revision
    with pytest.raises(ModelUnavailableError) as raised:
        load(builders.setup(quantization="none", revision="random:seed0:other"), REFS["llama2"], 1)
    line = one_sentence(raised)
    assert revision in line
    assert "random:seed0:other" in line
    assert "orchestrator models stage" in line


def test_pickled_weights_are_refused(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine], tmp_path: Path
) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    path = folder()
    (path / "model.safetensors").unlink()
    torch.save({"model.embed_tokens.weight": Evil()}, path / "pytorch_model.bin")
    with pytest.raises(ModelUnavailableError, match=r"there are no \.safetensors files") as raised:
        load_folder(path)
    one_sentence(raised)
    assert not (tmp_path / "executed").exists()


def test_pickled_weights_beside_an_empty_shard_are_refused(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine], tmp_path: Path
) -> None:
    """A .safetensors file of another name passes the first check of the folder.

    Then transformers must not load the .bin file.
    """
    import torch

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    path = folder()
    (path / "model.safetensors").rename(path / "other.safetensors")
    torch.save({"model.embed_tokens.weight": Evil()}, path / "pytorch_model.bin")
    with pytest.raises(ModelUnavailableError) as raised:
        load_folder(path)
    one_sentence(raised)
    assert not (tmp_path / "executed").exists()


CUSTOM = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
Path({marker!r}).touch()
class EvilConfig(LlamaConfig):
    model_type = "evil"
class EvilModel(LlamaForCausalLM):
    config_class = EvilConfig
class EvilTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.mark.parametrize("model_type", ["llama", "evil"])
def test_a_model_s_own_code_is_never_run(
    folder: Callable[..., Path],
    load_folder: Callable[..., HfEngine],
    tmp_path: Path,
    real: Subject,
    model_type: str,
) -> None:
    marker = tmp_path / "executed"
    path = folder(
        config={
            "model_type": model_type,
            "auto_map": {
                "AutoConfig": "modeling_evil.EvilConfig",
                "AutoModelForCausalLM": "modeling_evil.EvilModel",
            },
        },
        tokenizer={"auto_map": {"AutoTokenizer": [None, "modeling_evil.EvilTokenizer"]}},
    )
    (path / "modeling_evil.py").write_text(CUSTOM.format(marker=str(marker)))
    if model_type == "evil":
        with pytest.raises(ModelUnavailableError) as raised:
            load_folder(path)
        one_sentence(raised)
    else:
        assert subject_of(load_folder(path)).generate(1).tokens == real.generate(1).tokens
    assert not marker.exists()


@pytest.mark.parametrize(
    "spoil", ["cut", "zeros", "no tokenizer", "config", "empty config", "no config"]
)
def test_a_spoilt_folder_is_one_sentence(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine], spoil: str
) -> None:
    path = folder()
    weights = path / "model.safetensors"
    if spoil == "cut":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif spoil == "zeros":
        weights.write_bytes(b"\0" * 5000)
    elif spoil == "no tokenizer":
        for file in path.glob("*token*"):
            file.unlink()
    elif spoil == "config":
        (path / "config.json").write_text("{")
    elif spoil == "empty config":
        (path / "config.json").write_text("{}")
    else:
        model = Weights(path, "local:x", "local")
        (path / "config.json").unlink()
        with pytest.raises(ModelUnavailableError) as raised:
            HfEngine(builders.setup(quantization="none", revision="local:x"), model, 1)
        one_sentence(raised)
        return
    with pytest.raises(ModelUnavailableError) as raised:
        load_folder(path)
    assert "smollm2" in one_sentence(raised), "the model's name"


@pytest.mark.parametrize(
    ("saved", "asked", "taken"),
    [
        ("nf4", {"quantization": "nf4"}, True),
        ("int8", {"quantization": "int8"}, True),
        ("nf4", {"quantization": "none"}, False),
        ("nf4", {"quantization": "int8"}, False),
        ("nf4", {"quantization": "fp4"}, False),
        ("int8", {"quantization": "nf4"}, False),
        ("nf4", {"quantization": "nf4", "compute_dtype": "bfloat16"}, False),
    ],
)
def test_weights_that_are_quantized_already(
    engines: Engines,
    folder: Callable[..., Path],
    load_folder: Callable[..., HfEngine],
    *,
    saved: str,
    asked: dict[str, Any],
    taken: bool,
) -> None:
    """They keep their own quantization whatever is asked: the row would name another one."""
    path = folder()
    original = engines("llama2", saved)
    original.model.save_pretrained(path)
    if taken:
        engine = load_folder(path, **asked)
        kinds = {type(one.model.model.layers[0].mlp.up_proj).__name__ for one in (engine, original)}
        assert len(kinds) == 1
        assert len(subject_of(engine).generate(1, fixed_length=True).tokens) == 16
        if saved == "nf4":  # an int8 model's last bits are not those from before it was saved
            assert subject_of(engine).generate(1).tokens == subject_of(original).generate(1).tokens
        return
    with pytest.raises(
        ModelUnavailableError, match=r"quantized already \(bitsandbytes\), but not as requested"
    ) as raised:
        load_folder(path, **asked)
    one_sentence(raised)


def test_weights_of_another_shape_are_refused(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine]
) -> None:
    with pytest.raises(ModelUnavailableError) as raised:
        load_folder(folder(config={"hidden_size": 128, "head_dim": 32}))
    one_sentence(raised)


def test_missing_weights_are_refused(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine]
) -> None:
    """A layer that no file has would be drawn at random: that is no model."""
    for quantization in ("none", "nf4"):
        with pytest.raises(
            ModelUnavailableError,
            match=r"9 of its tensors are in no file; the first is model\.layers\.2\.",
        ) as raised:
            load_folder(folder(config={"num_hidden_layers": 3}), quantization=quantization)
        one_sentence(raised)


def test_tied_weights_are_not_missing(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine]
) -> None:
    from transformers import AutoModelForCausalLM

    path = folder(config={"tie_word_embeddings": True})
    model = AutoModelForCausalLM.from_pretrained(path)
    model.lm_head.weight = model.model.embed_tokens.weight
    model.save_pretrained(path)
    assert len(subject_of(load_folder(path)).generate(fixed_length=True).tokens) == 16


def test_a_shard_that_is_missing_is_refused(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine]
) -> None:
    path = folder()
    shutil.move(path / "model.safetensors", path / "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelUnavailableError) as raised:
        load_folder(path)
    one_sentence(raised)


# --- generation that fails ------------------------------------------------------------------------


def failures() -> list[tuple[str, Exception, str]]:
    import torch

    nan = "probability tensor contains either `inf`, `nan` or element < 0"
    cpu = (
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: "
        "can't allocate memory: you tried to allocate 9 bytes."
    )
    return [
        (
            "oom",
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nGPU 0 has"),
            "CUDA out of memory.",
        ),
        ("oom", RuntimeError(cpu), "[enforce fail"),
        ("nan", RuntimeError(nan), nan),
        (
            "nan",
            RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors"),
            "CUDA error: device-side assert",
        ),
        (
            "other",
            RuntimeError("CUDA error: an illegal memory access was encountered"),
            "CUDA error",
        ),
        (
            "other",
            RuntimeError("The size of tensor a must match\nmore"),
            "The size of tensor a must match",
        ),
        ("other", RuntimeError(""), "RuntimeError"),
    ]


@pytest.mark.parametrize("number", range(7))
def test_known_failures_are_typed(
    monkeypatch: pytest.MonkeyPatch, real: Subject, number: int
) -> None:
    kind, error, beginning = failures()[number]

    def fails(**_kwargs: Any) -> None:
        raise error

    assert isinstance(real.engine, HfEngine)
    monkeypatch.setattr(real.engine.model, "generate", fails)
    with pytest.raises(GenerationError) as raised:
        real.generate()
    assert raised.value.kind == kind
    text = str(raised.value)
    if kind == "oom":
        need, _, text = text.partition("; ")
        assert re.fullmatch(
            rf"weights 0\.0 GiB and the cache of {real.encoded.n_tokens + 16} tokens 0\.0 GiB, "
            r"with \d+\.\d of \d+\.\d GiB free beside the weights",
            need,
        )
    assert text.removeprefix("probabilities with nan or inf: ").startswith(beginning)
    assert "\n" not in text


def test_after_a_failure_the_engine_goes_on(monkeypatch: pytest.MonkeyPatch, real: Subject) -> None:
    before = real.generate(3).tokens
    assert isinstance(real.engine, HfEngine)
    with monkeypatch.context() as patch:
        patch.setattr(real.engine.model, "generate", lambda **_kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            real.generate()
    assert real.generate(3).tokens == before


def test_real_nan_weights_are_a_typed_failure(
    folder: Callable[..., Path], load_folder: Callable[..., HfEngine]
) -> None:
    import torch

    engine = load_folder(folder())
    with torch.no_grad():
        engine.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(GenerationError) as raised:
        subject_of(engine).generate()
    assert raised.value.kind == "nan"


def test_on_a_gpu_attention_builds_no_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of cuDNN's cost up to 1.9 times the energy of the first answer of a length."""

    def stop(*_: object) -> None:
        raise InterruptedError

    gpu = SimpleNamespace(uuid="0a0a0a0a")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _index: gpu)
    monkeypatch.setattr(hf, "open_gpu", lambda _uuid: None)
    monkeypatch.setattr(HfEngine, "_load", stop)
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(enabled=True)
    try:
        with pytest.raises(InterruptedError):
            HfEngine(builders.setup(engine="transformers"), cast("Weights", None), 1)
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


@pytest.mark.parametrize("cuda", [True, False])
def test_the_window_waits_for_the_gpu(cuda: bool) -> None:
    """Without it a window would close before its last token is computed."""
    waits: list[str] = []
    torch = SimpleNamespace(cuda=SimpleNamespace(synchronize=lambda: waits.append("waited")))
    HfEngine.synchronize(cast("HfEngine", SimpleNamespace(_cuda=cuda, _torch=torch)))
    assert waits == (["waited"] if cuda else [])
