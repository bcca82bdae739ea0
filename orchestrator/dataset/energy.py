"""Which energy of a row counts, and how well it is known: rules that all tables and pages share.

What counts is the energy of the machine itself. Where CodeCarbon's total counts, its PUE (what a
building adds for cooling) is taken out again, since a GPU's counter doesn't hold it either.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from orchestrator.meters import METERS
from orchestrator.nouns import one_of
from orchestrator.unknowns import product, quotient

GPU_ENERGIES = tuple(kind.gpu_energy for kind in METERS.values() if kind.gpu_energy)
"""Columns of the GPU's own energy, the best one first."""
TOTAL_ENERGY = "energy_j"
"""Column that counts where there is no GPU: CPU and RAM by CodeCarbon."""
ENERGY_NAMES = {
    **{kind.gpu_energy: kind.energy_name for kind in METERS.values() if kind.gpu_energy},
    TOTAL_ENERGY: "CPU+RAM energy (CodeCarbon's model)",
}
"""Value of `energy_basis` -> what a person reads where that energy is shown."""

EnergyBasis = Annotated[str, one_of((*GPU_ENERGIES, TOTAL_ENERGY))]
"""A column whose energy counts."""

SENSOR_LIMIT = 0.05
"""Bounds of a GPU sensor's relative gain error, common to all rows of a device.

NVML's documentation gives +-5 % for older boards; newer ones document nothing better.
"""
SENSOR_REL = SENSOR_LIMIT / math.sqrt(3)
"""Its standard uncertainty, any error within them being as likely (GUM, JCGM 100:2008, 4.3.7).
"""
SYSTEMATIC_FACTOR = 0.95 * math.sqrt(3)
STATISTICAL_FACTOR = 1.75
"""Coverage factors of both parts: 95 % of errors are smaller than so many standard uncertainties.

1.65 where any error within bounds is as likely, 1.75 for a sum of two such errors, which the edges
of a window are (tests/test_known_truth.py).
"""
MANY_FACTOR = 1.96
"""The same for a sum of many independent errors, which is nearly normal (GUM, JCGM 100:2008, G.2).
"""

RANDOM_EDGE_S = 0.1 / math.sqrt(12)
"""The same where the closing edge lies anywhere within a step, as in rows of versions 1 and 2."""
SAMPLED_EDGES_S = 0.05
"""The same for power that is sampled every 0.1 s."""
AVERAGED_EDGES_S = 0.5
"""The same for power that the GPU averages over a second."""
AVERAGED_FROM_S = 20.0
"""Averaged power counts from such a window on: in a shorter one the average hides the load."""


def energy_basis(values: Mapping[str, Any], *, has_gpu: bool, window_s: float) -> str | None:
    """The column whose energy counts for a window; None: nothing was measured that may count.

    With a GPU its counter, without one its integrated power, unless that is an average over a
    second and the window is short. On a machine without a GPU CodeCarbon's total: the CPU's and
    RAM's energy never stands for a GPU's.
    """
    columns = GPU_ENERGIES if has_gpu else (TOTAL_ENERGY,)
    for column in columns:
        if values.get(column) is not None and not _is_blurred(column, values, window_s):
            return column
    return None


def _is_blurred(column: str, values: Mapping[str, Any], window_s: float) -> bool:
    """Whether an energy is integrated from averages that reach out of the window too far."""
    averaged = values.get("power_semantics") != "instant"
    return column == "gpu_energy_integrated_j" and averaged and window_s < AVERAGED_FROM_S


def counted_energy_j(row: Mapping[str, Any]) -> float | None:
    """The energy that counts, in joules; None: not measured. `row` has `energy_basis`."""
    basis = row.get("energy_basis")
    if basis is None:
        return None
    if basis == TOTAL_ENERGY:
        return quotient(row.get(basis), row.get("pue") or 1.0)
    return row.get(basis)


def energy_name(basis: str | None) -> str:
    """What a person reads for an energy of `basis`; the column's own name if it is not known."""
    if basis is None:
        return "energy"
    return ENERGY_NAMES.get(basis) or basis


def energy_per_token_j(row: Mapping[str, Any]) -> float | None:
    """The energy that counts over the new tokens; None: one of both is unknown or 0."""
    return quotient(counted_energy_j(row), row.get("n_new_tokens"))


def net_energy_of(row: Mapping[str, Any]) -> float | None:
    """The energy that counts less the idle power over the window; None: one is unknown."""
    gross_j, idle_j = counted_energy_j(row), product(row.get("baseline_w"), row.get("window_s"))
    if gross_j is None or idle_j is None or row.get("energy_basis") not in GPU_ENERGIES:
        return None
    return float(gross_j - idle_j)


def decode_energy_per_token_of(row: Mapping[str, Any]) -> float | None:
    """The energy after the first token over the tokens after it; None: unknown, or none came."""
    gross_j, prefill_j, n_new = (
        counted_energy_j(row),
        row.get("prefill_energy_j"),
        row.get("n_new_tokens"),
    )
    if gross_j is None or prefill_j is None or not n_new or n_new == 1:
        return None
    return float((gross_j - prefill_j) / (n_new - 1))


def energy_rel_systematic(row: Mapping[str, Any]) -> float | None:
    """Standard uncertainty that all rows of a device share: its sensor's gain.

    Relative. None for models, whose error is unknown.
    """
    return SENSOR_REL if row.get("energy_basis") in GPU_ENERGIES else None


def energy_rel_statistical(row: Mapping[str, Any]) -> float | None:
    """Standard uncertainty that each row has for itself: the edges of its window.

    Relative. None for models, whose error is unknown.
    """
    basis = row.get("energy_basis")
    # the window has edges once, however many answers or rows of a batch lie in it
    window_s = product(_batch_window_s(row), row.get("n_in_window", 1))
    if basis not in GPU_ENERGIES or not window_s:
        return None
    if basis != GPU_ENERGIES[0]:
        edges_s = SAMPLED_EDGES_S if row.get("power_semantics") == "instant" else AVERAGED_EDGES_S
    elif row.get("counter_look_s") is None:  # an earlier version
        edges_s = RANDOM_EDGE_S
    else:
        edges_s = _stepped_edges_s(row)
    return float(edges_s / window_s)


def _batch_window_s(row: Mapping[str, Any]) -> float | None:
    """The window of a row's batch, or its own; None: it has none."""
    return row.get("batch_window_s") or row.get("window_s")


def _stepped_edges_s(row: Mapping[str, Any]) -> float:
    """Standard uncertainty of a window's length where both edges are placed at the counter's steps.

    Each step lies anywhere between two looks, so its time has a standard uncertainty of a look over
    the root of 12. The closing edge weighs as the load, the opening one as the power before it, and
    as the load where that is unknown.
    """
    load_w = row[GPU_ENERGIES[0]] / row["window_s"]
    before_w = load_w if row["power_before_w"] is None else row["power_before_w"]
    return float(row["counter_look_s"] / math.sqrt(12) * math.hypot(1, before_w / load_w))


def energy_rel_uncertainty(row: Mapping[str, Any]) -> float | None:
    """Expanded uncertainty: 95 % of errors are smaller; None: unknown.

    The root of the sum of squares of both parts, each times its coverage factor (after GUM, JCGM
    100:2008, 6.2 and G.1.5).
    """
    systematic, statistical = energy_rel_systematic(row), energy_rel_statistical(row)
    if systematic is None or statistical is None:
        return None
    return math.hypot(SYSTEMATIC_FACTOR * systematic, STATISTICAL_FACTOR * statistical)


def rel_uncertainty_of_sum(rows: Iterable[Mapping[str, Any]]) -> float | None:
    """Expanded uncertainty of the sum of the rows' energies: 95 % of errors are smaller.

    Relative. None: there is no row, or the uncertainty of one is unknown, as that of a model.
    Where a sum is divided by what is known exactly, such as tokens, it holds for the quotient.
    A row has the columns of an execution, and `gpu_uuid`.
    """
    total = EnergySum()
    for row in rows:
        total.add(row)
    return total.rel_uncertainty()


class EnergySum:
    """A sum of energies that count, and how well it is known (GUM, JCGM 100:2008, 5.1.2, 5.2.2).

    The gain of a device's sensor is the same error in all its rows: its parts are added. So are the
    edges of windows that always err to one side. Other edges, and the gains of different devices,
    are independent: of their parts the squares are added.
    """

    def __init__(self) -> None:
        self.energy_j = 0.0
        self.n = 0
        """Rows of which the energy is known."""
        self._is_known = True
        """Whether each row's uncertainty is known."""
        # standard uncertainties in joules, those of independent errors as squares
        self._gain_of_device_j: dict[str | None, float] = defaultdict(float)
        self._independent_edges_j2 = 0.0
        self._one_sided_edges_j = 0.0

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row of executions.parquet, or an execution's columns with `gpu_uuid`."""
        energy_j = counted_energy_j(row)
        systematic, statistical = row["energy_rel_systematic"], row["energy_rel_statistical"]
        if energy_j is not None:
            self.energy_j += energy_j
            self.n += 1
        if energy_j is None or systematic is None or statistical is None:
            self._is_known = False
            return
        # rows without a device's id count as of one: that never makes a sum look better than it is
        self._gain_of_device_j[row.get("gpu_uuid")] += systematic * energy_j
        if _edges_err_to_one_side(row):
            self._one_sided_edges_j += statistical * energy_j
        else:
            # rows of a batch share the edges of one window: their squares add up to its own
            rows_of_it = quotient(_batch_window_s(row), row.get("window_s")) or 1.0
            self._independent_edges_j2 += (statistical * energy_j) ** 2 * rows_of_it

    def rel_uncertainty(self) -> float | None:
        """The sum's expanded uncertainty: 95 % of errors are smaller; None: unknown."""
        if not self._is_known or not self.energy_j:
            return None
        gains_j = self._gain_of_device_j.values()
        # several gains are together never worse than if they were one: the errors are bounded
        gain_j = min(SYSTEMATIC_FACTOR * sum(gains_j), MANY_FACTOR * math.hypot(*gains_j))
        edge_factor = STATISTICAL_FACTOR if self.n == 1 else MANY_FACTOR
        edges_j = math.hypot(math.sqrt(self._independent_edges_j2), self._one_sided_edges_j)
        return math.hypot(gain_j, edge_factor * edges_j) / self.energy_j


def _edges_err_to_one_side(row: Mapping[str, Any]) -> bool:
    """Whether a window's edges hide a part of its energy every time.

    A counter that is read anywhere within a step, as before version 3, shows what was used up to
    that step; power that is averaged over a second begins with the rest before the window.
    """
    if row["energy_basis"] == GPU_ENERGIES[0]:
        return row.get("counter_look_s") is None
    return row.get("power_semantics") != "instant"


def host_scope(values: Mapping[str, Any], n_parallel: int) -> str:
    """Whose work the CPU and RAM of a row's host did: exclusive, shared or unknown."""
    if n_parallel > 1 or values.get("slurm_node") == "part":
        return "shared"
    if values.get("slurm_node") == "unknown":
        return "unknown"
    return "exclusive"
