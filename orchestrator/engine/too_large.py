"""The place of a model that doesn't fit in a machine's memory: each prompt becomes a row that says so."""

from __future__ import annotations

from typing import NoReturn

from orchestrator.engine import EngineInfo, GenerationError
from orchestrator.nouns import Setup


class Unfit:
    """An engine without a model. Nothing is tried again: the weights are as large for the next prompt."""

    def __init__(self, setup: Setup, reason: str) -> None:
        self._reason = reason
        self.info = EngineInfo(
            name=setup.engine,
            device="none",
            compute_dtype=setup.compute_dtype,
            revision=setup.revision,
            context_length=None,
            memory_tokens=None,
            uses_chat_template=False,
            attention="none",
            cache="none",
            threads=None,
            load_s=0.0,
            weights_bytes=None,
        )

    def encode(self, _prompt: str) -> NoReturn:
        """Raises GenerationError."""
        raise GenerationError("oom", self._reason)

    def generate(self, *_arguments: object, **_more: object) -> NoReturn:
        """Raises GenerationError."""
        raise GenerationError("oom", self._reason)

    def decode(self, _generated: object) -> NoReturn:
        """Raises GenerationError."""
        raise GenerationError("oom", self._reason)

    def synchronize(self) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """Nothing is held."""
