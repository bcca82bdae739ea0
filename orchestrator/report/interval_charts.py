"""Charts of values with intervals: effects, shares of usable texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from orchestrator.nouns import PARAMETERS
from orchestrator.report.channels import GROUP, ratio_axis, tips, with_names
from orchestrator.report.drawing import Drawing, in_panels
from orchestrator.report.effects import AT_EQUAL_LENGTH, ENERGY, Effect, ratio_text
from orchestrator.report.execution_frame import Data
from orchestrator.report.looks import BLUE, GREEN, ORANGE, short_names

if TYPE_CHECKING:
    import pandas as pd

SERIES = {"overall": ENERGY, "at equal length": AT_EQUAL_LENGTH}
"""Name of a series in the chart of effects -> its outcome."""
BANDS = ("0 to 0.5", "0.5 to 1", "1 to 1.5", "1.5 to 2")
"""Bands of temperature. Greedy texts have one of their own."""


def effects_chart(data: Data) -> Drawing | None:
    """Ratio of energy between the halves of each hyperparameter, overall and at equal length."""
    import pandas as pd

    rows = [
        {"parameter": effect.parameter, "series": series}
        | dict(zip(("value", "lower", "upper"), effect.known, strict=True))
        for series, outcome in SERIES.items()
        for effect in data.effects[outcome]
        if effect.known
    ]
    if not rows:
        return None
    ends = [float(row[end]) for row in rows for end in ("lower", "upper")]
    of_ratios = ratio_axis("energy, upper over lower half (log scale)", ends)

    def x(name: str) -> alt.X:
        return alt.X(f"{name}:Q", **of_ratios)

    series = [name for name in SERIES if any(row["series"] == name for row in rows)]
    colours = alt.Scale(domain=series, range=[ORANGE, BLUE])
    shapes = alt.Scale(domain=series, range=["square", "circle"])
    legend = alt.Legend(title=None)
    base = alt.Chart(alt.Data(name="intervals"), height=150).encode(
        y=alt.Y("parameter:N", title=None, sort=list(PARAMETERS)).scale(paddingInner=0.4),
        yOffset=alt.YOffset("series:N", sort=series),
        color=alt.Color("series:N", legend=legend, scale=colours),
        tooltip=tips(
            {"value": "value", "lower": "from", "upper": "to"},
            parameter="hyperparameter",
            series="series",
        ),
    )
    bars = base.mark_rule(strokeWidth=2).encode(x=x("lower"), x2="upper:Q")
    points = base.mark_point(size=60, filled=True, opacity=1).encode(
        x=x("value"), shape=alt.Shape("series:N", legend=legend, scale=shapes)
    )
    line = alt.Chart(alt.Data(name="line")).mark_rule(opacity=0.6).encode(x=x("at"))
    return Drawing(
        alt.layer(line, bars, points),
        {"intervals": pd.DataFrame(rows), "line": pd.DataFrame({"at": [1.0]})},
        "Intervals: by what factor an answer's energy changes from the lower to the upper half of "
        "each hyperparameter's values, overall and at equal length.",
        _effects_message(data.effects[ENERGY]),
        "Bars are 95 % intervals. × 1: no change.",
    )


def _effects_message(overall: Sequence[Effect]) -> str:
    """The clear effects, the largest first; the rest can't be told from chance."""
    known = [effect for effect in overall if effect.known]
    clear = {effect.parameter: effect.known for effect in known if effect.clear and effect.known}
    if not clear:
        return "No hyperparameter's effect on energy can be distinguished from chance."
    ordered = sorted(clear, key=lambda name: abs(math.log(clear[name][0])), reverse=True)
    told = [f"{name} {ratio_text(clear[name])}" for name in ordered]
    line = f"Energy from the lower to the upper half of the values: {', '.join(told)}"
    if len(clear) < len(known):
        line += "; no other effect can be distinguished from chance"
    return f"{line}."


def usable_by_temperature(data: Data) -> Drawing | None:
    """Share of usable texts in bands of temperature, greedy texts apart, by group."""
    judged = data.all[data.all["usable"].notna()]
    if judged.empty:
        return None
    rows = with_names(_shares(judged), short_names(data.all["group"]))
    # no Step: Vega-Lite warns of one beside a width that is to be fitted
    base = alt.Chart(height=22 * int(rows["band"].nunique())).encode(
        y=alt.Y("band:N", title="temperature", sort=["greedy", *BANDS]),
        tooltip=tips(
            {"share": "usable (%)", "lower": "from", "upper": "to", "n": "texts"},
            group="group",
            band="temperature",
        ),
    )

    def x(name: str) -> alt.X:
        # the room right of 100 % is for the number of texts
        axis = alt.Axis(values=[0, 25, 50, 75, 100])
        return alt.X(f"{name}:Q", title="usable texts (%)", axis=axis).scale(domain=[0, 125])

    chart: Any = (
        base.mark_rule(strokeWidth=2, color=GREEN).encode(x=x("lower"), x2="upper:Q")
        + base.mark_point(filled=True, size=60, color=GREEN).encode(x=x("share"))
        + base.mark_text(align="right", fontSize=10).encode(x=alt.datum(125), text="label:N")
    )
    n_groups = int(rows["group"].nunique())
    return Drawing(
        in_panels(chart, "shares", "group" if n_groups > 1 else None),
        {"shares": rows},
        f"Points: the share of usable texts in bands of temperature, by {GROUP}.",
        message=_usable_message(rows),
        note="Bars are 95 % intervals (Wilson), as if texts were independent; those of one prompt "
        "or configuration are not, so the truth may lie outside more often.",
        panels=n_groups,
        least_width=200,
    )


def _shares(judged: pd.DataFrame) -> pd.DataFrame:
    """Usable texts of each group and band: share, lower and upper in percent, n and a label."""
    import pandas as pd
    from statsmodels.stats.proportion import proportion_confint

    bands = pd.cut(judged["temperature"], [-1, 0.5, 1, 1.5, 2], labels=list(BANDS)).astype(str)
    bands = bands.where(judged["effective_do_sample"].astype(bool), "greedy")
    rows = []
    for (group, band), usable in judged["usable"].astype(int).groupby([judged["group"], bands]):
        n, n_usable = len(usable), int(usable.sum())
        lower, upper = proportion_confint(n_usable, n, method="wilson")
        shares = {
            "share": 100 * n_usable / n,
            "lower": 100 * float(lower),
            "upper": 100 * float(upper),
        }
        rows.append({"group": group, "band": band, "n": n, "label": f"n = {n:,}"} | shares)
    return pd.DataFrame(rows)


def _usable_message(rows: pd.DataFrame) -> str:
    """The bands with the largest and the smallest share, where there is one group to tell of."""
    if len(set(rows["group"])) > 1 or len(rows) == 1:
        return ""
    ordered = rows.sort_values("share")
    least, most = ordered.iloc[0], ordered.iloc[-1]
    if least["upper"] >= most["lower"]:
        return "No band of temperature has clearly more usable texts than another."
    told = [
        f"{'greedy' if one['band'] == 'greedy' else 'temperature ' + one['band']} "
        f"{one['share']:.0f} % ({one['lower']:.0f} to {one['upper']:.0f})"
        for one in (most, least)
    ]
    return f"Usable texts: {', '.join(told)}."
