"""A trial as it is scheduled, its hash and the seeds of its generations."""

from __future__ import annotations

from pydantic import Field

from orchestrator.nouns.base import Noun, digest
from orchestrator.nouns.bounds import Count, FolderName, Number
from orchestrator.nouns.setup import Setup
from orchestrator.nouns.space import Configuration
from orchestrator.nouns.use_case import Prompt

ANCHOR = "anchor"
"""Strategy of the repeated reference configuration."""


def generation_seed(sweep_seed: int, configuration: Configuration, prompt: str, repeat: int) -> int:
    """Seed of one generation, 0 <= seed < 2^63.

    It does not depend on model and quantization: those are compared on the same random numbers.
    """
    return int(digest([sweep_seed, configuration.model_dump(), prompt, repeat], 16), 16) >> 1


TrialKey = tuple[str, str, str, str, int]
"""(strategy, use case, index, config hash, repeat): what identifies a trial on any machine."""


class TrialSpec(Noun):
    """One trial as it is scheduled: a configuration on the prompts of a use case, on one GPU."""

    sweep_id: FolderName
    strategy: FolderName
    config_index: Count
    """Number of the configuration in its design, from 0; of an anchor always 0."""
    repeat: Number
    attempt: Number = 1
    order_index: Count
    """Place in the order in which the sweep's trials are handed out, from 0."""
    configuration: Configuration
    setup: Setup
    prompts: tuple[Prompt, ...] = Field(min_length=1)
    """The prompts that this attempt has to run."""
    model_ref: str
    """How a worker finds the weights: what the user wrote after --model."""

    def batches(self) -> list[tuple[Prompt, ...]]:
        """Its prompts as they are generated: those of one batch at once, in order."""
        batches: dict[int, list[Prompt]] = {}
        for prompt in self.prompts:
            batches.setdefault(self.setup.batch_of(prompt.number), []).append(prompt)
        return [tuple(prompts) for prompts in batches.values()]

    def config_hash(self) -> str:
        """Hash of configuration and setup; of an anchor also of its sweep: each has its own."""
        of_sweep = [self.sweep_id] if self.strategy == ANCHOR else []
        return digest([self.configuration.model_dump(), self.setup.hashed(), *of_sweep])

    def key(self) -> TrialKey:
        """What all attempts of a trial share, on any machine."""
        index, config_hash = f"{self.config_index:04d}", self.config_hash()
        return (self.strategy, self.setup.use_case, index, config_hash, self.repeat)

    def folder(self) -> str:
        """Name of the trial's folder."""
        attempt = f"-a{self.attempt}" if self.attempt > 1 else ""
        return f"{self.config_index:04d}-{self.config_hash()}-r{self.repeat}{attempt}"
