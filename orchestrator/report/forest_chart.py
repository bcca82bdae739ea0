"""The forest plot of a comparison: ratios B/A with their intervals, a row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from orchestrator.report.channels import ratio_axis, tips
from orchestrator.report.compare import Comparison, Match, comparison_sentences, times
from orchestrator.report.drawing import Drawing, in_panels
from orchestrator.report.looks import BLUE, ORANGE, TEXT
from orchestrator.report.pairs import RATIOS, Change
from orchestrator.units import plural

MOST_ROWS = 40
"""So many pairs of groups are shown; the table has all."""
ROW_HEIGHT = 56
LEAST_WIDTH = 300
"""Of a panel, in which names are cut."""
MAY_BE_EQUAL = "A and B may be equal"
NO_INTERVAL = "no interval: nobody can tell"
KINDS = {
    "A and B differ beyond chance": (BLUE, "circle"),
    MAY_BE_EQUAL: (TEXT, "square"),
    NO_INTERVAL: (ORANGE, "cross"),
}
"""What an interval says of a ratio -> colour and shape."""


def ratios_chart(comparison: Comparison) -> Drawing | None:
    """The ratios of all matches: a row a ratio, or of several matches a row each in its panel."""
    import pandas as pd

    shown = comparison.matches[:MOST_ROWS]
    names = pair_names(shown)
    rows = pd.DataFrame(
        [row for name, match in zip(names, shown, strict=True) for row in _rows_of(match, name)]
    )
    if rows.empty:
        return None
    several = len(shown) > 1
    row = "pair" if several else "ratio"
    ends = [rows[column].dropna() for column in ("value", "lower", "upper")]
    axis = ratio_axis("B over A (log scale)", [float(end) for column in ends for end in column])
    axis["axis"].grid = False
    chart = _rows(rows, row, axis)
    n_panels = int(rows["ratio"].nunique()) if several else 1
    n = len(comparison.matches)
    cut = "" if n == len(shown) else f"The first {len(shown)} of {n} pairs of groups are shown. "
    chart = in_panels(chart, "ratios", "ratio" if several else None, list(RATIOS.values()))
    return Drawing(
        # on a phone the panels stand in one column, too long for one axis at its end
        chart.resolve_axis(x="independent"),
        {"ratios": rows},
        f"Intervals: ratios of B to A for {plural(len(shown), 'pair')} of groups, "
        "on a logarithmic scale around 1.",
        message=" ".join(comparison_sentences(comparison)),
        note=f"{cut}Bars are 95 % intervals. × 1: A and B are equal.",
        panels=n_panels,
        least_width=LEAST_WIDTH,
        axis_width=0,
    )


def _rows_of(match: Match, pair: str) -> list[dict[str, object]]:
    """The ratios of a match that are known, as the chart's rows. `pair`: its name."""
    by_model = ", by model" if match.is_adjusted else ""
    rows: list[dict[str, object]] = []
    for name, ratio in RATIOS.items():
        change = match.changes.get(name)
        if change is None:
            continue
        lower, upper = change.interval or (None, None)
        row: dict[str, object] = {"pair": pair, "ratio": ratio, "a": match.a, "b": match.b}
        row |= {"value": change.value, "lower": lower, "upper": upper}
        rows.append(row | {"kind": _kind(change), "text": times(change) + by_model})
    return rows


def _kind(change: Change) -> str:
    """What an interval says of a ratio: a key of KINDS."""
    if change.interval is None:
        return NO_INTERVAL
    lower, upper = change.interval
    return MAY_BE_EQUAL if lower <= 1 <= upper else next(iter(KINDS))


def pair_names(matches: Sequence[Match]) -> list[str]:
    """A short name for each match's two groups, in which only what differs stands twice.

    A group is 'machine / model / quantization'; of pc / a / nf4 and hpc / a / nf4 the name is
    'pc → hpc / a / nf4'. Parts that all matches share are left out.
    """
    names = [_parts(match.a, match.b) for match in matches]
    if len(names) > 1 and len({len(parts) for parts in names}) == 1:
        of_all = list(zip(*names, strict=True))
        differ = [place for place, parts in enumerate(of_all) if len(set(parts)) > 1]
        names = [[parts[place] for place in differ] for parts in names]
    return [" / ".join(parts) for parts in names]


def _parts(a: str, b: str) -> list[str]:
    """The parts of two groups' names, each once where it is the same."""
    parts_a, parts_b = a.split(" / "), b.split(" / ")
    if len(parts_a) != len(parts_b):
        return [f"{a} → {b}"]
    both = zip(parts_a, parts_b, strict=True)
    return [one if one == other else f"{one} → {other}" for one, other in both]


def _rows(rows: Any, row: str, axis: dict[str, Any]) -> Any:
    """A panel with a row for each value of the column `row`: name and values above an interval."""
    names = list(dict.fromkeys(rows[row]))
    kinds = [kind for kind in KINDS if kind in set(rows["kind"])]
    colours, shapes = zip(*(KINDS[kind] for kind in kinds), strict=True)
    legend = alt.Legend(title=None)

    def x(name: str) -> alt.X:
        return alt.X(f"{name}:Q", **axis)

    def y(place: float) -> alt.Y:
        return alt.Y(f"{row}:N", sort=names, axis=None, bandPosition=place)

    base = alt.Chart(height=ROW_HEIGHT * len(names)).encode(
        tooltip=tips({}, ratio="of", a="A", b="B", text="B / A", kind="says")
    )
    colour = alt.Color("kind:N", legend=legend).scale(domain=kinds, range=colours)

    def text(column: str, place: float) -> Any:
        """Text at the left edge of each row."""
        return base.mark_text(align="left", limit=LEAST_WIDTH).encode(
            x=alt.value(0), y=y(place), text=f"{column}:N"
        )

    # below the texts, so that it crosses none
    line = base.mark_rule(opacity=0.6).encode(
        x=alt.X(datum=1, type="quantitative", **axis), y=y(0.6), y2=alt.Y2(row, bandPosition=1)
    )
    bars = base.mark_rule(strokeWidth=2).encode(x=x("lower"), x2="upper:Q", y=y(0.8), color=colour)
    points = base.mark_point(size=60, filled=True, opacity=1).encode(
        x=x("value"),
        y=y(0.8),
        color=colour,
        shape=alt.Shape("kind:N", legend=legend).scale(domain=kinds, range=shapes),
    )
    return line + bars + points + text(row, 0.15) + text("text", 0.42)
