"""The charts of a report: each is a function from the data to a drawing.

It returns None where there is nothing to draw. Every axis with numbers names its unit, and says so
where its scale is logarithmic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.report.box_chart import side_by_side
from orchestrator.report.compare import Comparison
from orchestrator.report.drawing import Drawing
from orchestrator.report.execution_frame import Data
from orchestrator.report.forest_chart import pair_names, ratios_chart
from orchestrator.report.interval_charts import effects_chart, usable_by_temperature
from orchestrator.report.parallel import parallel
from orchestrator.report.scatter_charts import (
    coverage,
    energy_and_quality,
    energy_by_length,
    pairs_chart,
)


@dataclass(frozen=True)
class Chart:
    """One row of CHARTS."""

    title: str
    draw: Callable[[Data], Drawing | None]
    """The chart; None: there is nothing to draw."""
    table: str | None = None
    """Name of the table (page_content.py) that stands below it."""


CHARTS: dict[str, Chart] = {
    "energy-length": Chart("Energy against length", energy_by_length),
    "effects": Chart("Effect of each hyperparameter", effects_chart, table="effects"),
    "parallel": Chart("From hyperparameters to energy and quality", parallel),
    "side-by-side": Chart(
        "Machines, models, quantizations, use cases", side_by_side, table="groups"
    ),
    "energy-quality": Chart("Energy against quality", energy_and_quality),
    "usable": Chart("Usable texts by temperature", usable_by_temperature),
    "coverage": Chart("Coverage of the design", coverage),
}
"""Name of a chart (for `orchestrator plot`) -> its title and function, in the report's order."""


def _pairs(comparison: Comparison) -> Drawing | None:
    """J/token of each configuration in A and in B, of all matches with the same meter."""
    names = pair_names(comparison.matches)
    pairs = {
        name: match.pairs
        for name, match in zip(names, comparison.matches, strict=True)
        if match.same_meter
    }
    return pairs_chart(pairs)


@dataclass(frozen=True)
class ComparisonChart:
    """One row of COMPARISON_CHARTS."""

    title: str
    draw: Callable[[Comparison], Drawing | None]
    """The chart; None: there is nothing to draw."""


COMPARISON_CHARTS: dict[str, ComparisonChart] = {
    "ratios": ComparisonChart("What both measured", ratios_chart),
    "pairs": ComparisonChart("Configuration by configuration", _pairs),
}
"""The same for the charts of two data sets."""
