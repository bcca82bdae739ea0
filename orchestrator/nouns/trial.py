"""A trial as it is scheduled, its hash and the seeds of its generations."""

from __future__ import annotations

from orchestrator.nouns.base import Noun, digest
from orchestrator.nouns.setup import Setup
from orchestrator.nouns.space import Configuration
from orchestrator.nouns.use_case import Prompt

ANCHOR = "anchor"
"""Strategy of the repeated reference configuration."""


def generation_seed(sweep_seed: int, asked: Configuration, prompt: str, repeat: int) -> int:
    """Seed of one generation, 0 <= seed < 2^63. Independent of model and quantization: those share random numbers."""
    return int(digest([sweep_seed, asked.model_dump(), prompt, repeat], 16), 16) >> 1


TrialKey = tuple[str, str, str, str, int]
"""Strategy, use case, index, config hash, repeat: what identifies a trial on any machine."""


class TrialSpec(Noun):
    """One trial as it is scheduled: a configuration on the prompts of a use case, on one GPU."""

    sweep_id: str
    strategy: str
    index: int
    """Number of the point in its design (anchors: of the anchor among anchors)."""
    repeat: int
    attempt: int = 1
    order_index: int
    """Place in the order in which the sweep's trials are handed out."""
    asked: Configuration
    setup: Setup
    prompts: tuple[Prompt, ...]
    """The prompts this attempt has to run."""
    model_ref: str
    """How a worker finds the weights: what the user wrote after --model."""

    def config_hash(self) -> str:
        """Hash of configuration and setup; an anchor belongs to its sweep, so that every sweep has its own."""
        of_sweep = [self.sweep_id] if self.strategy == ANCHOR else []
        return digest([self.asked.model_dump(), self.setup.model_dump(), *of_sweep])

    def key(self) -> TrialKey:
        """The same for every attempt."""
        return (
            self.strategy,
            self.setup.use_case,
            f"{self.index:04d}",
            self.config_hash(),
            self.repeat,
        )

    def folder(self) -> str:
        """Name of the trial's folder in its leaf."""
        attempt = f"-a{self.attempt}" if self.attempt > 1 else ""
        return f"{self.index:04d}-{self.config_hash()}-r{self.repeat}{attempt}"
