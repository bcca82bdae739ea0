"""Which energy of a row counts: the one rule that all tables, metrics and the report share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.meters import METERS
from orchestrator.meters.nvml import COUNTER_PERIOD_S
from orchestrator.unknowns import quotient

GPU_ENERGIES = tuple(kind.gpu_energy for kind in METERS.values() if kind.gpu_energy)
"""Columns of the GPU's own energy, the best one first."""
TOTAL_ENERGY = "energy_j"
"""Column that counts where there is no GPU: CPU and RAM by CodeCarbon."""
SENSOR_GAIN = 0.05
"""Systematic relative error of a GPU's power sensor, common to all rows of a device.

NVML's documentation gives +-5 % for older boards; newer ones document nothing better.
"""


def energy_basis(values: Mapping[str, Any], *, has_gpu: bool) -> str | None:
    """The column whose energy counts for a window; None: nothing was measured.

    With a GPU its counter, without one its integrated power. On a machine without a GPU
    CodeCarbon's total: the CPU's and RAM's energy never stands for a GPU's.
    """
    columns = GPU_ENERGIES if has_gpu else (TOTAL_ENERGY,)
    for column in columns:
        if values.get(column) is not None:
            return column
    return None


def counted_energy_j(row: Mapping[str, Any]) -> float | None:
    """The energy that counts, in joules; None: not measured. `row` has `energy_basis`."""
    basis = row.get("energy_basis")
    if basis is None:
        return None
    return row.get(basis)


def energy_per_token_j(row: Mapping[str, Any]) -> float | None:
    """The energy that counts over the new tokens; None: one of both is unknown or 0."""
    return quotient(counted_energy_j(row), row.get("n_new_tokens"))


def energy_rel_uncertainty(row: Mapping[str, Any]) -> float | None:
    """Relative uncertainty of a GPU's energy; None for models, whose error is unknown.

    Root of the sum of squares of the sensor's gain and of the counter's steps at both edges of
    the window: one period in all, as the counter opens and closes somewhere within a step.
    """
    window_s = row.get("window_s")
    if row.get("energy_basis") not in GPU_ENERGIES or not window_s:
        return None
    return math.hypot(SENSOR_GAIN, COUNTER_PERIOD_S / window_s)
