"""The chart of parallel coordinates: a line a configuration, a panel a group."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from orchestrator.nouns import PARAMETERS
from orchestrator.report.configurations import by_configuration
from orchestrator.report.drawing import Drawing, in_panels
from orchestrator.report.execution_frame import Data
from orchestrator.report.looks import ORANGE, short_names
from orchestrator.units import number

MOST_LINES = 300
"""So many lines are shown at most, taken evenly by J/token from each group."""
FEWEST_LINES = 20
"""So many lines of each group are shown, where it has them."""
ENERGY = "energy_per_token_j"
MANY = 4
"""More panels than this are small."""
PALEST = 0.25
"""Opacity of the cheapest configuration; that of the dearest is 1."""


def parallel(data: Data) -> Drawing | None:
    """One line for each configuration of a group, in the group's panel.

    It goes from the hyperparameters to J/token and, where texts were judged, to quality.
    """
    import pandas as pd

    whole = by_configuration(data).sort_values(ENERGY)
    if whole.empty:
        return None
    whole["group"] = whole["group"].map(short_names(data.all["group"]))
    groups = [some for _, some in whole.groupby("group", sort=True)]
    most = max(FEWEST_LINES, MOST_LINES // len(groups))
    rows = pd.concat([_evenly(some, most) for some in groups])
    columns = [*PARAMETERS, ENERGY]
    if rows["quality"].notna().any():
        columns.append("quality")
    ticks = []
    for column in columns:
        rows[f"at_{column}"], of_axis = scaled(rows[column].to_numpy(float), column)
        ticks += [{"axis": f"at_{column}", "height": at, "label": text} for at, text in of_axis]
    rows["strength"] = PALEST + (1 - PALEST) * rows[f"at_{ENERGY}"]
    rows["line"] = range(len(rows))
    chart = in_panels(
        _lines([f"at_{column}" for column in columns], columns, small=len(groups) > MANY),
        "lines",
        "group" if len(groups) > 1 else None,
    ).resolve_axis(x="independent")
    n_shown = f"{len(rows):,} of {len(whole):,} configurations"
    return Drawing(
        chart,
        {
            "lines": rows.drop(columns=["point", "counted_energy_j"]),
            "ticks": pd.DataFrame(ticks),
        },
        f"Parallel coordinates: {n_shown}, each a line from its hyperparameters to its J/token "
        "and the quality of its texts, with a panel for each machine, model and quantization.",
        note=f"{n_shown}. Stronger lines take more J/token; dashed: greedy. "
        "The axis of J/token has a log scale.",
        panels=len(groups),
        least_width=220 if len(groups) > MANY else 330,
        axis_width=0,
    )


def _evenly(rows: Any, most: int) -> Any:
    """At most `most` rows, the first and the last one among them."""
    import numpy as np

    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]


def _lines(axes: list[str], columns: list[str], *, small: bool) -> Any:
    """The panel of a group: its lines over the axes with their ticks."""
    # of a field's name without the at_ before it
    name = f"datum.label != 'at_{ENERGY}' ? slice(datum.label, 3) : 'J/token'"
    head = alt.Axis(
        orient="top", title=None, labelExpr=name, labelOverlap=False, labelFontSize=10,
        labelAngle=-30 if small else 0, labelAlign="left" if small else "center",
        # above the uppermost ticks, which stand at the panel's edge
        offset=7, ticks=False, domain=False, grid=True, gridOpacity=0.6,
    )  # fmt: skip
    x = alt.X("axis:N", sort=axes, axis=head).scale(type="point", padding=0.35)
    y = alt.Y("height:Q", axis=None).scale(domain=[0, 1])
    lines = (
        alt.Chart(height=110 if small else 190)
        .transform_fold(axes, as_=["axis", "height"])
        .mark_line(color=ORANGE, strokeWidth=1.2)
        .encode(
            x=x,
            y=y,
            detail="line:N",
            opacity=alt.Opacity("strength:Q", scale=None),
            strokeDash=alt.StrokeDash("sampled:N", legend=None).scale(
                domain=[True, False], range=[[1, 0], [3, 3]]
            ),
            tooltip=[
                alt.Tooltip("group", type="nominal", title="group"),
                *(
                    alt.Tooltip(column, type="quantitative", format=",.3~r", title=column)
                    for column in columns
                ),
            ],
        )
    )
    ticks = (
        alt.Chart(alt.Data(name="ticks"))
        .mark_text(align="left", dx=3, fontSize=9)
        .encode(x=x, y=y, text="label:N")
    )
    return lines + ticks


def scaled(values: Any, name: str) -> tuple[Any, list[tuple[float, str]]]:
    """Heights from 0 to 1 of an axis' values, and its ticks (height, label).

    `energy_per_token_j` is on a logarithmic scale. A top_k of 0 is off, which lets more tokens
    through than any other value: it stands at the top, apart from the others. Unknown values (NaN)
    have an unknown height.
    """
    import numpy as np

    is_off = (values == 0) & (name == "top_k")
    top = 0.9 if is_off.any() else 1.0
    known = values[~is_off & ~np.isnan(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (1.0, 1.0)
    is_log = name == ENERGY
    transform: Any = np.log if is_log else np.asarray
    start = transform(low)
    span = transform(high) - start

    def height(some: Any) -> Any:
        """Place of a value, or an array of them, between the axis's bottom and top."""
        if not span:  # one value only: it stands in the middle
            return some * 0 + 0.5
        return top * (transform(some) - start) / span

    ticks = []
    if known.size:
        at = _round_numbers(low, high, is_log=is_log)
        ticks = [(float(height(np.float64(tick))), number(tick)) for tick in at]
    if is_off.any():
        ticks.append((1.0, "off"))
    return np.where(is_off, 1.0, height(values)), ticks


def _round_numbers(low: float, high: float, *, is_log: bool) -> list[float]:
    """Round numbers within bounds; the bounds themselves where fewer than two lie there."""
    # Over less than a factor of ten, round logarithmic steps give too few ticks.
    if is_log and high > 10 * low:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    elif high > low:
        least = (high - low) / 5
        power = 10.0 ** math.floor(math.log10(least))
        step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= least)
        ticks = [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    else:
        ticks = []
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) > 1 else sorted({low, high})
