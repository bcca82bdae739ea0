"""The compiled engine on tiny models: the same texts as transformers, whatever came before.

The step runs in plain Python here; one slow test compiles it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.engine import GenerationError
from orchestrator.engine.compiled import CompiledEngine
from orchestrator.engine.decoding import DecodingStep
from orchestrator.engine.hf import HfEngine
from orchestrator.engine.joined import join
from orchestrator.engine.weights import Weights, resolve
from orchestrator.errors import ModelUnavailableError
from orchestrator.models import parse_model
from tests import builders
from tests.engine.subject import Subject, subject_of

Engines = Callable[..., HfEngine]
PROMPTS = ("Hi", "Tell me of an old castle.", "a longer prompt " * 12)


@pytest.fixture
def compiled(engines: Engines) -> Subject:
    return subject_of(engines("llama2", "none", "compiled"))


@pytest.mark.parametrize("alias", ["llama2", "mistral"])
@pytest.mark.parametrize("quantization", ["none", "nf4", "int8", "int4"])
def test_greedy_tokens_are_those_of_transformers(
    engines: Engines, alias: str, quantization: str
) -> None:
    """In float32 on the same weights; the longest text passes from one seen length to the next."""
    eager = subject_of(engines(alias, quantization))
    stepped = subject_of(engines(alias, quantization, "compiled"))
    lengths = []
    for prompt, n_new in ((PROMPTS[0], 1), (PROMPTS[1], 40), ("a longer prompt " * 30, 60)):
        encoded = eager.engine.encode(prompt)
        lengths.append(encoded.n_tokens)
        asked: dict[str, Any] = {
            "temperature": 0.0,
            "prompt": encoded,
            "max_length": encoded.n_tokens + n_new,
            "fixed_length": True,
        }
        assert eager.generate(**asked).tokens == stepped.generate(**asked).tokens
    assert lengths[-1] < 512 < lengths[-1] + 60


def test_a_text_ends_with_the_end_of_sequence_and_holds_nothing_after(
    engines: Engines, compiled: Subject
) -> None:
    """Where transformers ends it, too."""
    eager = subject_of(engines("llama2", "none"))
    encoded = compiled.encoded
    free = compiled.generate(temperature=0.0, max_length=encoded.n_tokens + 30).tokens
    end = next(token for i, token in enumerate(free) if i > 3 and token not in free[:i])
    ends = [compiled.engine._special.eos, eager.engine._special.eos]  # type: ignore[attr-defined]
    before = [list(one) for one in ends]
    try:
        for one in ends:
            one[:] = [end]
        asked: dict[str, Any] = {"temperature": 0.0, "max_length": encoded.n_tokens + 30}
        ended = compiled.generate(**asked)
        assert ended.tokens == free[: free.index(end) + 1]
        assert (ended.finish_reason, ended.n_steps_beyond) == ("eos", 0)
        assert eager.generate(**asked).tokens == ended.tokens
        full = compiled.generate(fixed_length=True, **asked)
        assert (len(full.tokens), full.finish_reason, end in full.tokens) == (30, "length", False)
    finally:
        for one, was in zip(ends, before, strict=True):
            one[:] = was


def test_the_length_that_the_last_step_saw_is_told(compiled: Subject) -> None:
    """The last token is never taken in: its keys are not needed."""
    n_prompt = compiled.encoded.n_tokens
    for max_length, seen in ((n_prompt + 1, 512), (513, 512), (514, 1024), (1500, 2048)):
        generated = compiled.generate(max_length=max_length, fixed_length=True, temperature=0.0)
        assert generated.cache_length == seen


@pytest.mark.parametrize(("n_free", "memory_tokens"), [(1000, 512), (1200, 1024), (500, 0)])
def test_the_memory_left_bounds_the_cache(
    monkeypatch: pytest.MonkeyPatch, tiny: Any, n_free: int, memory_tokens: int
) -> None:
    """A token takes 1024 bytes, a tenth of the memory stays free, and the cache grows in steps."""
    builders.host_memory(monkeypatch, n_free * 1024, 2 * n_free * 1024)
    weights = tiny("llama2")
    setup = builders.setup(engine="compiled", quantization="none", revision=weights.revision)
    assert CompiledEngine(setup, weights, 1).info.memory_tokens == memory_tokens


def test_a_text_does_not_depend_on_the_room_that_was_made(engines: Engines, tiny: Any) -> None:
    weights = tiny("llama2")
    setup = builders.setup(engine="compiled", quantization="none", revision=weights.revision)
    fresh = subject_of(CompiledEngine(setup, weights, 1))
    short = fresh.generate(5).tokens
    fresh.engine.build_shapes(3000)
    assert fresh.generate(5).tokens == short


def test_nothing_is_built_in_a_window_after_build_shapes(
    engines: Engines, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked for, up to the longest length."""
    weights = tiny("mistral")
    setup = builders.setup(engine="compiled", quantization="none", revision=weights.revision)
    subject = subject_of(CompiledEngine(setup, weights, 1))
    subject.engine.build_shapes(1200)
    monkeypatch.setattr(DecodingStep, "_warmed", _refused)
    monkeypatch.setattr(DecodingStep, "__init__", _refused)
    for asked in ({"temperature": 0.0}, {"top_k": 5}, {"top_k": 0, "top_p": 0.5}):
        for max_length in (600, 1200):
            subject.generate(max_length=max_length, **asked)


def test_nothing_is_built_in_the_window_of_a_batch(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a smaller one neither, nor where the padding passes the longest text that was foreseen."""
    monkeypatch.setattr(CompiledEngine, "compiles", False)
    weights = tiny("llama2")
    setup = builders.setup(
        engine="compiled", quantization="none", revision=weights.revision, batch_size=3
    )
    subject = subject_of(CompiledEngine(setup, weights, 1))
    engine = subject.engine
    engine.build_shapes(600)
    lengths = [engine.encode(prompt).n_tokens for prompt in PROMPTS]
    n_new = [1024 - n for n in lengths]
    assert max(lengths) + max(n_new) > 1024, "padding makes the batch longer than any of its texts"
    engine.build_shapes(max(lengths) + max(n_new))
    monkeypatch.setattr(DecodingStep, "_warmed", _refused)
    monkeypatch.setattr(DecodingStep, "__init__", _refused)
    for rows in (3, 2, 1):
        texts = subject.batch(PROMPTS[:rows], range(rows), n_new=n_new[:rows], fixed_length=True)
        assert [len(text.tokens) for text in texts] == n_new[:rows]
    again = engine.build_shapes(600)
    assert (again.n_compiled, again.n_from_disk) == (None, None), "it is built already"


def _refused(*_arguments: Any, **_options: Any) -> Any:
    raise AssertionError("built in a window")


def test_unfit_logits_are_an_error_of_their_kind(
    compiled: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: Any, layers: Any) -> Any:
        return torch.full((1, 512), float("nan"))

    assert isinstance(compiled.engine, CompiledEngine)
    compiled.engine._step._programs.clear()
    monkeypatch.setattr(DecodingStep, "_logits", broken)
    compiled.engine._step._compiled_logits = compiled.engine._step._logits
    try:
        with pytest.raises(GenerationError) as raised:
            compiled.generate(top_k=20)
        assert raised.value.kind == "nan"
    finally:
        monkeypatch.undo()
        compiled.engine._step._programs.clear()
        compiled.engine._step._compiled_logits = compiled.engine._step._logits
    assert compiled.generate(top_k=20).tokens, "the next text is sound"


def test_a_model_whose_step_gives_other_logits_is_refused(
    tiny: Callable[[str], Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CompiledEngine, "compiles", False)
    monkeypatch.setattr(
        "orchestrator.engine.decoding.masks", lambda _config, length, *_: torch.eye(1, length) > 0
    )
    weights = tiny("llama2")
    setup = builders.setup(engine="compiled", quantization="none", revision=weights.revision)
    with pytest.raises(ModelUnavailableError, match="llama can't be decoded over a static cache"):
        CompiledEngine(setup, weights, 1)


def test_a_sliding_window_is_kept(
    engines: Engines, tiny: Callable[[str], Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 24 places, in prompts shorter and longer than it."""
    monkeypatch.setattr(CompiledEngine, "compiles", False)
    weights = tiny("mistral")
    texts = []
    for kind in (HfEngine, CompiledEngine):
        setup = builders.setup(engine="compiled", quantization="none", revision=weights.revision)
        engine = kind(setup, weights, 1)
        engine.model.config.sliding_window = 24
        for layer in engine.model.model.layers:
            layer.self_attn.sliding_window = 24
        subject = subject_of(engine)
        for prompt in PROMPTS:
            encoded = engine.encode(prompt)
            asked: dict[str, Any] = {"prompt": encoded, "max_length": encoded.n_tokens + 50}
            texts.append(subject.generate(temperature=0.0, fixed_length=True, **asked).tokens)
    assert texts[: len(PROMPTS)] == texts[len(PROMPTS) :]


@pytest.mark.parametrize("alias", ["llama2", "mistral"])
def test_joined_layers_give_the_same_logits(
    engines: Engines, tiny: Callable[[str], Weights], alias: str
) -> None:
    weights = tiny(alias)
    setup = builders.setup(engine="transformers", quantization="none", revision=weights.revision)
    engine = HfEngine(setup, weights, 1)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        before = engine.model(ids).logits
        assert join(engine.model)
        assert torch.equal(engine.model(ids).logits, before)
        assert torch.allclose(engine.model(ids[:, :1]).logits, before[:, :1], atol=1e-5)


def test_what_was_loaded_says_how_it_decodes(engines: Engines, compiled: Subject) -> None:
    told = compiled.engine.info.columns
    assert (told.decoding, told.cache, told.kernels) == ("compiled", "static", "torch")
    eager = engines("llama2", "int4").info.columns
    assert (eager.decoding, eager.cache) == ("eager", "dynamic")
    assert eager.kernels == "torch int4pack, groups of 64"


@pytest.mark.slow
def test_a_compiled_step_gives_the_same_tokens_and_its_code_is_found_again(
    tiny: Callable[[str], Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real inductor: one program of the step serves every length."""
    monkeypatch.setattr(CompiledEngine, "compiles", True)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    weights = resolve(parse_model(str(tiny("llama2").path)))
    setup = builders.setup(engine="compiled", quantization="none", revision=weights.revision)
    eager = subject_of(HfEngine(setup, weights, 1))
    counts = []
    for _ in range(2):
        torch._dynamo.reset()
        subject = subject_of(CompiledEngine(setup, weights, 1))
        built = subject.engine.build_shapes(1200)
        counts.append((built.n_compiled, built.n_from_disk))
        asked: dict[str, Any] = {"temperature": 0.0, "max_length": 1200, "fixed_length": True}
        assert subject.generate(**asked).tokens == eager.generate(**asked).tokens
    assert counts == [(4, 0), (0, 4)], "the step, and three ways to draw a token"
