"""Meters: begin and end a window, give a `Reading`. One protocol, one table, one contract suite (tests/meters).

A meter never answers 0 for "don't know": the value is None and `notes` says why, under the column's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.nouns import Machine


@dataclass(frozen=True)
class Reading:
    """What one meter saw in one window."""

    values: dict[str, Any]
    """Column of the data set -> value or None."""
    notes: dict[str, str] = field(default_factory=dict)
    """Column -> why its value is None."""
    raw: dict[str, Any] = field(default_factory=dict)
    """The meter's own record, kept as it is (CodeCarbon's row)."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Rows of telemetry.parquet, `at_s` from the window's start."""
    flags: frozenset[str] = frozenset()
    """Labels for caution that this meter alone can see."""


@dataclass(frozen=True)
class Scene:
    """What a meter must know of the place it measures in."""

    machine: Machine
    gpu_uuid: str | None = None
    n_parallel: int = 1
    project_name: str = "orchestrator"


class Meter(Protocol):
    """One instrument; windows follow one another and never nest."""

    def settle(self) -> None:
        """Wait for a good moment to open a window; called before any meter begins."""

    def begin(self) -> None:
        """Open a window. Everything slow happens before the last statement."""

    def end(self) -> Reading:
        """Close the window. The first statement reads the instrument."""

    def close(self) -> None:
        """Let go of the instrument."""


def _codecarbon(scene: Scene) -> Meter:
    from orchestrator.meters.codecarbon import CodeCarbonMeter

    return CodeCarbonMeter(scene)


def _nvml(scene: Scene) -> Meter | None:
    if scene.gpu_uuid is None:
        return None
    from orchestrator.meters.nvml import NvmlMeter

    return NvmlMeter(scene.gpu_uuid)


METERS: dict[str, Callable[[Scene], Meter | None]] = {
    "codecarbon": _codecarbon,
    "nvml": _nvml,
}
"""Name -> maker, from the outermost window to the innermost; None where the instrument can't be there."""


def meters_for(scene: Scene) -> list[Meter]:
    """All meters that answer in a scene."""
    made = [make(scene) for make in METERS.values()]
    return [meter for meter in made if meter is not None]
