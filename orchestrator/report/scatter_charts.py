"""Charts whose marks are points: answers, configurations, and pairs of two data sets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from orchestrator.nouns import PARAMETERS
from orchestrator.report.channels import ENERGY_AXIS, GROUP, TITLES, tips, with_names, x_of, y_of
from orchestrator.report.configurations import pareto_points
from orchestrator.report.drawing import Drawing, in_panels
from orchestrator.report.execution_frame import Data
from orchestrator.report.looks import BLUE, MOST_TOGETHER, ORANGE, TEXT, looks, short_names
from orchestrator.units import number, plural

if TYPE_CHECKING:
    import pandas as pd

MOST_POINTS = 3_000
"""A scatter shows about so many points, taken evenly from each group (docs/report.md)."""
LEAST_POINTS = 100
"""So many points of each group are shown, where it has them."""
GROWS = 0.7
"""From this rank correlation (Spearman) with the length on, energy is said to grow with it."""
LEAST_RANKED = 10
"""With fewer answers than this, nothing is said of it."""


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


def shown(n_shown: int, n: int, noun: str) -> str:
    """How many of many points a chart shows; "" where it shows all."""
    return "" if n_shown == n else f"{n_shown:,} of {plural(n, noun)} are shown, taken evenly. "


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
    beneath: Any = None,
) -> tuple[Any, int]:
    """Points of groups, and the number of panels: one for all groups, or one for each of many.

    `of_all`: the short names of all groups. `joined`: the points in which this column is true are
    joined by a line. `beneath`: a chart that is drawn below the points.
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
    if beneath is not None:
        chart = beneath + chart
    n_panels = 1 if together else len(groups)
    return in_panels(chart, "points", "group" if n_panels > 1 else None), n_panels


def energy_by_length(data: Data) -> Drawing | None:
    """Energy of each answer against its new tokens."""
    answers = data.answers
    if answers.empty:
        return None
    columns = [
        "group",
        "use_case",
        "execution",
        "n_new_tokens",
        "counted_energy_j",
        "energy_per_token_j",
    ]
    names = short_names(data.all["group"])
    rows = with_names(_thinned_by_group(answers[columns].astype({"n_new_tokens": float})), names)
    crowded = rows["group"].nunique() > MOST_TOGETHER
    chart, panels = _scatter(
        rows,
        names.values(),
        x_of("n_new_tokens", "length (new tokens)", answers["n_new_tokens"]),
        y_of(
            "counted_energy_j",
            "energy (J)" if crowded else "energy of an answer (J)",
            answers["counted_energy_j"],
        ),
        tips(
            {
                "n_new_tokens": "new tokens",
                "counted_energy_j": "J",
                "energy_per_token_j": "J/token",
            },
            group="group",
            execution="answer",
        ),
    )
    return Drawing(
        chart,
        {"points": rows},
        f"Points: the energy of {plural(len(rows), 'answer')} in joules over their new tokens, by "
        f"{GROUP}.",
        message=_length_message(answers),
        note=shown(len(rows), len(answers), "answer") + "Without failed answers.",
        panels=panels,
    )


def _length_message(answers: pd.DataFrame) -> str:
    """How energy goes with length: that it grows only where it does so in every group."""
    groups = [some for _, some in answers.groupby("group")]
    medians = sorted(float(some["energy_per_token_j"].median()) for some in groups)
    cost = f"{number(medians[0])} J per new token at the median"
    if number(medians[0]) != number(medians[-1]):
        cost = (
            f"{number(medians[0])} to {number(medians[-1])} J per new token, by the groups' medians"
        )
    grows = all(
        len(some) >= LEAST_RANKED
        and some["n_new_tokens"].astype(float).corr(some["counted_energy_j"], "spearman") > GROWS
        for some in groups
    )
    return f"An answer's energy grows with its length: {cost}." if grows else f"{cost}."


def energy_and_quality(data: Data) -> Drawing | None:
    """J/token and quality of each configuration; a line joins those on the Pareto front."""
    points = pareto_points(data)
    if points.empty:
        return None
    n_best, n = int(points["on_front"].sum()), len(points)
    names = short_names(data.all["group"])
    rows = with_names(_thinned_by_group(points), names)
    chart, panels = _scatter(
        rows,
        names.values(),
        x_of("energy_per_token_j", ENERGY_AXIS, points["energy_per_token_j"]),
        alt.Y("quality:Q", title="mean quality (0 to 1)").scale(domain=[0, 1]),
        tips({"energy_per_token_j": "J/token", "quality": "quality"} | TITLES, group="group"),
        joined="on_front",
    )
    return Drawing(
        chart,
        {"points": rows.drop(columns=["point"])},
        f"Points: J/token and mean quality of {plural(n, 'configuration')}, by {GROUP}. A line "
        "joins the best ones.",
        message=f"{n_best:,} of {plural(n, 'configuration')} can't be beaten: no other of the same "
        "group has better texts for fewer J/token.",
        note=shown(len(rows), n, "configuration") + "A line joins the best ones of a group.",
        panels=panels,
    )


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
            x=x_of(across, TITLES[across], rows[across] * 0),
            y=y_of(below, TITLES[below], rows[below] * 0),
            color=alt.Color("kind:N", legend=legend).scale(domain=names, range=[BLUE, ORANGE]),
            shape=alt.Shape("kind:N", legend=legend).scale(domain=names, range=["circle", "cross"]),
            tooltip=tips(TITLES, kind="sampling"),
        )
        for across, below in itertools.combinations(PARAMETERS, 2)
    ]
    return Drawing(
        alt.concat(*panels, data=alt.Data(name="points")),
        {"points": rows},
        "Points: the configurations over each pair of hyperparameters.",
        message=plural(len(points), "configuration")
        + (f", {n_greedy:,} of them greedy." if n_greedy else "."),
        note=shown(len(rows), len(points), "configuration"),
        panels=len(panels),
        least_width=100,
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
        channel(f"{name}:Q", title=f"{side}: {ENERGY_AXIS}, log scale", scale=scale)
        for channel, name, side in zip((alt.X, alt.Y), both, "AB", strict=True)
    )
    titles = dict(zip(both, ("A: J/token", "B: J/token"), strict=True))
    line = alt.Chart(alt.Data(name="equal")).mark_line(color=TEXT, strokeDash=[4, 4], opacity=0.6)
    tip = tips(titles, group="groups")
    chart, panels = _scatter(rows, rows["group"], x, y, tip, beneath=line.encode(x=x, y=y))
    return Drawing(
        chart,
        {"points": rows, "equal": pd.DataFrame(dict.fromkeys(both, ends))},
        "Points: J/token of each configuration in A and in B.",
        note="On the line A and B have the same J/token. Where one ratio holds for all "
        "configurations, the points lie along a line beside it.",
        panels=panels,
    )
