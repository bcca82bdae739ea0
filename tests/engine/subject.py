"""An engine under test and short ways to run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.engine import BatchRow, Encoded, Engine, Generated
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
        row = BatchRow(encoded, self.effective(encoded, **requested), seed)
        [generated] = self.engine.generate([row], fixed_length=fixed_length, timeout_s=timeout_s)
        return generated

    def batch(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        n_new: Sequence[int],
        fixed_length: bool = False,
        timeout_s: float | None = None,
        **requested: Any,
    ) -> list[Generated]:
        """A batch whose rows get at most `n_new` tokens each."""
        rows = []
        for prompt, seed, most in zip(prompts, seeds, n_new, strict=True):
            encoded = self.engine.encode(prompt)
            length = encoded.n_tokens + most
            effective = self.effective(encoded, **(requested | {"max_length": length}))
            rows.append(BatchRow(encoded, effective, seed))
        return self.engine.generate(rows, fixed_length=fixed_length, timeout_s=timeout_s)

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


def made(generated: Generated) -> tuple[list[int], str | None]:
    """What was generated: the tokens, of a server its text."""
    return generated.tokens, generated.text


def subject_of(engine: Engine) -> Subject:
    return Subject(engine, engine.encode(PROMPT))
