"""The charts of a report: each is a function from the data to a figure.

It returns None where there is nothing to draw. Every axis with numbers names its unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.nouns import PARAMETERS
from orchestrator.report.effects import AT_EQUAL_LENGTH, ENERGY, Effect
from orchestrator.report.execution_frame import Data
from orchestrator.report.style import RC, looks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MOST_POINTS = 3_000
"""A scatter shows at most this many points a group, taken evenly out of all (docs/report.md)."""
MOST_LINES = 300
"""The chart of parallel coordinates shows at most this many lines."""
GREY = "#555555"
BLUE = "#0072B2"
ORANGE = "#D55E00"
GREEN = "#009E73"
UNITS = {"max_length": "tokens", "top_p": "1", "top_k": "candidates", "temperature": "1"}


@dataclass(frozen=True)
class Chart:
    """One row of CHARTS."""

    title: str
    draw: Callable[[Data], Figure | None]
    """The chart; None: there is nothing to draw."""
    table: str | None = None
    """Name of the table (page_content.py) that stands below it."""


def _axes(width: float = 7.0, height: float = 3.6, **more: Any) -> tuple[Figure, Any]:
    """A figure with axes, drawn without a window: pyplot would open one and keep every figure."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(RC):
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        return figure, figure.subplots(**more)


def thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """At most MOST_POINTS rows of a table, taken evenly."""
    step = max(1, math.ceil(len(frame) / MOST_POINTS))
    return frame.iloc[::step]


def energy_by_length(data: Data) -> Figure | None:
    """Energy of each kept answer against its new tokens, with a colour for each group."""
    kept = data.kept
    if kept.empty:
        return None
    figure, axes = _axes()
    for group, (colour, marker) in looks(data.all["group"]).items():
        # Thinned by group, so that a small group isn't lost beside a large one.
        some = thinned(kept[kept["group"] == group])
        if len(some):
            axes.scatter(
                some["n_new_tokens"],
                some["counted_energy_j"],
                s=12,
                alpha=0.6,
                color=colour,
                marker=marker,
                label=group,
                # Thousands of markers as vectors would make a PDF slow to draw.
                rasterized=True,
            )
    axes.set(xlabel="new tokens (tokens)", ylabel="energy of an answer (J)")
    axes.legend(frameon=False, fontsize=8)
    return figure


def effects_chart(data: Data) -> Figure | None:
    """Change of energy over each hyperparameter's range, overall and at equal length."""
    overall, at_equal_length = data.effects[ENERGY], data.effects[AT_EQUAL_LENGTH]
    return _intervals(
        {
            "overall": [_effect_interval(effect) for effect in overall],
            "at equal length": [_effect_interval(effect) for effect in at_equal_length],
        },
        xlabel="change of an answer's energy from lowest to highest value (%)",
        ylabel="hyperparameter (see table for units)",
        line_at=0,
    )


@dataclass(frozen=True)
class _Interval:
    """A value with its 95 % interval, in percent."""

    value: float
    lower: float
    upper: float
    filled: bool = True
    """Whether its marker is filled; hollow ones may be chance."""


def _effect_interval(effect: Effect) -> _Interval | None:
    """An effect in percent with its interval; None where it isn't known."""
    if effect.known is None:
        return None
    value, lower, upper = (100 * (one - 1) for one in effect.known)
    return _Interval(value, lower, upper)


def _intervals(
    series: Mapping[str, Sequence[_Interval | None]],
    *,
    line_at: float | None = None,
    hollow: str | None = None,
    **axis: Any,
) -> Figure | None:
    """Two series over the hyperparameters, side by side; None where no value is known.

    `series` maps a label to one interval a hyperparameter, in the order of PARAMETERS. `hollow`
    explains the hollow markers in the legend. `line_at` draws a vertical line.
    """
    if not any(interval is not None for some in series.values() for interval in some):
        return None
    figure, axes = _axes(height=2.8)
    # The two series are shifted a little, so that their bars don't lie on each other.
    looks_of_two = ((ORANGE, "s", -0.14), (BLUE, "o", 0.14))
    for (label, some), (colour, marker, shift) in zip(series.items(), looks_of_two, strict=True):
        for row, interval in enumerate(some):
            if interval is not None:
                axes.errorbar(
                    interval.value,
                    row + shift,
                    xerr=[[interval.value - interval.lower], [interval.upper - interval.value]],
                    fmt=marker,
                    color=colour,
                    mfc=colour if interval.filled else "white",
                    capsize=3,
                )
        # An empty plot makes the entry of the legend: its marker is filled in any case.
        axes.plot([], [], marker, color=colour, label=label)
    if hollow:
        axes.plot([], [], "o", color=GREY, mfc="white", label=hollow)
    if line_at is not None:
        axes.axvline(line_at, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(PARAMETERS)), PARAMETERS)
    axes.invert_yaxis()
    axes.set(**axis)
    axes.legend(frameon=False, fontsize=8)
    return figure


def side_by_side(data: Data) -> Figure | None:
    """J/token of each group and use case: median, quartiles, whiskers to 1.5 times their range."""
    kept = data.kept
    if kept.empty:
        return None
    keys = sorted(set(zip(kept["group"], kept["use_case"], strict=True)))
    colours = looks(data.all["group"])
    figure, axes = _axes(height=1.2 + 0.32 * len(keys))
    for row, (group, use_case) in enumerate(keys):
        some = kept.loc[
            (kept["group"] == group) & (kept["use_case"] == use_case), "energy_per_token_j"
        ]
        box = axes.boxplot(
            [some],
            positions=[row],
            orientation="horizontal",
            widths=0.6,
            patch_artist=True,
            showfliers=False,
        )
        box["boxes"][0].set(facecolor=colours[group][0], alpha=0.6)
        box["medians"][0].set(color="black")
    names = [f"{group}\n{use_case}" for group, use_case in keys]
    axes.set_yticks(range(len(keys)), names, fontsize=7)
    axes.set(xlabel="energy per new token (J/token)", ylabel="machine / model /\nquantization")
    return figure


def front(points: pd.DataFrame) -> pd.Series:
    """Which rows lie on the Pareto front of low `energy_per_token_j` and high `quality`.

    A row is on it if no other row is at least as good in both columns and better in one. Of rows
    that are equal in both columns, one is on it.
    """
    # From the cheapest row on, a row is on the front if its quality beats all that cost less.
    ordered = points.sort_values(["energy_per_token_j", "quality"], ascending=[True, False])
    best = ordered["quality"].cummax().shift(fill_value=float("-inf"))
    return (ordered["quality"] > best).reindex(points.index)


def by_configuration(data: Data) -> pd.DataFrame:
    """One row for each configuration of a group, from its ok executions, discarded ones included.

    Columns: group, point, the four hyperparameters, counted_energy_j and n_new_tokens (sums),
    energy_per_token_j, quality (the mean, null where no text was judged) and sampled.
    """
    ok = data.all[
        (data.all["status"] == "ok")
        & data.all["counted_energy_j"].gt(0)
        & data.all["n_new_tokens"].gt(0)
    ]
    ok = ok.assign(quality=ok["quality"].astype(float))
    sums = ok.groupby(["group", "point"]).agg(
        counted_energy_j=("counted_energy_j", "sum"),
        n_new_tokens=("n_new_tokens", "sum"),
        quality=("quality", "mean"),
        sampled=("effective_do_sample", "first"),
        **{name: (name, "first") for name in PARAMETERS},
    )
    energy_j, n_new_tokens = (
        sums[name].astype(float) for name in ("counted_energy_j", "n_new_tokens")
    )
    sums["energy_per_token_j"] = energy_j / n_new_tokens
    return sums.reset_index()


def pareto_points(data: Data) -> pd.DataFrame:
    """The rows of `by_configuration` whose quality is known."""
    return by_configuration(data).dropna(subset=["quality"])


def energy_and_quality(data: Data) -> Figure | None:
    """J/token and quality of each configuration; a line joins those on the Pareto front."""
    points = pareto_points(data)
    if points.empty:
        return None
    figure, axes = _axes()
    for group, (colour, marker) in looks(data.all["group"]).items():
        some = points[points["group"] == group]
        if len(some):
            axes.scatter(
                some["energy_per_token_j"],
                some["quality"],
                s=18,
                color=colour,
                marker=marker,
                alpha=0.6,
                label=group,
            )
            best = some[front(some)].sort_values("energy_per_token_j")
            axes.plot(best["energy_per_token_j"], best["quality"], color=colour, linewidth=1.2)
    axes.set(xlabel="energy per new token (J/token)", ylabel="mean quality of the texts (0 to 1)")
    axes.legend(frameon=False, fontsize=8)
    return figure


def quality_by_temperature(data: Data) -> Figure | None:
    """Share of usable texts in bands of temperature, with greedy texts in a bar of their own."""
    judged = data.all[data.all["usable"].notna()]
    if judged.empty:
        return None
    import pandas as pd

    names = ["greedy", "0 to 0.5", "0.5 to 1", "1 to 1.5", "1.5 to 2"]
    bands = pd.cut(judged["temperature"], [-1, 0.5, 1, 1.5, 2], labels=names[1:]).astype(str)
    bands = bands.where(judged["effective_do_sample"].astype(bool), "greedy")
    shares = (
        judged["usable"].astype(float).groupby(bands).agg(["mean", "size"]).reindex(names).dropna()
    )
    figure, axes = _axes(height=2.8)
    places = range(len(shares))
    axes.bar(places, 100 * shares["mean"], color=GREEN, edgecolor="black", hatch="//")
    axes.set_xticks(places, [f"{name}\nn = {int(n)}" for name, n in shares["size"].items()])
    axes.set(xlabel="temperature (1)", ylabel="usable texts (%)", ylim=(0, 100))
    return figure


def coverage(data: Data) -> Figure | None:
    """Where the configurations lie, for each pair of hyperparameters; greedy ones are crosses."""
    if data.all.empty:
        return None
    # A configuration has a row for each prompt, use case, model and repeat.
    points = data.all.drop_duplicates("point")
    sampled = points["effective_do_sample"].astype(bool)
    size = len(PARAMETERS) - 1
    figure, grid = _axes(7.0, 6.0, nrows=size, ncols=size)
    for row, below in enumerate(PARAMETERS[1:]):
        for column, across in enumerate(PARAMETERS[:-1]):
            axes = grid[row][column]
            # Above the diagonal stand the same pairs once more, or a hyperparameter by itself.
            if column > row:
                axes.set_visible(False)
                continue
            _scatter(axes, points[sampled], across, below, (BLUE, "o", "sampled"))
            _scatter(axes, points[~sampled], across, below, (ORANGE, "x", "greedy"))
            if row == size - 1:
                axes.set_xlabel(f"{across} ({UNITS[across]})")
            if column == 0:
                axes.set_ylabel(f"{below} ({UNITS[below]})")
    grid[0][0].legend(frameon=False, fontsize=7)
    return figure


def _scatter(
    axes: Any, points: pd.DataFrame, across: str, below: str, look: tuple[str, str, str]
) -> None:
    """Draw two columns against each other. `look`: colour, marker and label."""
    colour, marker, label = look
    some = thinned(points)
    axes.scatter(some[across], some[below], s=10, color=colour, marker=marker, label=label)


def parallel(data: Data) -> Figure | None:
    """Parallel coordinates: one line for each configuration of a group.

    It goes from the hyperparameters to J/token and, where texts were judged, to quality.
    """
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    whole = by_configuration(data).sort_values("energy_per_token_j")
    if whole.empty:
        return None
    # Evenly by J/token, so that the cheapest and the most expensive one are among them.
    chosen = np.linspace(0, len(whole) - 1, MOST_LINES).round().astype(int)
    some = whole.iloc[np.unique(chosen)]
    heads = {name: f"{name}\n({UNITS[name]})" for name in PARAMETERS} | {
        "energy_per_token_j": "energy\n(J/token)"
    }
    if some["quality"].notna().any():
        heads["quality"] = "quality\n(0 to 1)"
    figure, axes = _axes(height=4.2)
    heights = {}
    for place, name in enumerate(heads):
        heights[name], ticks = _scale(some[name].to_numpy(float), name)
        _vertical_axis(axes, place, ticks)
    lines = [np.column_stack([range(len(heads)), y]) for y in np.column_stack([*heights.values()])]
    # The palest 15 % of the colour map would be lost on white paper.
    colours = colormaps["cividis_r"](0.15 + 0.85 * heights["energy_per_token_j"])
    styles = ["-" if sampled else ":" for sampled in some["sampled"]]
    axes.add_collection(
        LineCollection(lines, colors=colours, linestyles=styles, linewidths=0.9, alpha=0.8)
    )
    axes.set_xticks(range(len(heads)), [*heads.values()])
    axes.set_yticks([])
    axes.set(xlim=(-0.1, len(heads) - 0.6), ylim=(-0.05, 1.05))
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlabel(
        f"{len(some):,} of {len(whole):,} configurations (dark: more J/token; dotted: greedy)"
    )
    return figure


def _vertical_axis(axes: Any, place: int, ticks: list[tuple[float, str]]) -> None:
    """Draw one axis of the parallel coordinates, with its ticks (height, label)."""
    from matplotlib.markers import TICKRIGHT

    # The box keeps a label readable where lines pass behind it.
    box = {
        "boxstyle": "square,pad=0.1",
        "facecolor": "white",
        "edgecolor": "none",
        "alpha": 0.8,
    }
    axes.axvline(place, color=GREY, linewidth=0.8)
    for height, label in ticks:
        axes.plot(place, height, marker=TICKRIGHT, color=GREY)
        axes.text(place + 0.03, height, label, fontsize=7, va="center", bbox=box, zorder=3)


def _scale(values: Any, name: str) -> tuple[Any, list[tuple[float, str]]]:
    """Heights from 0 to 1 of an axis' values, and its ticks (height, label).

    `energy_per_token_j` is on a logarithmic scale. A top_k of 0 is off, which lets more tokens
    through than any other value: it stands at the top, apart from the others. Unknown values (NaN)
    have an unknown height.
    """
    import numpy as np
    from matplotlib.ticker import LogLocator, MaxNLocator

    is_off = (values == 0) & (name == "top_k")
    top = 0.9 if is_off.any() else 1.0
    known = values[~is_off & ~np.isnan(values)]
    low, high = 1.0, 1.0
    if known.size:
        low, high = float(known.min()), float(known.max())
    locator: Any = MaxNLocator(5)
    # Over less than a factor of ten, round logarithmic steps give too few ticks.
    if name == "energy_per_token_j" and high > 10 * low:
        locator = LogLocator(subs=(1, 2, 5))
    at = np.array([tick for tick in locator.tick_values(low, high) if low <= tick <= high])
    if len(at) <= 1:
        at = np.unique([low, high])

    transform: Any = np.log if name == "energy_per_token_j" else np.asarray
    start = transform(low)
    span = transform(high) - start

    def height(some: Any) -> Any:
        """Place of a value, or an array of them, between the axis's bottom and top."""
        if not span:  # one value only: it stands in the middle
            return some * 0 + 0.5
        return top * (transform(some) - start) / span

    ticks = []
    if known.size:
        ticks = [(float(height(tick)), f"{tick:,.6g}") for tick in at]
    if is_off.any():
        ticks.append((1.0, "off"))
    return np.where(is_off, 1.0, height(values)), ticks


def pairs_chart(pairs: Mapping[str, pd.DataFrame]) -> Figure | None:
    """J/token in data set A against that in B, with a marker for each configuration.

    `pairs` maps the name of two matched groups to their pairs, with the columns `configuration`,
    `energy_per_token_j_a` and `energy_per_token_j_b`. On the line, both data sets have the same
    J/token.
    """
    if not any(len(some) for some in pairs.values()):
        return None
    figure, axes = _axes(width=5.0, height=4.4)
    both = ["energy_per_token_j_a", "energy_per_token_j_b"]
    of_group = {
        name: thinned(some.groupby("configuration")[both].median()) for name, some in pairs.items()
    }
    for name, (colour, marker) in looks(pairs).items():
        points = of_group[name]
        axes.scatter(
            points[both[0]],
            points[both[1]],
            s=16,
            alpha=0.7,
            color=colour,
            marker=marker,
            label=name,
        )
    low = min(float(points.min().min()) for points in of_group.values())
    high = max(float(points.max().max()) for points in of_group.values())
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.8)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="A: energy per new token (J/token)",
        ylabel="B: energy per new token (J/token)",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
    axes.legend(frameon=False, fontsize=8)
    return figure


CHARTS: dict[str, Chart] = {
    "energy-length": Chart("Energy against length", energy_by_length),
    "effects": Chart("Effect of each hyperparameter", effects_chart, table="effects"),
    "parallel": Chart("From hyperparameters to energy and quality", parallel),
    "side-by-side": Chart(
        "Machines, models, quantizations, use cases", side_by_side, table="groups"
    ),
    "energy-quality": Chart("Energy against quality", energy_and_quality),
    "usable": Chart("Usable texts by temperature", quality_by_temperature),
    "coverage": Chart("Coverage of the design", coverage),
}
"""Name of a chart (for `orchestrator plot`) -> its title and function, in the report's order."""
