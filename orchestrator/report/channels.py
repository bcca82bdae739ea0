"""What charts share: axes with units, what is told on hover, and names of groups."""

from __future__ import annotations

from collections.abc import Mapping
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
