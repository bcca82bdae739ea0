"""The gross energy of some executions, one sum for each thing that was measured.

Gross: with the power that the device takes when it is idle. A GPU's energy and that of a CPU with
its RAM are different things: they are shown side by side and never added.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.dataset.energy import EnergySum, counted_energy_j, energy_name
from orchestrator.units import energy, number, plural

GROSS = "gross: idle power included"
COVERAGE = "±: about 95 % of errors are smaller"
"""What ± means, for a person; the factors and their sources are in energy.py."""


class GrossEnergy:
    """Sums by `energy_basis`, and how many executions were not measured."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self.of_basis: dict[str, EnergySum] = defaultdict(EnergySum)
        self.n_unmeasured = 0
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row of executions.parquet, or an execution's columns with `gpu_uuid`."""
        if counted_energy_j(row) is None:
            self.n_unmeasured += 1
        else:
            self.of_basis[row["energy_basis"]].add(row)

    @property
    def only(self) -> EnergySum | None:
        """The one sum that there is; None: nothing was measured, or things that don't add up."""
        sums = list(self.of_basis.values())
        return sums[0] if len(sums) == 1 else None

    @property
    def whole(self) -> EnergySum | None:
        """The one sum that there is, if it holds all executions."""
        return None if self.n_unmeasured else self.only

    def items(self) -> list[tuple[str, EnergySum]]:
        """(what was measured, its sum), by name."""
        return sorted((energy_name(basis), one) for basis, one in self.of_basis.items())

    def names(self) -> str:
        """What was measured: 'GPU energy (counter)', or several names."""
        return ", ".join(name for name, _ in self.items()) or "energy"

    def figures(self) -> str:
        """The sums without their names where there is only one: '34.3 Wh ± 4.8 %'; else n/a."""
        if self.only is not None:
            return with_uncertainty(self.only)
        return self.text() if self.of_basis else energy(None)

    def text(self) -> str:
        """'GPU energy (counter) 34.3 Wh ± 4.8 %', several joined by 'and'."""
        texts = (f"{name} {with_uncertainty(one)}" for name, one in self.items())
        return " and ".join(texts) or "energy not measured"

    def gap(self) -> str:
        """' (2 executions not measured)'; "" where all were."""
        if not self.n_unmeasured or not self.of_basis:
            return ""
        return f" ({plural(self.n_unmeasured, 'execution')} not measured)"


def with_uncertainty(one: EnergySum) -> str:
    """'34.3 Wh ± 4.8 %'."""
    return f"{energy(one.energy_j)} {uncertainty(one.rel_uncertainty())}"


def uncertainty(relative: float | None) -> str:
    """'± 4.8 %', or '± unknown'."""
    if relative is None:
        return "± unknown"
    return f"± {number(100 * relative, 2)} %"
