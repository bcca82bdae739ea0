"""Stands in for a model that doesn't fit in a machine's memory: each prompt becomes a row."""

from __future__ import annotations

from typing import NoReturn

from orchestrator.engine import Built, EngineColumns, EngineInfo, GenerationError
from orchestrator.gpu.access import GpuAccess
from orchestrator.nouns import Setup


class TooLargeEngine:
    """An engine without a model; every prompt fails with out of memory.

    It doesn't try to load again: the weights are as large for the next prompt.
    """

    def __init__(self, setup: Setup, reason: str) -> None:
        self._reason = reason
        self.gpu: GpuAccess | None = None
        self.info = EngineInfo(
            columns=EngineColumns(
                model_revision=setup.revision, compute_dtype="none", device="none"
            )
        )

    def encode(self, _prompt: str) -> NoReturn:
        """Raise the GenerationError that says why the model couldn't be loaded."""
        raise GenerationError("oom", self._reason)

    def generate(self, *_arguments: object, **_options: object) -> NoReturn:
        """Raise the GenerationError that says why the model couldn't be loaded."""
        raise GenerationError("oom", self._reason)

    def decode(self, _generated: object) -> NoReturn:
        """Raise the GenerationError that says why the model couldn't be loaded."""
        raise GenerationError("oom", self._reason)

    def build_shapes(self, _longest: int) -> Built:
        """Do nothing: there is no model."""
        return Built()

    def synchronize(self) -> None:
        """Do nothing: no device is in use."""

    def close(self) -> None:
        """Do nothing: nothing was loaded."""
