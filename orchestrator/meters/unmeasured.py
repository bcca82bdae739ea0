"""In a place where nothing can be measured: each energy is null, and says why."""

from __future__ import annotations

from orchestrator.meters import Reading
from orchestrator.meters.codecarbon import FIGURES
from orchestrator.meters.columns import CodeCarbonColumns


class UnmeasuredMeter:
    """Reads nothing."""

    def __init__(self, why: str) -> None:
        """`why`: the reason that each row carries."""
        self._why = why

    def begin(self) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""

    def reading(self, began_s: float, ended_s: float) -> Reading:  # noqa: ARG002 - a meter's
        """No energy, for the reason."""
        unknown = dict.fromkeys(CodeCarbonColumns.model_fields)
        return Reading(unknown, dict.fromkeys(FIGURES, self._why))

    def close(self) -> None:
        """Do nothing."""
