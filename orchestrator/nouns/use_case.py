"""Use cases and their prompts."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from orchestrator.nouns.base import Noun
from orchestrator.nouns.bounds import Number

LONGEST_PROMPT = 100_000
"""Characters: several times the context of the models that are known here; more is a mistake."""


class UseCase(Noun):
    """Prompts of one kind, in order; the folder of the data set has its name."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    description: str = ""
    language: str = "en"
    prompts: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _no_empty_or_repeated(self) -> Self:
        """Refuse prompts that are empty, too long or given twice, all at once."""
        faults = [
            f"prompts[{i}] is empty" for i, prompt in enumerate(self.prompts) if not prompt.strip()
        ]
        faults += [
            f"prompts[{i}] has {len(prompt):,} characters, more than {LONGEST_PROMPT:,}"
            for i, prompt in enumerate(self.prompts)
            if len(prompt) > LONGEST_PROMPT
        ]
        first: dict[str, int] = {}
        faults += [
            f"prompts[{i}] repeats prompts[{first[prompt]}]"
            for i, prompt in enumerate(self.prompts)
            if first.setdefault(prompt, i) != i
        ]
        if faults:
            raise ValueError("\n".join(faults))
        return self


class Prompt(Noun):
    """One prompt of a use case, numbered from 1."""

    number: Number
    text: str
