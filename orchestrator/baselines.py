"""Idle power of a GPU in the states that a session passes: what net energies leave out.

A context alone raises the idle power, what lies in the memory hardly does ("The Model Parking
Tax", arXiv 2605.23918), so it is measured in the state in which answers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from orchestrator.dataset.energy import GPU_ENERGIES
from orchestrator.dataset.environment import Baseline, GpuStateName
from orchestrator.gpu.access import Clock
from orchestrator.metered import metered
from orchestrator.meters import Meter
from orchestrator.unknowns import quotient

WINDOW_S = 5.0
SETTLE_S = 2.0
"""Rest before it: clocks and averaged power need a while after work."""
MOVED = 0.10
"""An idle power that differs by more is a new baseline."""


def measured_baseline(
    meters: Sequence[Meter], clock: Clock, *, state: GpuStateName, name: str
) -> Baseline:
    """The idle power of a GPU over 5 s after a rest; `name`: its id.

    Its power is None where no meter of the GPU gives an energy.
    """
    clock.sleep(SETTLE_S)
    started_at = datetime.now(UTC).replace(microsecond=0)
    idle = metered(meters, clock, lambda: clock.sleep(WINDOW_S))
    energies_j = (idle.reading.values.get(column) for column in GPU_ENERGIES)
    energy_j = next((one for one in energies_j if one is not None), None)
    return Baseline(
        id=name,
        state=state,
        power_w=quotient(energy_j, idle.window_s),
        window_s=idle.window_s,
        started_at=started_at,
    )


def has_moved(old: Baseline, new: Baseline) -> bool:
    """Whether the idle power has changed so much that net energies need the new one."""
    if new.power_w is None:
        return False
    if not old.power_w:
        return True
    return abs(new.power_w / old.power_w - 1) > MOVED
