"""The charts, each a function from the data to a figure; None where there is nothing to draw. Units stand on every axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.nouns import PARAMETERS
from orchestrator.report.execution_frame import Data
from orchestrator.report.style import RC, looks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MOST_POINTS = 3_000
"""Of a scatter: more are thinned out evenly, said so."""
MOST_LINES = 300
"""Of parallel coordinates."""
UNITS = {"max_length": "tokens", "top_p": "1", "top_k": "candidates", "temperature": "1"}


@dataclass(frozen=True)
class Chart:
    """One row of the table of charts."""

    title: str
    draw: Callable[[Data], Figure | None]


def _axes(width: float = 7.0, height: float = 3.6, **more: Any) -> tuple[Figure, Any]:
    """A figure of its own, known to no window system."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(RC):
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        return figure, figure.subplots(**more)


def thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """At most MOST_POINTS rows, evenly out of all."""
    return frame.iloc[:: max(1, -(-len(frame) // MOST_POINTS))]


def energy_by_length(data: Data) -> Figure | None:
    """Energy of each execution against its new tokens, a colour a machine, model and quantization."""
    kept = data.kept
    if kept.empty:
        return None
    figure, axes = _axes()
    for group, (colour, marker) in looks(data.all["group"]).items():
        some = thinned(kept[kept["group"] == group])
        if len(some):
            axes.scatter(
                some["n_new_tokens"],
                some["spent_j"],
                s=12,
                alpha=0.6,
                color=colour,
                marker=marker,
                label=group,
                rasterized=True,
            )
    axes.set(xlabel="new tokens (tokens)", ylabel="energy of an answer (J)")
    axes.legend(frameon=False, fontsize=8)
    return figure


def effects_chart(data: Data) -> Figure | None:
    """Change of energy over each hyperparameter's range, with 95 % intervals: in all, and at equal length."""
    in_all, at_length = (
        [(one.percent, one.lower, one.upper, True) for one in some] for some in data.effects
    )
    return _intervals(
        {"in all": in_all, "at equal length": at_length},
        xlabel="change of an answer's energy from lowest to highest value (%)",
        ylabel="hyperparameter (see table for units)",
        line_at=0,
    )


def importance_chart(data: Data) -> Figure | None:
    """Share of the variance between configurations, with 95 % intervals; hollow where they reach 0."""
    of_energy, of_token = (
        [
            (
                *(None if x is None else 100 * x for x in (one.share, one.lower, one.upper)),
                one.clear,
            )
            for one in some
        ]
        for some in data.importances
    )
    return _intervals(
        {"of an answer's energy": of_energy, "of J/token": of_token},
        xlabel="share of the variance between configurations (%)",
        ylabel="hyperparameter (see table)",
        hollow="may be chance",
        xlim=(-2, 102),
    )


def _intervals(
    series: dict[str, list[Any]],
    *,
    line_at: float | None = None,
    hollow: str | None = None,
    **axis: Any,
) -> Figure | None:
    """Two series over the hyperparameters, each a list of (value, lower, upper, filled); None where no value is known."""
    if all(value is None for some in series.values() for value, *_ in some):
        return None
    figure, axes = _axes(height=2.8)
    for (label, some), (colour, marker), shift in zip(
        series.items(), (("#D55E00", "s"), ("#0072B2", "o")), (-0.14, 0.14), strict=True
    ):
        for row, (value, lower, upper, filled) in enumerate(some):
            if value is not None and lower is not None and upper is not None:
                bars, face = [[value - lower], [upper - value]], colour if filled else "white"
                axes.errorbar(
                    value, row + shift, xerr=bars, fmt=marker, color=colour, mfc=face, capsize=3
                )
        axes.plot([], [], marker, color=colour, label=label)
    if hollow:
        axes.plot([], [], "o", color="#555555", mfc="white", label=hollow)
    if line_at is not None:
        axes.axvline(line_at, color="#555555", linewidth=0.8)
    axes.set_yticks(range(len(PARAMETERS)), PARAMETERS)
    axes.invert_yaxis()
    axes.set(**axis)
    axes.legend(frameon=False, fontsize=8)
    return figure


def side_by_side(data: Data) -> Figure | None:
    """Joules per token of each group and use case: quartiles and whiskers to 1.5 of their range."""
    kept = data.kept
    if kept.empty:
        return None
    keys = sorted(
        {(group, use_case) for group, use_case in zip(kept["group"], kept["use_case"], strict=True)}
    )
    colours = looks(data.all["group"])
    figure, axes = _axes(height=1.2 + 0.32 * len(keys))
    for row, (group, use_case) in enumerate(keys):
        some = kept.loc[(kept["group"] == group) & (kept["use_case"] == use_case), "per_token_j"]
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
    axes.set_yticks(
        range(len(keys)), [f"{group}\n{use_case}" for group, use_case in keys], fontsize=7
    )
    axes.set(xlabel="energy per new token (J/token)", ylabel="machine / model /\nquantization")
    return figure


def front(points: pd.DataFrame) -> pd.Series:
    """Which rows of (`cost`, `quality`) no other row beats in one without losing in the other."""
    ordered = points.sort_values(["cost", "quality"], ascending=[True, False])
    best = ordered["quality"].cummax().shift(fill_value=float("-inf"))
    return (ordered["quality"] > best).reindex(points.index)


def configurations(data: Data) -> pd.DataFrame:
    """Each configuration of a group with its J/token (`cost`) and mean quality, over ok executions, discarded ones included."""
    ok = data.all[
        (data.all["status"] == "ok") & data.all["spent_j"].gt(0) & data.all["n_new_tokens"].gt(0)
    ]
    ok = ok.assign(quality=ok["quality"].astype(float))
    sums = ok.groupby(["group", "point"]).agg(
        spent=("spent_j", "sum"),
        tokens=("n_new_tokens", "sum"),
        quality=("quality", "mean"),
        sampled=("effective_do_sample", "first"),
        **{name: (name, "first") for name in PARAMETERS},
    )
    sums["cost"] = sums["spent"].astype(float) / sums["tokens"].astype(float)
    return sums.reset_index()


def pareto_points(data: Data) -> pd.DataFrame:
    """The same of those whose quality is known."""
    return configurations(data).dropna(subset=["quality"])


def energy_and_quality(data: Data) -> Figure | None:
    """Configurations by joules per token and quality; those that none beats in both are joined."""
    points = pareto_points(data)
    if points.empty:
        return None
    figure, axes = _axes()
    for group, (colour, marker) in looks(data.all["group"]).items():
        some = points[points["group"] == group]
        if len(some):
            axes.scatter(
                some["cost"],
                some["quality"],
                s=18,
                color=colour,
                marker=marker,
                alpha=0.6,
                label=group,
            )
            best = some[front(some)].sort_values("cost")
            axes.plot(best["cost"], best["quality"], color=colour, linewidth=1.2)
    axes.set(xlabel="energy per new token (J/token)", ylabel="mean quality of the texts (0 to 1)")
    axes.legend(frameon=False, fontsize=8)
    return figure


def quality_by_temperature(data: Data) -> Figure | None:
    """Share of usable texts in bands of temperature, greedy apart."""
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
    axes.bar(
        range(len(shares)), 100 * shares["mean"], color="#009E73", edgecolor="black", hatch="//"
    )
    axes.set_xticks(
        range(len(shares)), [f"{name}\nn = {int(n)}" for name, n in shares["size"].items()]
    )
    axes.set(xlabel="temperature (1)", ylabel="usable texts (%)", ylim=(0, 100))
    return figure


def coverage(data: Data) -> Figure | None:
    """Where the configurations lie, each pair of hyperparameters; greedy ones apart."""
    if data.all.empty:
        return None
    points = data.all.drop_duplicates("point")
    figure, grid = _axes(7.0, 6.0, nrows=3, ncols=3)
    sampled = points["effective_do_sample"].astype(bool)
    for row, below in enumerate(PARAMETERS[1:]):
        for column, across in enumerate(PARAMETERS[:3]):
            axes = grid[row][column]
            if column > row:
                axes.set_visible(False)
                continue
            for chosen, colour, marker, name in (
                (sampled, "#0072B2", "o", "sampled"),
                (~sampled, "#D55E00", "x", "greedy"),
            ):
                some = thinned(points[chosen])
                axes.scatter(
                    some[across], some[below], s=10, color=colour, marker=marker, label=name
                )
            axes.set_xlabel(f"{across} ({UNITS[across]})" if row == 2 else "")  # noqa: PLR2004 - the last row
            axes.set_ylabel(f"{below} ({UNITS[below]})" if column == 0 else "")
    grid[0][0].legend(frameon=False, fontsize=7)
    return figure


def parallel(data: Data) -> Figure | None:
    """Parallel coordinates: a line a configuration of a group, from its hyperparameters to its J/token and quality."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.markers import TICKRIGHT

    found = configurations(data).sort_values("cost")
    if found.empty:
        return None
    some = found.iloc[np.unique(np.linspace(0, len(found) - 1, MOST_LINES).round().astype(int))]
    names = [*PARAMETERS, "cost", *(["quality"] if some["quality"].notna().any() else [])]
    figure, axes = _axes(height=4.2)
    heights = []
    for at, name in enumerate(names):
        height, ticks = _scale(some[name].to_numpy(float), name)
        heights.append(height)
        axes.axvline(at, color="#555555", linewidth=0.8)
        for where, label in ticks:
            axes.plot(at, where, marker=TICKRIGHT, color="#555555")
            box = {
                "boxstyle": "square,pad=0.1",
                "facecolor": "white",
                "edgecolor": "none",
                "alpha": 0.8,
            }
            axes.text(at + 0.03, where, label, fontsize=7, va="center", bbox=box, zorder=3)
    colours = colormaps["cividis_r"](0.15 + 0.85 * heights[len(PARAMETERS)])
    styles = ["-" if sampled else ":" for sampled in some["sampled"]]
    lines = [np.column_stack([range(len(names)), line]) for line in np.column_stack(heights)]
    axes.add_collection(
        LineCollection(lines, colors=colours, linestyles=styles, linewidths=0.9, alpha=0.8)
    )
    heads = [f"{name}\n({UNITS[name]})" for name in PARAMETERS] + [
        "energy\n(J/token)",
        "quality\n(0 to 1)",
    ]
    axes.set_xticks(range(len(names)), heads[: len(names)])
    axes.set_yticks([])
    axes.set(xlim=(-0.1, len(names) - 0.6), ylim=(-0.05, 1.05))
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlabel(
        f"{len(some):,} of {len(found):,} configurations (dark: more J/token; dotted: greedy)"
    )
    return figure


def _scale(values: Any, name: str) -> tuple[Any, list[tuple[float, str]]]:
    """Heights from 0 to 1 and labelled ticks of an axis: joules by their logarithm, a top_k that is off apart at the top."""
    import numpy as np
    from matplotlib.ticker import LogLocator, MaxNLocator

    off = (values == 0) & (name == "top_k")
    top = 0.9 if off.any() else 1.0
    known = values[~off & ~np.isnan(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (1.0, 1.0)
    nice = LogLocator(subs=(1, 2, 5)) if name == "cost" and high > 10 * low else MaxNLocator(5)
    at = np.array([tick for tick in nice.tick_values(low, high) if low <= tick <= high])
    at = at if len(at) > 1 else np.unique([low, high])
    shape = np.log if name == "cost" else np.asarray
    span = shape(high) - shape(low)
    places, heights = (
        top * (shape(some) - shape(low)) / span if span else some * 0 + 0.5 for some in (at, values)
    )
    ticks = [
        (float(place), f"{tick:,.6g}") for place, tick in zip(places, at, strict=True) if known.size
    ]
    return np.where(off, 1.0, heights), [*ticks, (1.0, "off")] if off.any() else ticks


def pairs_chart(pairs: Mapping[str, pd.DataFrame]) -> Figure | None:
    """J/token in A (`per_token_j_a`) against that in B, a mark a configuration; on the line they are the same."""
    if not any(len(some) for some in pairs.values()):
        return None
    figure, axes = _axes(width=5.0, height=4.4)
    both = ["per_token_j_a", "per_token_j_b"]
    of_group = {name: thinned(some.groupby("asked")[both].median()) for name, some in pairs.items()}
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
    axes.plot([low, high], [low, high], color="#555555", linewidth=0.8)
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
    "effects": Chart("Effect of each hyperparameter", effects_chart),
    "importance": Chart("Importance of each hyperparameter", importance_chart),
    "parallel": Chart("From hyperparameters to energy and quality", parallel),
    "side-by-side": Chart("Machines, models, quantizations, use cases", side_by_side),
    "energy-quality": Chart("Energy against quality", energy_and_quality),
    "usable": Chart("Usable texts by temperature", quality_by_temperature),
    "coverage": Chart("Coverage of the design", coverage),
}
