"""Tiny real models with random weights in two architectures, and copies of them to spoil.

They are made once a session.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.compiled import CompiledEngine
from orchestrator.engine.hf import HfEngine
from orchestrator.engine.server import ServerEngine
from orchestrator.engine.weights import Weights, resolve
from orchestrator.models import parse_model
from tests import builders
from tests.engine.fake_server import Behaviour, fake_server
from tests.engine.served import load_served

SIZES = (
    "hidden_size=64,num_hidden_layers=2,num_attention_heads=4,num_key_value_heads={kv},"
    "intermediate_size=128,vocab_size=512"
)
REFS = {
    "llama2": "synthetic-llama2:" + SIZES.format(kv=4),
    "mistral": "synthetic-mistral:" + SIZES.format(kv=2),
}
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "generation_config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
}
"""A model's small files, as good as any where nothing loads them."""


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that holds both models after `tiny`."""
    return tmp_path_factory.mktemp("tiny-cache")


@pytest.fixture(scope="session")
def tiny(tiny_cache: Path) -> Callable[[str], Weights]:
    """The weights of a tiny model of that architecture."""

    def weights(alias: str) -> Weights:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ORCHESTRATOR_CACHE", str(tiny_cache))
            return resolve(parse_model(REFS[alias]))

    return weights


@pytest.fixture(scope="session")
def engines(tiny: Callable[[str], Weights]) -> Iterator[Callable[..., HfEngine]]:
    """Engines by (architecture, quantization, kind, batch size), each loaded once a session.

    The compiled one's step is run as it is: compiling it takes a minute. On CPUs with AVX-512
    bfloat16 bitsandbytes would multiply 4-bit weights in that type; here all is in float32, so that
    two engines can be compared token by token.
    """
    loaded: dict[tuple[str, str, str, int], HfEngine] = {}
    kinds = {"transformers": HfEngine, "compiled": CompiledEngine}

    def engine(
        alias: str, quantization: str, kind: str = "transformers", batch_size: int = 1
    ) -> HfEngine:
        key = (alias, quantization, kind, batch_size)
        if key not in loaded:
            weights = tiny(alias)
            setup = builders.setup(
                engine=kind,
                quantization=quantization,
                revision=weights.revision,
                batch_size=batch_size,
            )
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
                loaded[key] = kinds[kind](setup, weights, 1)
        return loaded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CompiledEngine, "compiles", False)
        yield engine
    for one in loaded.values():
        one.close()


@pytest.fixture(scope="session")
def served() -> Iterator[Callable[..., ServerEngine]]:
    """Engines that ask a fake server, by its kind: each in this process, until the session ends.

    `behaviour` changes how it behaves, `setup` what it is asked for.
    """
    with ExitStack() as stack:

        def engine(
            kind: str = "vllm", behaviour: Behaviour | None = None, **setup: Any
        ) -> ServerEngine:
            url = stack.enter_context(fake_server(behaviour or Behaviour(kind)))
            one = load_served(url, **setup)
            stack.callback(one.close)
            return one

        yield engine


@pytest.fixture
def folder(tiny: Callable[[str], Weights], tmp_path: Path) -> Callable[..., Path]:
    """A copy of the tiny Llama's folder.

    `config`, `generation` and `tokenizer` change its JSON files.
    """
    made = 0

    def copy(
        config: dict[str, Any] | None = None,
        generation: dict[str, Any] | None = None,
        tokenizer: dict[str, Any] | None = None,
    ) -> Path:
        nonlocal made
        made += 1
        target = tmp_path / f"model{made}"
        shutil.copytree(tiny("llama2").path, target)
        for name, changes in (
            ("config", config),
            ("generation_config", generation),
            ("tokenizer_config", tokenizer),
        ):
            if changes is not None:
                file = target / f"{name}.json"
                content = json.loads(file.read_text()) if file.exists() else {}
                file.write_text(
                    json.dumps({k: v for k, v in (content | changes).items() if v is not ...})
                )
        return target

    return copy


@pytest.fixture
def load_folder() -> Callable[..., HfEngine]:
    """An engine from a local folder, the way a sweep loads it."""

    def engine(path: Path, **setup: Any) -> HfEngine:
        weights = resolve(parse_model(str(path)))
        values = {
            "engine": "transformers",
            "quantization": "none",
            "revision": weights.revision,
        } | setup
        return HfEngine(builders.setup(**values), weights, 1)

    return engine
