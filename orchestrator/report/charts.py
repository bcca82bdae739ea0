"""The charts of a report: each is a function from the data to a drawing.

It returns None where there is nothing to draw. Every axis with numbers names its unit, and says so
where its scale is logarithmic.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import altair as alt

from orchestrator.nouns import PARAMETERS
from orchestrator.report.configurations import pareto_points
from orchestrator.report.drawing import Drawing, in_panels
from orchestrator.report.effects import Effect
from orchestrator.report.execution_frame import Data
from orchestrator.report.importance import Importance
from orchestrator.report.looks import BLUE, GREEN, MOST_TOGETHER, ORANGE, TEXT, looks, short_names
from orchestrator.report.parallel import parallel
from orchestrator.units import number, plural

if TYPE_CHECKING:
    import pandas as pd

MOST_POINTS = 3_000
"""A scatter shows about so many points, taken evenly from each group (docs/report.md)."""
LEAST_POINTS = 100
"""So many points of each group are shown, where it has them."""
WIDE = 30
"""From this ratio of the largest to the smallest value on, an axis is logarithmic."""
TITLES = {
    "max_length": "max_length (tokens)",
    "top_p": "top_p",
    "top_k": "top_k (candidates)",
    "temperature": "temperature",
}
PER_TOKEN = "energy (J/token)"
FIGURE = ",.3~r"
"""How a number is shown on hover: three significant digits."""
GROWS = 0.7
"""From this rank correlation (Spearman) with the length on, energy is said to grow with it."""
LEAST_RANKED = 10
"""With fewer answers than this, nothing is said of it."""
MOST_TICKS = 8
RATIO_TICKS = (
    tuple(1 + n / 50 for n in range(-10, 11)),
    tuple(1 + n / 10 for n in range(-5, 11)),
    (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10),
    tuple(digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 5)),
    tuple(10.0**power for power in range(-21, 22)),
)
"""Ratios that an axis may name, the finest first."""
GROUP = "machine / model / quantization"
BANDS = ("0 to 0.5", "0.5 to 1", "1 to 1.5", "1.5 to 2")
"""Bands of temperature. Greedy texts have one of their own."""


@dataclass(frozen=True)
class Chart:
    """One row of CHARTS."""

    title: str
    draw: Callable[[Data], Drawing | None]
    """The chart; None: there is nothing to draw."""
    table: str | None = None
    """Name of the table (page_content.py) that stands below it."""


def thinned(frame: pd.DataFrame, most: int = MOST_POINTS) -> pd.DataFrame:
    """At most `most` rows of a table, taken evenly."""
    step = max(1, math.ceil(len(frame) / most))
    return frame.iloc[::step]


def _thinned_by_group(frame: pd.DataFrame) -> pd.DataFrame:
    """About MOST_POINTS rows, evenly from each group: a small one isn't lost beside a large one."""
    import pandas as pd

    groups = [some for _, some in frame.groupby("group", sort=True)]
    most = max(LEAST_POINTS, MOST_POINTS // max(1, len(groups)))
    return pd.concat([thinned(some, most) for some in groups])


def _shown(n_shown: int, n: int, noun: str) -> str:
    """How many of many points a chart shows; "" where it shows all."""
    return "" if n_shown == n else f"{n_shown:,} of {plural(n, noun)} are shown, taken evenly. "


def _x(name: str, title: str, values: pd.Series) -> alt.X:
    """The horizontal axis of a column of numbers."""
    return alt.X(name, type="quantitative", **_axis(title, values))


def _y(name: str, title: str, values: pd.Series) -> alt.Y:
    """The vertical axis of a column of numbers."""
    return alt.Y(name, type="quantitative", **_axis(title, values))


def _axis(title: str, values: pd.Series) -> dict[str, Any]:
    """Title and scale of a column of numbers: logarithmic where they are spread far."""
    low, high = float(values.min()), float(values.max())
    if high > WIDE * low > 0:
        return {"title": f"{title}, log scale", "scale": alt.Scale(type="log", nice=False, padding=8)}
    return {"title": title, "scale": alt.Scale(zero=False, nice=False, padding=8)}


def _tips(numbers: Mapping[str, str], **texts: str) -> list[alt.Tooltip]:
    """What is told on hover: column -> title."""
    return [
        *(alt.Tooltip(name, type="nominal", title=title) for name, title in texts.items()),
        *(
            alt.Tooltip(name, type="quantitative", title=title, format=FIGURE)
            for name, title in numbers.items()
        ),
    ]


def _looks_of(groups: Sequence[str], of_all: Iterable[str]) -> dict[str, Any]:
    """The channels by which groups in one panel are told apart.

    `of_all`: the groups of the data set, so that each has the same look in all charts.
    """
    look = looks(of_all)
    colours, shapes = zip(*(look[group] for group in groups), strict=True)
    legend = None if len(groups) == 1 else alt.Legend(title=GROUP)
    return {
        "color": alt.Color("group:N", legend=legend).scale(domain=groups, range=colours),
        "shape": alt.Shape("group:N", legend=legend).scale(domain=groups, range=shapes),
    }


def _scatter(
    rows: pd.DataFrame,
    of_all: Iterable[str],
    x: alt.X,
    y: alt.Y,
    tips: list[alt.Tooltip],
    *,
    joined: str | None = None,
) -> tuple[Any, int]:
    """Points of groups, and the number of panels: one for all groups, or one for each of many.

    `of_all`: the short names of all groups. `joined`: the points in which this column is true are
    joined by a line.
    """
    groups = sorted(rows["group"].unique())
    together = len(groups) <= MOST_TOGETHER
    encoding = {"x": x, "y": y} | (_looks_of(groups, of_all) if together else {})
    base = alt.Chart(height=300 if together else 110)
    chart: Any = base.mark_point(filled=True, size=30, opacity=0.7).encode(**encoding, tooltip=tips)
    if joined:
        line = base.transform_filter(f"datum.{joined}").mark_line(strokeWidth=1.2)
        encoding.pop("shape", None)
        chart += line.encode(**encoding, order=alt.Order(x["shorthand"], type="quantitative"))
    n_panels = 1 if together else len(groups)
    return in_panels(chart, "points", "group" if n_panels > 1 else None), n_panels


def _short(rows: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Rows with short names of groups."""
    return rows.assign(group=rows["group"].map(names))


def energy_by_length(data: Data) -> Drawing | None:
    """Energy of each kept answer against its new tokens."""
    kept = data.kept
    if kept.empty:
        return None
    columns = ["group", "use_case", "execution", "n_new_tokens", "counted_energy_j", "energy_per_token_j"]
    names = short_names(data.all["group"])
    rows = _short(_thinned_by_group(kept[columns].astype({"n_new_tokens": float})), names)
    crowded = rows["group"].nunique() > MOST_TOGETHER
    chart, panels = _scatter(
        rows,
        names.values(),
        _x("n_new_tokens", "length (new tokens)", kept["n_new_tokens"]),
        _y("counted_energy_j", "energy (J)" if crowded else "energy of an answer (J)", kept["counted_energy_j"]),
        _tips(
            {"n_new_tokens": "new tokens", "counted_energy_j": "J", "energy_per_token_j": "J/token"},
            group="group",
            execution="answer",
        ),
    )
    return Drawing(
        chart,
        {"points": rows.to_dict("records")},
        f"Points: the energy of {plural(len(rows), 'answer')} in joules over their new tokens, by {GROUP}.",
        message=_length_message(kept),
        note=_shown(len(rows), len(kept), "answer") + "Without failed and discarded answers.",
        panels=panels,
    )


def _length_message(kept: pd.DataFrame) -> str:
    """How energy goes with length: that it grows only where it does so in every group."""
    groups = [some for _, some in kept.groupby("group")]
    medians = sorted(float(some["energy_per_token_j"].median()) for some in groups)
    cost = f"{number(medians[0])} J per new token at the median"
    if number(medians[0]) != number(medians[-1]):
        cost = f"{number(medians[0])} to {number(medians[-1])} J per new token, by the groups' medians"
    grows = all(
        len(some) >= LEAST_RANKED
        and some["n_new_tokens"].astype(float).corr(some["counted_energy_j"], "spearman") > GROWS
        for some in groups
    )
    return f"An answer's energy grows with its length: {cost}." if grows else f"{cost}."


def effects_chart(data: Data) -> Drawing | None:
    """Ratio of energy over each hyperparameter's range, overall and at equal length."""
    overall, at_equal_length = data.effects
    rows = [
        {"parameter": effect.parameter, "series": series, "filled": True}
        | dict(zip(("value", "lower", "upper"), ratio, strict=True))
        for series, effects in (("overall", overall), ("at equal length", at_equal_length))
        for effect in effects
        if (ratio := ratio_of(effect))
    ]
    if not rows:
        return None
    ends = [float(row[end]) for row in rows for end in ("lower", "upper")]  # type: ignore[arg-type]
    low, high = min(*ends, 0.95), max(*ends, 1.05)
    return _intervals(
        rows,
        title="energy, highest over lowest value (log scale)",
        scale=alt.Scale(type="log", domain=[low, high], nice=False, padding=12),
        axis=alt.Axis(
            values=_ratio_ticks(low, high),
            labelExpr="'× ' + format(datum.value, '~g')",
        ),
        description="Intervals: by what factor an answer's energy changes from the lowest to the "
        "highest value of each hyperparameter, overall and at equal length.",
        message=_effects_message(overall),
        note="Bars are 95 % intervals. × 1: no change.",
        line_at=1.0,
    )


def _ratio_ticks(low: float, high: float) -> list[float]:
    """Ratios within bounds, at most MOST_TICKS, as fine as that allows."""
    for ticks in RATIO_TICKS:
        inside = [tick for tick in ticks if low <= tick <= high]
        reaches = ticks[0] <= low and high <= ticks[-1]
        if reaches and len(inside) <= MOST_TICKS:
            break
    return inside


def ratio_of(effect: Effect) -> tuple[float, float, float] | None:
    """An effect as (ratio, lower, upper), where 1 is no change; None where it isn't known."""
    if effect.known is None:
        return None
    # TO BE TAKEN OUT when Effect.known holds ratios: today it is in percent.
    value, lower, upper = (1 + percent / 100 for percent in effect.known)
    return value, lower, upper


def _effects_message(overall: Sequence[Effect]) -> str:
    """The clear effects, the largest first; the rest can't be told from chance."""
    known = {effect.parameter: ratio for effect in overall if (ratio := ratio_of(effect))}
    clear = {name: ratio for name, ratio in known.items() if not ratio[1] <= 1 <= ratio[2]}
    if not clear:
        return "No hyperparameter's effect on energy can be distinguished from chance."
    ordered = sorted(clear, key=lambda name: abs(math.log(clear[name][0])), reverse=True)
    told = [f"{name} × {interval_text(*clear[name])}" for name in ordered]
    line = f"Energy from the lowest to the highest value: {', '.join(told)}"
    if len(clear) < len(known):
        line += "; no other effect can be distinguished from chance"
    return f"{line}."


def interval_text(value: float, lower: float, upper: float) -> str:
    """A ratio with its interval: '5.9 (4.3 to 8)', but '1.04 (1.01 to 1.08)'."""
    digits = 2 if abs(math.log(value)) > math.log(2) else 3
    return f"{number(value, digits)} ({number(lower, digits)} to {number(upper, digits)})"


def importance_chart(data: Data) -> Drawing | None:
    """Share of the variance between configurations that each hyperparameter explains."""
    of_energy, of_token = data.importances
    rows = [
        {"parameter": one.parameter, "series": series, "filled": one.clear}
        | dict(zip(("value", "lower", "upper"), (100 * share for share in one.known), strict=True))
        for series, importances in (("of an answer's energy", of_energy), ("of J/token", of_token))
        for one in importances
        if one.known is not None
    ]
    if not rows:
        return None
    return _intervals(
        rows,
        title="share of the variance (%)",
        scale=alt.Scale(domain=[0, 100], padding=6),
        axis=alt.Axis(),
        description="Intervals: the share of the variance between configurations that each "
        "hyperparameter explains, of an answer's energy and of J/token.",
        message=_importance_message(of_energy),
        note="Bars are 95 % intervals; hollow: may be chance.",
    )


def _importance_message(of_energy: Sequence[Importance]) -> str:
    """The hyperparameters whose share of an answer's energy is no chance, the largest first."""
    clear = {one.parameter: one.known for one in of_energy if one.clear and one.known}
    if not clear:
        return "No hyperparameter's share of the differences in energy can be distinguished from chance."
    ordered = sorted(clear, key=lambda name: clear[name][0], reverse=True)
    shares = (tuple(100 * part for part in clear[name]) for name in ordered)
    told = [
        f"{name} {share:.0f} % ({lower:.0f} to {upper:.0f})"
        for name, (share, lower, upper) in zip(ordered, shares, strict=True)
    ]
    return f"What explains the differences in an answer's energy: {', '.join(told)}."


def _intervals(
    rows: Sequence[Mapping[str, object]],
    *,
    title: str,
    scale: alt.Scale,
    axis: alt.Axis,
    line_at: float | None = None,
    **words: str,
) -> Drawing:
    """Two series of values with their intervals over the hyperparameters.

    A row has parameter, series, value, lower, upper, and whether its marker is filled. `title`,
    `scale` and `axis` are of the values. `line_at` draws a vertical line. `words` are those of the
    drawing.
    """
    names = list(dict.fromkeys(str(row["series"]) for row in rows))
    legend = alt.Legend(title=None)
    base = alt.Chart(alt.Data(name="intervals"), height=150).encode(
        y=alt.Y("parameter:N", title=None, sort=list(PARAMETERS)).scale(paddingInner=0.4),
        yOffset=alt.YOffset("series:N", sort=names),
        color=alt.Color("series:N", legend=legend).scale(domain=names, range=[ORANGE, BLUE]),
        tooltip=_tips(
            {"value": "value", "lower": "from", "upper": "to"},
            parameter="hyperparameter",
            series="series",
        ),
    )

    def x(name: str) -> alt.X:
        return alt.X(f"{name}:Q", title=title, scale=scale, axis=axis)

    bars = base.mark_rule(strokeWidth=2).encode(x=x("lower"), x2="upper:Q")
    points = base.mark_point(size=60, strokeWidth=2).encode(
        x=x("value"),
        shape=alt.Shape("series:N", legend=legend).scale(domain=names, range=["square", "circle"]),
        fill=alt.Color("series:N", legend=None).scale(domain=names, range=[ORANGE, BLUE]),
        fillOpacity=alt.FillOpacity("filled:N", legend=None).scale(
            domain=[True, False], range=[1, 0]
        ),
    )
    layers = [bars, points]
    if line_at is not None:
        line = alt.Chart(alt.Data(name="line")).mark_rule(opacity=0.6).encode(x=x("at"))
        layers.insert(0, line)
    data = {"intervals": rows, "line": [{"at": line_at}]}
    return Drawing(alt.layer(*layers), data, **words)


def side_by_side(data: Data) -> Drawing | None:
    """J/token of each group and use case: median, quartiles, whiskers to 1.5 times their range."""
    kept = data.kept
    if kept.empty:
        return None
    boxes = _short(_boxes(kept), short_names(data.all["group"]))
    values = kept["energy_per_token_j"]

    def x(name: str) -> alt.X:
        return _x(name, PER_TOKEN, values)

    base = alt.Chart(height=alt.Step(20)).encode(
        y=alt.Y("group:N", title=None),
        tooltip=_tips(
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
        {"boxes": boxes.to_dict("records")},
        f"Box plots: J/token of the answers of each {GROUP}, with a panel for each use case.",
        message=f"A token takes {least}" + (f" to {most}, at the median." if len(boxes) > 1 else "."),
        note="Bar: the middle half of the answers; line in it: median; thin line: answers within 1.5 "
        "times the bar.",
        panels=n_use_cases,
        least_width=220,
        # of a letter about 6.5 pixels, up to the limit of looks.CONFIG
        axis_width=min(215, 20 + round(6.5 * boxes["group"].str.len().max())),
    )


def _box_name(boxes: pd.DataFrame, place: int) -> str:
    """'3.4 J (nf4, danceCoreography)'."""
    box = boxes.iloc[place]
    return f"{number(box['median'])} J ({box['group']}, {box['use_case']})"


def _boxes(kept: pd.DataFrame) -> pd.DataFrame:
    """J/token of each group and use case: low, q1, median, q3, high and n, the answers."""
    import pandas as pd

    rows = []
    for (group, use_case), values in kept.groupby(["group", "use_case"])["energy_per_token_j"]:
        q1, median, q3 = values.quantile([0.25, 0.5, 0.75])
        reach = 1.5 * (q3 - q1)
        inside = values[values.between(q1 - reach, q3 + reach)]
        rows.append(
            {"group": group, "use_case": use_case, "low": inside.min(), "q1": q1, "median": median}
            | {"q3": q3, "high": inside.max(), "n": len(values)}
        )
    return pd.DataFrame(rows)


def energy_and_quality(data: Data) -> Drawing | None:
    """J/token and quality of each configuration; a line joins those on the Pareto front."""
    points = pareto_points(data)
    if points.empty:
        return None
    n_best, n = int(points["on_front"].sum()), len(points)
    names = short_names(data.all["group"])
    rows = _short(_thinned_by_group(points), names)
    chart, panels = _scatter(
        rows,
        names.values(),
        _x("energy_per_token_j", PER_TOKEN, points["energy_per_token_j"]),
        alt.Y("quality:Q", title="mean quality (0 to 1)").scale(domain=[0, 1]),
        _tips({"energy_per_token_j": "J/token", "quality": "quality"} | TITLES, group="group"),
        joined="on_front",
    )
    return Drawing(
        chart,
        {"points": rows.drop(columns=["point"]).to_dict("records")},
        f"Points: J/token and mean quality of {plural(n, 'configuration')}, by {GROUP}. A line joins "
        "the best ones.",
        message=f"{n_best:,} of {plural(n, 'configuration')} can't be beaten: no other of the same group "
        "has better texts for fewer J/token.",
        note=_shown(len(rows), n, "configuration") + "A line joins the best ones of a group.",
        panels=panels,
    )


def usable_by_temperature(data: Data) -> Drawing | None:
    """Share of usable texts in bands of temperature, greedy texts apart, by group."""
    judged = data.all[data.all["usable"].notna()]
    if judged.empty:
        return None
    rows = _short(_shares(judged), short_names(data.all["group"]))
    base = alt.Chart(height=alt.Step(22)).encode(
        y=alt.Y("band:N", title="temperature", sort=["greedy", *BANDS]),
        tooltip=_tips(
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
        {"shares": rows.to_dict("records")},
        f"Points: the share of usable texts in bands of temperature, by {GROUP}.",
        message=_usable_message(rows),
        note="Bars are 95 % intervals (Wilson), as if texts were independent; those of one prompt or "
        "configuration are not, so the truth may lie outside more often.",
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
        shares = {"share": 100 * n_usable / n, "lower": 100 * float(lower), "upper": 100 * float(upper)}
        rows.append({"group": group, "band": band, "n": n, "label": f"n = {n:,}"} | shares)
    return pd.DataFrame(rows)


def _usable_message(rows: pd.DataFrame) -> str:
    """The bands with the largest and the smallest share, where there is one group to tell of."""
    if rows["group"].nunique() > 1 or len(rows) == 1:
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


def coverage(data: Data) -> Drawing | None:
    """Where the configurations lie, for each pair of hyperparameters; greedy ones are crosses."""
    if data.all.empty:
        return None
    # A configuration has a row for each prompt, use case, model and repeat.
    points = data.all.drop_duplicates("point")
    kind = points["effective_do_sample"].astype(bool).map({True: "sampled", False: "greedy"})
    rows = thinned(points[list(PARAMETERS)].assign(kind=kind))
    n_greedy = int((kind == "greedy").sum())
    names = ["sampled", "greedy"]
    legend = alt.Legend(title=None) if 0 < n_greedy < len(points) else None
    base = alt.Chart(height=130)
    panels = [
        base.mark_point(size=25, opacity=0.7).encode(
            x=_x(across, TITLES[across], rows[across] * 0),
            y=_y(below, TITLES[below], rows[below] * 0),
            color=alt.Color("kind:N", legend=legend).scale(domain=names, range=[BLUE, ORANGE]),
            shape=alt.Shape("kind:N", legend=legend).scale(domain=names, range=["circle", "cross"]),
            tooltip=_tips(TITLES, kind="sampling"),
        )
        for across, below in itertools.combinations(PARAMETERS, 2)
    ]
    return Drawing(
        alt.concat(*panels, data=alt.Data(name="points")),
        {"points": rows.to_dict("records")},
        "Points: the configurations over each pair of hyperparameters.",
        message=plural(len(points), "configuration") + (f", {n_greedy:,} of them greedy." if n_greedy else "."),
        note=_shown(len(rows), len(points), "configuration"),
        panels=len(panels),
        least_width=180,
        own_axes=True,
    )


def pairs_chart(pairs: Mapping[str, pd.DataFrame]) -> Drawing | None:
    """J/token in data set A against that in B, with a point for each configuration.

    `pairs` maps the name of two matched groups to their pairs, with the columns `configuration`,
    `energy_per_token_j_a` and `energy_per_token_j_b`. On the line, both data sets have the same
    J/token.
    """
    import pandas as pd

    both = ["energy_per_token_j_a", "energy_per_token_j_b"]
    of_group = [
        thinned(some.groupby("configuration")[both].median()).assign(group=name)
        for name, some in pairs.items()
        if len(some)
    ]
    if not of_group:
        return None
    rows = pd.concat(of_group)
    ends = [float(rows[both].min().min()), float(rows[both].max().max())]
    scale = alt.Scale(type="log", domain=ends, nice=False, padding=8)
    x, y = (
        channel(f"{name}:Q", title=f"{side}: {PER_TOKEN}, log scale", scale=scale)
        for channel, name, side in zip((alt.X, alt.Y), both, "AB", strict=True)
    )
    titles = dict(zip(both, ("A: J/token", "B: J/token"), strict=True))
    chart, panels = _scatter(rows, rows["group"], x, y, _tips(titles, group="groups"))
    return Drawing(
        chart,
        {"points": rows.to_dict("records")},
        "Points: J/token of each configuration in A and in B.",
        panels=panels,
    )


CHARTS: dict[str, Chart] = {
    "energy-length": Chart("Energy against length", energy_by_length),
    "effects": Chart("Effect of each hyperparameter", effects_chart, table="effects"),
    "importance": Chart("Importance of each hyperparameter", importance_chart, table="importance"),
    "parallel": Chart("From hyperparameters to energy and quality", parallel),
    "side-by-side": Chart(
        "Machines, models, quantizations, use cases", side_by_side, table="groups"
    ),
    "energy-quality": Chart("Energy against quality", energy_and_quality),
    "usable": Chart("Usable texts by temperature", usable_by_temperature),
    "coverage": Chart("Coverage of the design", coverage),
}
"""Name of a chart (for `orchestrator plot`) -> its title and function, in the report's order."""
