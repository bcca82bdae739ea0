"""Use cases and their prompts."""

from __future__ import annotations

from pydantic import Field, ValidationError, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

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

    @field_validator("prompts")
    @classmethod
    def _usable(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse prompts that are empty, too long or given twice, each in its place."""
        first: dict[str, int] = {}
        faults = []
        for i, prompt in enumerate(prompts):
            problem = ""
            if not prompt.strip():
                problem = "is empty"
            elif len(prompt) > LONGEST_PROMPT:
                problem = f"has {len(prompt):,} characters, more than {LONGEST_PROMPT:,}"
            elif first.setdefault(prompt, i) != i:
                problem = f"repeats prompts[{first[prompt]}]"
            if problem:
                fault = PydanticCustomError("prompt", problem)
                faults.append(InitErrorDetails(type=fault, loc=(i,), input=prompt))
        if faults:
            raise ValidationError.from_exception_data("prompts", faults)
        return prompts


class Prompt(Noun):
    """One prompt of a use case, numbered from 1."""

    number: Number
    text: str
