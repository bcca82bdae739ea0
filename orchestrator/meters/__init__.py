"""Meters: instruments that watch a measurement window. One protocol, one table, one contract suite.

A meter never answers 0 for "don't know": the value is None and `notes` says why, under the
column's name. Each row of the table declares the columns that its meter writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.gpu.access import GpuAccess
from orchestrator.meters.columns import (
    CodeCarbonColumns,
    CounterColumns,
    NeighbourColumns,
    PowerColumns,
)
from orchestrator.nouns import Machine, Noun


@dataclass(frozen=True)
class Reading:
    """What one meter, or all meters together, saw in one window."""

    values: dict[str, Any]
    """Column of the data set -> value or None."""
    notes: dict[str, str] = field(default_factory=dict)
    """Column -> why its value is None."""
    codecarbon: dict[str, Any] = field(default_factory=dict)
    """CodeCarbon's own record of the window, kept as it is; empty from any other meter."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Rows of telemetry.parquet, `at_s` from the window's start."""
    flags: frozenset[str] = frozenset()
    """Warning flags (dataset/flags.py) that this meter alone can see."""


@dataclass(frozen=True)
class Scene:
    """What a meter must know of the place it measures in."""

    machine: Machine
    gpu: GpuAccess | None = None
    """None: the engine runs on the CPU."""
    own_pids: frozenset[int] = frozenset()
    """What generates as NVML knows it: this process, or those of a server."""
    n_parallel: int = 1
    project_name: str = "orchestrator"
    pid: int | None = None
    """The process whose tree takes the CPU's and the RAM's energy; None: this one."""
    why_unmeasured: str | None = None
    """Why no energy can be measured; None: it can."""


class Meter(Protocol):
    """One instrument; windows follow one another and never nest."""

    def begin(self) -> None:
        """Open a window. Everything slow, waiting included, happens before the last statement."""

    def end(self) -> None:
        """Close the window. The first statement reads the instrument."""

    def reading(self, began_s: float, ended_s: float) -> Reading:
        """What the closed window gave; called after all meters have ended, so it may take time.

        `began_s` and `ended_s`: the window's edges by time.perf_counter().
        """

    def close(self) -> None:
        """Release the instrument; more calls do nothing."""


def _neighbours(scene: Scene) -> Meter | None:
    """The meter of who else computes on the GPU; None without a GPU."""
    if scene.gpu is None:
        return None
    from orchestrator.meters.neighbours import NeighbourMeter

    return NeighbourMeter(scene.gpu, scene.own_pids, scene.pid)


def _codecarbon(scene: Scene) -> Meter:
    """CodeCarbon's meter, for every worker."""
    from orchestrator.meters.codecarbon import CodeCarbonMeter

    return CodeCarbonMeter(scene)


def _counter(scene: Scene) -> Meter | None:
    """The meter of the GPU's energy counter; None without a GPU."""
    if scene.gpu is None:
        return None
    from orchestrator.meters.counter import CounterMeter

    return CounterMeter(scene.gpu)


def _power(scene: Scene) -> Meter | None:
    """The meter that integrates the GPU's power; None without a GPU."""
    if scene.gpu is None:
        return None
    from orchestrator.meters.power import PowerMeter
    from orchestrator.meters.samples import sample_source

    return PowerMeter(sample_source(scene.gpu))


def _unmeasured(why: str) -> Meter:
    """The meter of a scene in which nothing can be measured."""
    from orchestrator.meters.unmeasured import UnmeasuredMeter

    return UnmeasuredMeter(why)


@dataclass(frozen=True)
class MeterKind:
    """One row of the table of meters."""

    make: Callable[[Scene], Meter | None]
    """None where the instrument can't be there."""
    columns: type[Noun]
    """The columns that it writes, each with its meaning."""
    gpu_energy: str | None = None
    """The column with the GPU's energy, where it may count as such; of several meters that of the
    first in the table."""
    energy_name: str = ""
    """What a person reads where that energy is shown."""
    packages: tuple[str, ...] = ()
    """Packages whose version may change an energy."""


METERS: dict[str, MeterKind] = {
    "neighbours": MeterKind(_neighbours, NeighbourColumns),
    "codecarbon": MeterKind(_codecarbon, CodeCarbonColumns, packages=("codecarbon",)),
    "counter": MeterKind(
        _counter,
        CounterColumns,
        gpu_energy="gpu_energy_counter_j",
        energy_name="GPU energy (counter)",
    ),
    "power": MeterKind(
        _power,
        PowerColumns,
        gpu_energy="gpu_energy_integrated_j",
        energy_name="GPU energy (integrated power)",
    ),
}
"""Name -> row, from the outermost window to the innermost."""


def check_columns() -> None:
    """Raise ValueError where two meters of the table declare one column."""
    owner: dict[str, str] = {}
    for name, kind in METERS.items():
        for column in kind.columns.model_fields:
            other = owner.setdefault(column, name)
            if other != name:
                raise ValueError(f"the meters {other} and {name} both write the column {column}")


def meters_for(scene: Scene) -> list[Meter]:
    """All meters that can be in a scene, from the outermost window to the innermost."""
    check_columns()
    if scene.why_unmeasured is not None:
        return [_unmeasured(scene.why_unmeasured)]
    made = [kind.make(scene) for kind in METERS.values()]
    return [meter for meter in made if meter is not None]


def joined(readings: list[Reading]) -> Reading:
    """What all meters saw of one window, as one reading.

    Raises ValueError where two of them wrote one column, or a CodeCarbon record.
    """
    whole = Reading({})
    for part in readings:
        if whole.codecarbon and part.codecarbon:
            raise ValueError("two meters gave a record of CodeCarbon's")
        if twice := sorted(whole.values.keys() & part.values.keys()):
            raise ValueError(f"two meters wrote the column {twice[0]}")
        whole = Reading(
            values=whole.values | part.values,
            notes=whole.notes | part.notes,
            codecarbon=whole.codecarbon | part.codecarbon,
            samples=whole.samples + part.samples,
            flags=whole.flags | part.flags,
        )
    return whole
