"""Engines: what turns a prompt into tokens. One protocol, one table, one contract suite (tests/engine).

The order of calls is that of METHOD R18: `encode` outside the window, `generate` alone inside it, `decode` after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.nouns import Effective, Setup


class GenerationError(Exception):
    """A generation that failed in a known way; it becomes a row, not a crash."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """oom, nan, timeout or other."""


def timed_out(timeout_s: float, n_tokens: int) -> GenerationError:
    """The error of a generation that was ended for its time."""
    return GenerationError(
        "timeout", f"ended after {timeout_s:g} s with {n_tokens} new tokens (--execution-timeout)"
    )


@dataclass(frozen=True)
class Encoded:
    """A prompt as token ids (templated where the model has a template)."""

    n_tokens: int
    ids: Any


@dataclass(frozen=True)
class Generated:
    """What a generation gave. `tokens` are the new ids up to and including the end of sequence."""

    tokens: list[int]
    finish_reason: str
    """eos or length."""
    ttft_s: float | None
    """Seconds until the first token; None where the engine can't tell."""


@dataclass(frozen=True)
class EngineInfo:
    """What was loaded and on what: recorded with each execution or trial."""

    name: str
    device: str
    compute_dtype: str
    """Type in which the quantized matrices are multiplied, as it runs: it may differ from what was asked."""
    revision: str
    context_length: int | None
    memory_tokens: int | None
    """Tokens whose key-value cache fits in the memory left after loading; None where unknown."""
    uses_chat_template: bool
    attention: str
    cache: str
    threads: int | None
    load_s: float
    weights_bytes: int | None
    gpu_uuid: str | None = None
    offload_fraction: float = 0.0
    double_quant: bool | None = None
    """Whether the scales of 4-bit weights are quantized too, as it runs; None: not 4 bit."""
    synthetic: bool = False
    versions: dict[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """A loaded model."""

    info: EngineInfo

    def encode(self, prompt: str) -> Encoded:
        """Token ids of a prompt."""

    def generate(
        self,
        encoded: Encoded,
        effective: Effective,
        seed: int,
        *,
        fixed_length: bool,
        timeout_s: float | None = None,
    ) -> Generated:
        """Generate; the only call inside a window.

        Raises GenerationError; of kind timeout at the first token after `timeout_s`.
        """

    def decode(self, generated: Generated) -> str:
        """Text of the new tokens."""

    def synchronize(self) -> None:
        """Wait until the device has done all that was launched. Raises RuntimeError where the device is lost."""

    def close(self) -> None:
        """Free the device's memory."""


def _transformers(setup: Setup, model_ref: str, threads: int | None) -> Engine:
    from orchestrator.engine.hf import load

    return load(setup, model_ref, threads)


def _simulated(setup: Setup, model_ref: str, threads: int | None) -> Engine:
    from orchestrator.engine.simulated import SimulatedEngine

    return SimulatedEngine(setup, model_ref, threads)


ENGINES: dict[str, Callable[[Setup, str, int | None], Engine]] = {
    "transformers": _transformers,
    "simulated": _simulated,
}
"""Name -> loader(setup, model_ref, threads). Loading may take minutes and raises ModelUnavailableError."""
