"""An engine under test and short ways to run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.engine import Encoded, Engine, Generated
from orchestrator.nouns import Effective, effective_of
from tests import builders

PROMPT = "Tell me of an old castle."


@dataclass
class Subject:
    """An engine with its encoded prompt."""

    engine: Engine
    encoded: Encoded

    def generate(
        self,
        seed: int = 1,
        *,
        fixed_length: bool = False,
        prompt: Encoded | None = None,
        timeout_s: float | None = None,
        **requested: Any,
    ) -> Generated:
        encoded = prompt or self.encoded
        effective = self.effective(encoded, **requested)
        return self.engine.generate(
            encoded, effective, seed, fixed_length=fixed_length, timeout_s=timeout_s
        )

    def effective(self, encoded: Encoded | None = None, **requested: Any) -> Effective:
        n_prompt = (encoded or self.encoded).n_tokens
        values = {
            "max_length": n_prompt + 16,
            "top_p": 1.0,
            "top_k": 0,
            "temperature": 1.0,
        } | requested
        return effective_of(
            builders.configuration(**(values | requested)),
            prompt_tokens=n_prompt,
            context_length=self.engine.info.context_length,
            memory_tokens=self.engine.info.memory_tokens,
        )


def subject_of(engine: Engine) -> Subject:
    return Subject(engine, engine.encode(PROMPT))
