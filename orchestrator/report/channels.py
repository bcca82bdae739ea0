"""What charts share: axes with units, what is told on hover, and names of groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

if TYPE_CHECKING:
    import pandas as pd

WIDE = 30
"""From this ratio of the largest to the smallest value on, an axis is logarithmic."""
TITLES = {
    "max_length": "max_length (tokens)",
    "top_p": "top_p",
    "top_k": "top_k (candidates)",
    "temperature": "temperature",
}
ENERGY_AXIS = "energy (J/token)"
FIGURE = ",.3~r"
"""How a number is shown on hover: three significant digits."""
GROUP = "machine / model / setup"
MOST_TICKS = 8
RATIO_TICKS = (
    tuple(1 + n / 50 for n in range(-10, 11)),
    tuple(1 + n / 10 for n in range(-5, 11)),
    (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10),
    tuple(digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 5)),
    tuple(10.0**power for power in range(-21, 22)),
)
"""Ratios that an axis may name, the finest first."""


def x_of(name: str, title: str, values: pd.Series) -> alt.X:
    """The horizontal axis of a column of numbers."""
    return alt.X(name, type="quantitative", **axis_of(title, values))


def y_of(name: str, title: str, values: pd.Series) -> alt.Y:
    """The vertical axis of a column of numbers."""
    return alt.Y(name, type="quantitative", **axis_of(title, values))


def axis_of(title: str, values: pd.Series) -> dict[str, Any]:
    """Title and scale of a column of numbers: logarithmic where they are spread far."""
    low, high = float(values.min()), float(values.max())
    if high > WIDE * low > 0:
        return {
            "title": f"{title}, log scale",
            "scale": alt.Scale(type="log", nice=False, padding=8),
        }
    return {"title": title, "scale": alt.Scale(zero=False, nice=False, padding=8)}


def ratio_axis(title: str, ratios: Sequence[float]) -> dict[str, Any]:
    """Title, scale and ticks of a logarithmic axis of ratios, on which × 1 is always seen."""
    low, high = min(*ratios, 0.95), max(*ratios, 1.05)
    return {
        "title": title,
        "scale": alt.Scale(type="log", domain=[low, high], nice=False, padding=12),
        "axis": alt.Axis(
            values=ratio_ticks(low, high), labelExpr="'× ' + format(datum.value, '~g')"
        ),
    }


def ratio_ticks(low: float, high: float) -> list[float]:
    """Ratios within bounds, at most MOST_TICKS, as fine as that allows."""
    for ticks in RATIO_TICKS:
        inside = [tick for tick in ticks if low <= tick <= high]
        reaches = ticks[0] <= low and high <= ticks[-1]
        if reaches and len(inside) <= MOST_TICKS:
            break
    return inside


def tips(numbers: Mapping[str, str], **texts: str) -> list[alt.Tooltip]:
    """What is told on hover: column -> title."""
    return [
        *(alt.Tooltip(name, type="nominal", title=title) for name, title in texts.items()),
        *(
            alt.Tooltip(name, type="quantitative", title=title, format=FIGURE)
            for name, title in numbers.items()
        ),
    ]


def with_names(rows: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Rows with short names of groups."""
    return rows.assign(group=rows["group"].map(names))
