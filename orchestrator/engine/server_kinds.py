"""The kinds of OpenAI-compatible servers: how each is recognized, and what it is asked with.

OpenAI's protocol has fields for max_tokens, temperature, top_p and seed. For top_k, for a fixed
length and for a prompt that isn't taken from the cache each server has fields of its own, or none.
A field that a server doesn't know it passes over in silence: so only what its table says is sent,
and the rest is recorded as not taken. docs/servers.md has the sources.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.engine.server_http import Client
from orchestrator.nouns import Effective

SEED_BITS = 31
"""Of a seed so many are sent: each server takes them, llama.cpp no more than 32."""
FIXED_LENGTH = "fixed_length"
"""What a server that can't be kept from ending a text doesn't take."""
NOBODY = "unknown"


@dataclass(frozen=True)
class Asked:
    """What a text is to be made with, whatever the server."""

    n_new: int
    effective: Effective
    seed: int
    fixed_length: bool

    def sampled(self, **fields: Any) -> dict[str, Any]:
        """Fields that mean nothing to a greedy text."""
        return fields if self.effective.do_sample else {}

    def fixed(self, **fields: Any) -> dict[str, Any]:
        """Fields of a text that must not end early."""
        return fields if self.fixed_length else {}


def openai_fields(asked: Asked) -> dict[str, Any]:
    """What OpenAI's protocol itself has: the least that any server takes."""
    effective = asked.effective
    return {
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": asked.n_new,
        "seed": asked.seed & (2**SEED_BITS - 1),
        "temperature": effective.temperature if effective.do_sample else 0.0,
        **asked.sampled(top_p=effective.top_p),
    }


def _vllm_fields(asked: Asked) -> dict[str, Any]:
    """Of vLLM and SGLang: what isn't sent comes from the model's generation_config."""
    return {
        **openai_fields(asked),
        **asked.sampled(top_k=asked.effective.top_k or -1, min_p=0.0),
        "repetition_penalty": 1.0,
        **asked.fixed(ignore_eos=True, min_tokens=asked.n_new),
        # a prompt is found in the cache of prefixes under its own salt alone
        "cache_salt": secrets.token_hex(16),
    }


def _llama_cpp_fields(asked: Asked) -> dict[str, Any]:
    """Of llama.cpp, whose own samplers are more than these, in another order."""
    return {
        **openai_fields(asked),
        **_llama_cpp_samplers(asked.effective),
        "repeat_penalty": 1.0,
        **asked.fixed(ignore_eos=True),
        "cache_prompt": False,
    }


def _llama_cpp_samplers(effective: Effective) -> dict[str, Any]:
    """Which samplers are applied, in transformers' order: its own has the temperature last."""
    if not effective.do_sample:
        return {"top_k": 1, "samplers": ["top_k"]}
    return {"top_k": effective.top_k or 0, "samplers": ["temperature", "top_k", "top_p"]}


def _tgi_fields(asked: Asked) -> dict[str, Any]:
    """Of TGI, which refuses a top_p of 1."""
    fields = openai_fields(asked)
    if fields.get("top_p") == 1.0:
        del fields["top_p"]
    return fields


def _transformers_fields(asked: Asked) -> dict[str, Any]:
    """Of `transformers serve`, greedy unless the generation_config that is sent says otherwise.

    It refuses fields that it doesn't know, and tells the usage without being asked.
    """
    effective = asked.effective
    config = {
        "do_sample": effective.do_sample,
        "repetition_penalty": 1.0,
        **asked.sampled(
            temperature=effective.temperature, top_p=effective.top_p, top_k=effective.top_k
        ),
        **asked.fixed(min_new_tokens=asked.n_new),
    }
    return {
        "stream": True,
        "max_tokens": asked.n_new,
        "seed": asked.seed & (2**SEED_BITS - 1),
        "generation_config": json.dumps(config),
    }


@dataclass(frozen=True)
class ServerKind:
    """One row of the table of servers."""

    fields: Callable[[Asked], dict[str, Any]]
    """The fields of a request, but for the model and the prompt."""
    not_taken: tuple[str, ...] = ()
    """Parameters that it has no field for."""
    keeps_prompts: bool = True
    """Whether a prompt that it has seen may cost less the next time: its fields can't forbid it."""
    templates_all: bool = False
    """Whether it puts each prompt into the model's template, that of /completions, too."""
    launcher: str | None = None
    """Name of the program that starts its processes, where they aren't children of what listens."""
    owned_by: str | None = None
    """What its list of models says of their owner; None: it says nothing of itself there."""
    shows: tuple[str, str] | None = None
    """Path and key of a JSON object that no other server has."""
    version: tuple[str, ...] = ()
    """Paths of JSON objects that may tell its version."""
    context: tuple[str, ...] = ()
    """Keys of the length of the context in what it tells."""
    facts: tuple[str, ...] = ()
    """Paths of JSON objects with what it was started with."""
    seed_needs: str | None = None
    """A fact that must be true, else it draws without regard to the seed."""
    digests: tuple[str, ...] = ()
    """Keys of a hash of the weights in what it tells."""


SERVERS: dict[str, ServerKind] = {
    "vllm": ServerKind(
        _vllm_fields,
        keeps_prompts=False,
        owned_by="vllm",
        version=("/version",),
        context=("max_model_len",),
    ),
    "sglang": ServerKind(
        _vllm_fields,
        keeps_prompts=False,
        owned_by="sglang",
        version=("/server_info", "/get_server_info"),
        context=("max_model_len",),
        facts=("/server_info", "/get_server_info"),
        seed_needs="enable_deterministic_inference",
    ),
    "llama.cpp": ServerKind(
        _llama_cpp_fields,
        keeps_prompts=False,
        owned_by="llamacpp",
        version=("/props",),
        context=("n_ctx",),
        facts=("/props",),
    ),
    "ollama": ServerKind(
        openai_fields,
        not_taken=("top_k", FIXED_LENGTH),
        templates_all=True,
        shows=("/api/version", "version"),
        version=("/api/version",),
        digests=("digest",),
    ),
    "tgi": ServerKind(
        _tgi_fields,
        not_taken=("top_k", FIXED_LENGTH),
        launcher="text-generation-launcher",
        shows=("/info", "max_total_tokens"),
        version=("/info",),
        context=("max_total_tokens",),
        facts=("/info",),
        digests=("model_sha",),
    ),
    "transformers": ServerKind(
        _transformers_fields,
        keeps_prompts=False,
        shows=("/openapi.json", "paths./load_model"),
    ),
    NOBODY: ServerKind(openai_fields, not_taken=("top_k", FIXED_LENGTH)),
}
"""Name -> row; the last one is for a server that none of the others describes."""


@dataclass(frozen=True)
class Told:
    """What a server says of itself."""

    kind: str
    version: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Of the objects at its paths."""


def kind_of(client: Client, owners: set[str]) -> str:
    """The name of the kind of server that answers; `owners`: of its models, as it lists them."""
    for name, kind in SERVERS.items():
        if kind.owned_by in owners:
            return name
    for name, kind in SERVERS.items():
        if kind.shows is not None:
            path, key = kind.shows
            if _at(client.told(path), key) is not None:
                return name
    return NOBODY


def told_by(client: Client, name: str) -> Told:
    """What a server of that kind says of itself, as far as it does."""
    kind = SERVERS[name]
    facts: dict[str, Any] = {}
    for path in dict.fromkeys((*kind.facts, *kind.version)):
        facts |= client.told(path) or {}
    version = facts.get("version") or facts.get("build_info")
    return Told(name, str(version) if version else None, facts)


def _at(facts: Any, key: str) -> Any:
    """The value at a key, or at a key of the object at a key, as 'paths./load_model'."""
    for part in key.split(".", 1):
        facts = facts.get(part) if isinstance(facts, dict) else None
    return facts
