"""What every engine must do. A new engine is tested by its row in CASES."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.engine import ENGINES, Engine, GenerationError
from orchestrator.engine.simulated import SimulatedEngine
from orchestrator.nouns import Setup
from orchestrator.sweep.request import Request
from tests import builders
from tests.engine.subject import PROMPT, Subject, made, subject_of

Case = Callable[[pytest.FixtureRequest], Engine]


def without_weights(kind: str) -> Case:
    """An engine that has no model."""
    return lambda _request: ENGINES[kind].load(builders.setup(engine=kind), "smollm2", 1, None)


def tiny(alias: str, quantization: str, kind: str = "transformers", batch_size: int = 1) -> Case:
    """A real engine with a tiny model."""
    asked = (alias, quantization, kind, batch_size)
    return lambda request: request.getfixturevalue("engines")(*asked)


def served(kind: str) -> Case:
    """A server that behaves as one of that kind, without a model."""
    return lambda request: request.getfixturevalue("served")(kind)


CASES: dict[str, Case] = {
    "simulated": without_weights("simulated"),
    "server, vllm": served("vllm"),
    "server, llama.cpp": served("llama.cpp"),
    "transformers, llama2 none": tiny("llama2", "none"),
    "transformers, llama2 nf4": tiny("llama2", "nf4"),
    "transformers, llama2 fp4": tiny("llama2", "fp4"),
    "transformers, llama2 int8": tiny("llama2", "int8"),
    "transformers, llama2 int4": tiny("llama2", "int4"),
    "transformers, mistral none": tiny("mistral", "none"),
    "transformers, mistral nf4": tiny("mistral", "nf4"),
    "compiled, llama2 none": tiny("llama2", "none", "compiled"),
    "compiled, llama2 int4": tiny("llama2", "int4", "compiled"),
    "compiled, mistral nf4": tiny("mistral", "nf4", "compiled"),
}
"""Kind of engine, and what else is to be told -> the engine."""
BATCHES: dict[str, Case] = {
    "simulated": CASES["simulated"],
    "transformers, llama2": tiny("llama2", "none", batch_size=3),
    "transformers, mistral": tiny("mistral", "none", batch_size=3),
    "compiled, llama2": tiny("llama2", "none", "compiled", batch_size=3),
    "compiled, mistral": tiny("mistral", "none", "compiled", batch_size=3),
}
"""The same, for batches of up to three prompts."""
PROMPTS = ("Hi", "Tell me of an old castle.", "a longer prompt " * 12)
SEEDS, N_NEW = (11, 12, 13), (30, 7, 18)
OWN_STREAMS = ("simulated", "compiled")
"""Engines in which a row's random numbers follow from its own seed."""


@pytest.fixture(params=CASES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return subject_of(CASES[request.param](request))


@pytest.fixture(params=BATCHES)
def batched(request: pytest.FixtureRequest) -> Subject:
    return subject_of(BATCHES[request.param](request))


def test_every_engine_is_tested_here() -> None:
    assert {name.partition(",")[0] for name in CASES} == set(ENGINES)
    batching = {name for name, kind in ENGINES.items() if kind.batches}
    assert {name.partition(",")[0] for name in BATCHES} == batching


@pytest.mark.parametrize("n_rows", [1, 2, 3])
@pytest.mark.parametrize("fixed_length", [False, True])
def test_a_row_of_a_batch_is_greedy_as_alone(
    batched: Subject, n_rows: int, fixed_length: bool
) -> None:
    """Each up to its own max_length; in float32, in which tokens don't tie."""
    asked: dict[str, Any] = {"temperature": 0.0, "fixed_length": fixed_length}
    rows = batched.batch(PROMPTS[:n_rows], SEEDS[:n_rows], n_new=N_NEW[:n_rows], **asked)
    for row, prompt, seed, n_new in zip(rows, PROMPTS, SEEDS, N_NEW, strict=False):
        [alone] = batched.batch([prompt], [seed], n_new=[n_new], **asked)
        assert (row.tokens, row.finish_reason) == (alone.tokens, alone.finish_reason)
    n_steps = max(len(row.tokens) for row in rows)
    assert [row.n_steps_beyond for row in rows] == [n_steps - len(row.tokens) for row in rows]
    assert len({row.ttft_s for row in rows}) == 1


def test_the_same_seeds_give_the_same_batch(batched: Subject) -> None:
    asked: dict[str, Any] = {"n_new": N_NEW, "top_k": 40, "top_p": 0.9}
    first = batched.batch(PROMPTS, SEEDS, **asked)
    other = batched.batch(PROMPTS, (SEEDS[0], SEEDS[1], 99), **asked)
    again = batched.batch(PROMPTS, SEEDS, **asked)
    assert [row.tokens for row in first] == [row.tokens for row in again]
    assert first[2].tokens != other[2].tokens


@pytest.mark.parametrize("name", [name for name in BATCHES if name.startswith(OWN_STREAMS)])
def test_a_sampled_row_depends_on_its_own_seed_alone(
    name: str, request: pytest.FixtureRequest
) -> None:
    batched = subject_of(BATCHES[name](request))
    asked: dict[str, Any] = {"top_k": 40, "top_p": 0.9}
    rows = batched.batch(PROMPTS, SEEDS, n_new=N_NEW, **asked)
    for row, prompt, seed, n_new in zip(rows, PROMPTS, SEEDS, N_NEW, strict=True):
        [alone] = batched.batch([prompt], [seed], n_new=[n_new], **asked)
        assert row.tokens == alone.tokens


def test_a_row_that_ends_early_leaves_the_others_as_they_are(batched: Subject) -> None:
    """A token that one row alone makes is taken for its end."""
    if isinstance(batched.engine, SimulatedEngine):
        pytest.skip("its end is no token that can be chosen")
    ends = batched.engine._special.eos  # type: ignore[attr-defined]
    before = list(ends)
    asked: dict[str, Any] = {"temperature": 0.0, "n_new": (20, 20, 20)}
    free = batched.batch(PROMPTS, SEEDS, **asked)
    others = {token for row in free[1:] for token in row.tokens}
    end = next(token for token in free[0].tokens[3:] if token not in others)
    try:
        ends[:] = [end]
        first, *rest = batched.batch(PROMPTS, SEEDS, **asked)
    finally:
        ends[:] = before
    place = free[0].tokens.index(end)
    assert (first.tokens, first.finish_reason) == (free[0].tokens[: place + 1], "eos")
    assert first.n_steps_beyond == 20 - len(first.tokens)
    assert [row.tokens for row in rest] == [row.tokens for row in free[1:]]


def test_a_batch_ends_at_the_first_token_after_its_timeout(batched: Subject) -> None:
    with pytest.raises(GenerationError) as raised:
        batched.batch(PROMPTS, SEEDS, n_new=N_NEW, timeout_s=1e-9)
    assert raised.value.kind == "timeout"
    assert "with 1 new tokens" in str(raised.value)


@pytest.mark.parametrize("kind", ENGINES)
def test_an_option_has_a_name_of_its_own_and_tells_what_it_means(kind: str) -> None:
    """It is a flag of `tune` beside the fields of Request, and hashed beside those of Setup."""
    options = ENGINES[kind].options.model_fields
    taken = set(Setup.model_fields) | {field.name for field in dataclasses.fields(Request)}
    assert not taken & set(options)
    assert all(field.description for field in options.values())
    assert ENGINES[kind].given_options() == {}, "each has a default"


def test_same_seed_same_text_other_seed_other_text(subject: Subject) -> None:
    first, again, other = (subject.generate(seed) for seed in (7, 7, 8))
    assert made(first) == made(again)
    assert subject.engine.decode(first) == subject.engine.decode(again)
    assert made(other) != made(first)


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**32, 2**63 - 1])
def test_seeds_of_63_bits_are_taken(subject: Subject, seed: int) -> None:
    """On a CPU torch uses their lower 32 bits."""
    assert made(subject.generate(seed)) == made(subject.generate(seed))


def test_the_text_does_not_depend_on_what_ran_before(subject: Subject) -> None:
    first = made(subject.generate(3))
    subject.generate(99, temperature=0.0)
    subject.generate(98, max_length=subject.encoded.n_tokens + 3)
    assert made(subject.generate(3)) == first


def test_greedy_does_not_depend_on_the_seed(subject: Subject) -> None:
    first, other = (subject.generate(seed, temperature=0.0) for seed in (1, 2))
    assert made(first) == made(other)


def test_fixed_length_gives_exactly_max_length(subject: Subject) -> None:
    for seed in range(4):
        generated = subject.generate(
            seed, fixed_length=True, max_length=subject.encoded.n_tokens + 40
        )
        assert (generated.n_new, generated.finish_reason) == (40, "length")


def test_natural_length_never_passes_max_length(subject: Subject) -> None:
    for seed in range(3):
        generated = subject.generate(seed, max_length=subject.encoded.n_tokens + 24)
        assert 1 <= generated.n_new <= 24
        assert generated.finish_reason in ("eos", "length")
        if generated.finish_reason == "length":
            assert generated.n_new == 24


@pytest.mark.parametrize("above", [-1000, 0, 1])
def test_max_length_up_to_the_prompt_gives_one_token(subject: Subject, above: int) -> None:
    generated = subject.generate(max_length=max(1, subject.encoded.n_tokens + above))
    assert generated.n_new == 1


def test_the_first_token_s_time_is_told(subject: Subject) -> None:
    generated = subject.generate()
    assert generated.ttft_s is None or 0 <= generated.ttft_s < 60


@pytest.mark.parametrize("fixed_length", [False, True])
def test_a_generation_ends_at_the_first_token_after_its_timeout(
    subject: Subject, fixed_length: bool
) -> None:
    with pytest.raises(GenerationError) as raised:
        subject.generate(timeout_s=1e-9, fixed_length=fixed_length)
    assert raised.value.kind == "timeout"
    assert str(raised.value) == "ended after 1e-09 s with 1 new tokens (--execution-timeout)"


def test_a_timeout_that_is_not_reached_changes_nothing(subject: Subject) -> None:
    before = made(subject.generate(5))
    assert made(subject.generate(5, timeout_s=3600.0)) == before
    with pytest.raises(GenerationError):
        subject.generate(6, timeout_s=1e-9)
    assert made(subject.generate(5)) == before, "what was ended leaves nothing behind"


def test_the_same_prompt_is_encoded_the_same(subject: Subject) -> None:
    again = subject.engine.encode(PROMPT)
    assert again.n_tokens == subject.encoded.n_tokens > 0
    assert subject.engine.encode(PROMPT + " And a dragon.").n_tokens > again.n_tokens


def test_any_prompt_runs(subject: Subject) -> None:
    for text in builders.HOSTILE_TEXTS:
        if 0 < len(text) < 1000 and text.strip():
            encoded = subject.engine.encode(text)
            generated = subject.generate(prompt=encoded, max_length=encoded.n_tokens + 2)
            assert 1 <= generated.n_new <= 2
            subject.engine.decode(generated).encode()  # no lone surrogates


def test_what_was_loaded_is_told(subject: Subject) -> None:
    info = subject.engine.info
    assert info.context_length in (4096, 8192, 32768)
    assert info.load_s >= 0
    assert info.versions
    assert info.columns.synthetic is (subject.engine.info.served_by is None)
    assert info.columns.chat_template is False
    gpu = subject.engine.gpu
    assert info.columns.gpu_uuid == (gpu.gpu.uuid if gpu else None)
    assert info.columns.offload_fraction == 0.0
