"""The gross energy of some executions, one sum for each basis.

Gross: with the power that the device takes when it is idle. A GPU's energy and that of a CPU with
its RAM are different things: they are shown side by side and never added.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.dataset.energy import EnergySum, counted_energy_j, energy_name
from orchestrator.gpu.simulated import SIMULATED_UUID
from orchestrator.units import energy, number, plural

if TYPE_CHECKING:
    from orchestrator.dataset.schema import Execution, TrialColumns

GROSS = "gross: idle power included"
COVERAGE = "±: about 95 % of errors are smaller"
"""What ± means, for a person; the factors and their sources are in energy.py."""
NO_ERROR = "± unknown: a model has no known error"


@dataclass(frozen=True)
class BasisEnergy:
    """The energy of the executions that have one basis."""

    energy_basis: str
    counted_energy_j: float
    energy_rel_uncertainty: float | None
    """None: a model's error is not known."""
    n_executions: int
    is_simulated: bool = False
    """Whether it is of a GPU that isn't there."""

    @property
    def name(self) -> str:
        """What was measured: 'GPU energy (counter)', or 'SIMULATED GPU energy (counter)'."""
        name = energy_name(self.energy_basis)
        return f"SIMULATED {name}" if self.is_simulated else name

    def text(self, like: float | None = None) -> str:
        """'34.3 Wh ± 4.8 %'. `like`: as of units.energy."""
        figure = energy(self.counted_energy_j, like)
        return f"{figure} ± {uncertainty(self.energy_rel_uncertainty)}"


@dataclass(frozen=True)
class GrossEnergy:
    """The energy of some executions."""

    of_basis: tuple[BasisEnergy, ...]
    """Sorted by name; empty: nothing was measured."""
    n_unmeasured: int
    """Executions without an energy: they are in no sum."""

    @property
    def only(self) -> BasisEnergy | None:
        """The one sum that there is; None: there is none, or there are several."""
        return self.of_basis[0] if len(self.of_basis) == 1 else None

    def text(self, like: float | None = None) -> str:
        """'GPU energy (counter) 34.3 Wh ± 4.8 %'; several sums are joined by 'and'."""
        sums = (f"{one.name} {one.text(like)}" for one in self.of_basis)
        return (" and ".join(sums) or "energy not measured") + self.gap()

    def figure(self, like: float | None = None) -> str:
        """As `text`, for where the name stands beside it: without the name of an only sum."""
        if self.only is None:
            return self.text(like) if self.of_basis else energy(None)
        return self.only.text(like) + self.gap()

    @property
    def largest_j(self) -> float:
        """The largest of the sums; 0 where there is none."""
        return max((one.counted_energy_j for one in self.of_basis), default=0.0)

    def explained(self) -> str:
        """As `text`, with what 'gross' and ± mean."""
        return "; ".join((self.text(), *self.notes()))

    def notes(self) -> list[str]:
        """What 'gross' and ± mean, as far as there are energies; short phrases."""
        if not self.of_basis:
            return []
        notes = [GROSS]
        uncertainties = [one.energy_rel_uncertainty for one in self.of_basis]
        if any(one is not None for one in uncertainties):
            notes.append(COVERAGE)
        if None in uncertainties:
            notes.append(NO_ERROR)
        return notes

    def gap(self) -> str:
        """' (2 executions not measured)'; "" where all or none were."""
        if not self.n_unmeasured or not self.of_basis:
            return ""
        return f" ({plural(self.n_unmeasured, 'execution')} not measured)"


class EnergyTotals:
    """Adds up energies, an execution at a time."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, bool], EnergySum] = defaultdict(EnergySum)
        """By basis, and whether the GPU was a simulated one."""
        self._n_unmeasured = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row of executions.parquet, or what `energy_row` gives."""
        if counted_energy_j(row) is None:
            self._n_unmeasured += 1
        else:
            is_simulated = str(row.get("gpu_uuid")).startswith(SIMULATED_UUID)
            self._sums[row["energy_basis"], is_simulated].add(row)

    def now(self) -> GrossEnergy:
        """The sums so far."""
        sums = (
            BasisEnergy(basis, one.energy_j, one.rel_uncertainty(), one.n, is_simulated)
            for (basis, is_simulated), one in self._sums.items()
        )
        return GrossEnergy(tuple(sorted(sums, key=lambda one: one.name)), self._n_unmeasured)


def gross_energy(rows: Iterable[Mapping[str, Any]]) -> GrossEnergy:
    """The energy of rows of executions.parquet, or of what `energy_row` gives."""
    totals = EnergyTotals()
    for row in rows:
        totals.add(row)
    return totals.now()


def energy_row(execution: Execution, columns: TrialColumns) -> dict[str, Any]:
    """What has to be known of an execution's energy: its columns, and the device it ran on."""
    return {**vars(execution), "gpu_uuid": columns.gpu_uuid}


def uncertainty(relative: float | None) -> str:
    """'4.8 %', or 'unknown'."""
    if relative is None:
        return "unknown"
    return f"{number(100 * relative, 2)} %"


def per_token(energy_per_token_j: float | None, relative: float | None) -> str:
    """'3.51 ±4.8 %' for a narrow column; the figure alone where its uncertainty is unknown."""
    text = number(energy_per_token_j)
    return text if relative is None else f"{text} ±{uncertainty(relative)}"
