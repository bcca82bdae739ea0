"""The chart of J/token side by side: a box for each group and use case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt

from orchestrator.report.channels import ENERGY_AXIS, GROUP, tips, with_names, x_of
from orchestrator.report.drawing import Drawing, in_panels
from orchestrator.report.execution_frame import Data
from orchestrator.report.looks import BLUE, TEXT, short_names
from orchestrator.units import number

if TYPE_CHECKING:
    import pandas as pd


def side_by_side(data: Data) -> Drawing | None:
    """J/token of each group and use case: median, quartiles, whiskers to 1.5 times their range."""
    answers = data.answers
    if answers.empty:
        return None
    boxes = with_names(boxes_of(answers), short_names(data.all["group"]))
    values = answers["energy_per_token_j"]

    def x(name: str) -> alt.X:
        return x_of(name, ENERGY_AXIS, values)

    # no Step: Vega-Lite warns of one beside a width that is to be fitted
    base = alt.Chart(height=20 * int(boxes["group"].nunique())).encode(
        y=alt.Y("group:N", title=None),
        tooltip=tips(
            {"median": "median J/token", "q1": "middle half from", "q3": "to", "n": "answers"},
            group="group",
            use_case="use case",
        ),
    )
    chart: Any = (
        base.mark_rule().encode(x=x("low"), x2="high:Q")
        + base.mark_bar(size=11, color=BLUE).encode(x=x("q1"), x2="q3:Q")
        + base.mark_tick(color=TEXT, thickness=2.5, size=15).encode(x=x("median"))
    )
    n_use_cases = int(boxes["use_case"].nunique())
    ordered = boxes.sort_values("median")
    least, most = (_box_name(ordered, place) for place in (0, -1))
    return Drawing(
        in_panels(chart, "boxes", "use_case" if n_use_cases > 1 else None),
        {"boxes": boxes},
        f"Box plots: J/token of the answers of each {GROUP}, with a panel for each use case.",
        message=f"A token takes {least}"
        + (f" to {most}, at the median." if len(boxes) > 1 else "."),
        note="Bar: the middle half of the answers; line in it: median; thin line: answers within "
        "1.5 times the bar.",
        panels=n_use_cases,
        least_width=220,
        # of a letter about 6.5 pixels, up to the limit of looks.CONFIG
        axis_width=min(215, 20 + round(6.5 * boxes["group"].str.len().max())),
    )


def _box_name(boxes: pd.DataFrame, place: int) -> str:
    """'3.4 J (nf4, danceCoreography)'."""
    box = boxes.iloc[place]
    return f"{number(box['median'])} J ({box['group']}, {box['use_case']})"


def boxes_of(answers: pd.DataFrame) -> pd.DataFrame:
    """J/token of each group and use case: low, q1, median, q3, high and n, the answers."""
    import pandas as pd

    rows = []
    for (group, use_case), values in answers.groupby(["group", "use_case"])["energy_per_token_j"]:
        q1, median, q3 = values.quantile([0.25, 0.5, 0.75])
        reach = 1.5 * (q3 - q1)
        inside = values[values.between(q1 - reach, q3 + reach)]
        rows.append(
            {"group": group, "use_case": use_case, "low": inside.min(), "q1": q1, "median": median}
            | {"q3": q3, "high": inside.max(), "n": len(values)}
        )
    return pd.DataFrame(rows)
