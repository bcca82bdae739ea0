"""The cells of the tables: what came out for a data set, and over many of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from orchestrator.report.effects import CONFIDENCE

BOUNDS = (0.93, 0.97)
"""Within these, a coverage counts as that of a 95 % interval."""
MISSING_IS_TOLD = 0.005
"""A larger share of intervals that are not printed stands in a cell."""


@dataclass(frozen=True)
class Tally:
    """What came out for one data set; arrays over PARAMETERS, NaN where nothing is printed."""

    holds: tuple[float, ...]
    error: tuple[float, ...]
    width: tuple[float, ...]


@dataclass(frozen=True)
class Line:
    """What came out over many data sets."""

    coverage: float | None
    """None: nothing was printed."""
    worst: float
    """Coverage of the hyperparameter that is farthest from 95 %."""
    bias: float
    width: float
    missing: float
    """Share of the intervals that weren't printed."""
    error: float
    """Standard error of the coverage, from the spread between data sets."""

    @classmethod
    def of(cls, some: list[Tally]) -> Line:
        """The figures of data sets."""
        holds, error, width = (
            np.array([getattr(one, name) for one in some]) for name in ("holds", "error", "width")
        )
        missing = float(np.isnan(holds).mean())
        if np.isnan(holds).all():
            return cls(None, math.nan, math.nan, math.nan, missing, math.nan)
        of_data_sets = holds[~np.isnan(holds).all(axis=1)]
        spread = np.nanmean(of_data_sets, axis=1).std()
        of_each, bias = np.nanmean(holds, axis=0), np.nanmean(error, axis=0)
        return cls(
            float(np.nanmean(holds)),
            float(of_each[np.abs(of_each - CONFIDENCE).argmax()]),
            float(bias[np.abs(bias).argmax()]),
            float(np.nanmedian(width, axis=0).mean()),
            missing,
            float(spread / math.sqrt(len(of_data_sets))),
        )

    def cell(self) -> str:
        """Coverage, in brackets that of the worst hyperparameter; width."""
        if self.coverage is None:
            return "not printed"
        text = f"{100 * self.coverage:.1f} ({100 * self.worst:.1f}); {self.width:.2f}"
        few = self.missing > MISSING_IS_TOLD
        return f"{text}; {100 * self.missing:.0f} % not printed" if few else text

    @property
    def is_outside(self) -> bool:
        """Whether the coverage is not that of a 95 % interval."""
        return self.coverage is not None and not BOUNDS[0] <= self.coverage <= BOUNDS[1]


def row_of(*cells: object) -> str:
    """A row of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def verdict(lines: list[tuple[str, Line]]) -> str:
    """Which cells are outside BOUNDS, and how sure a cell is."""
    printed = [(name, line) for name, line in lines if line.coverage is not None]
    if not printed:
        return "Nothing is printed in any cell."
    outside = [
        f"{name} ({100 * (line.coverage or 0):.1f})" for name, line in printed if line.is_outside
    ]
    low, high = (f"{100 * bound:.0f}" for bound in BOUNDS)
    error = 100 * max(line.error for _, line in printed)
    told = f"All {len(printed)} cells lie within {low} to {high} %"
    if outside:
        told = f"{len(outside)} of {len(printed)} cells lie outside {low} to {high} %: "
        told += "; ".join(outside)
    return f"{told}. The standard error of a coverage is {error:.1f} points at most."
