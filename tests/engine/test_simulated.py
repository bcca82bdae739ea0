"""The engine without a model."""

from __future__ import annotations

import pytest

from orchestrator.engine.simulated import SimulatedEngine
from tests import builders
from tests.engine.subject import subject_of


def test_the_simulated_engine_takes_the_time_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_SIMULATED_TOKEN_S", "0.002")
    monkeypatch.setenv("ORCHESTRATOR_SIMULATED_LOAD_S", "0.02")
    subject = subject_of(SimulatedEngine(builders.setup(), "smollm2", 3))
    assert subject.engine.info.load_s >= 0.02
    assert subject.engine.info.columns.threads == 3
    assert subject.generate().ttft_s >= 0.002  # type: ignore[operator]


def test_its_gpu_draws_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_SIMULATED_GPU", '{"new_token_s": 0.5, "name": "SIMULATED B"}')
    subject = subject_of(SimulatedEngine(builders.setup(), "smollm2", 1))
    assert subject.engine.gpu is not None
    assert subject.engine.gpu.gpu.name == "SIMULATED B"
    began_s = subject.engine.gpu.clock()
    generated = subject.generate(fixed_length=True)
    subject.engine.synchronize()
    assert subject.engine.gpu.clock() - began_s == pytest.approx(
        0.5 * len(generated.tokens), rel=0.01
    )


def test_the_simulated_engine_ends_texts_at_times() -> None:
    subject = subject_of(SimulatedEngine(builders.setup(), "smollm2", 1))
    reasons = [
        subject.generate(seed, max_length=subject.encoded.n_tokens + 60).finish_reason
        for seed in range(40)
    ]
    assert {"eos", "length"} == set(reasons)
    ended = next(
        g
        for g in (subject.generate(s, max_length=200) for s in range(99))
        if g.finish_reason == "eos"
    )
    assert len(subject.engine.decode(ended).split()) == len(ended.tokens) - 1, (
        "the end is a token, but no word"
    )
