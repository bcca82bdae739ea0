"""The configurations of each group with what they cost and how good their texts are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.nouns import PARAMETERS
from orchestrator.report.execution_frame import Data

if TYPE_CHECKING:
    import pandas as pd


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
    """The rows of `by_configuration` whose quality is known; `on_front`: the best of a group."""
    import pandas as pd

    points = by_configuration(data).dropna(subset=["quality"])
    on_front = [front(some) for _, some in points.groupby("group")]
    return points.assign(on_front=pd.concat(on_front) if on_front else False)


def front(points: pd.DataFrame) -> pd.Series:
    """Which rows lie on the Pareto front of low `energy_per_token_j` and high `quality`.

    A row is on it if no other row is at least as good in both columns and better in one. Of rows
    that are equal in both columns, one is on it.
    """
    # From the cheapest row on, a row is on the front if its quality beats all that cost less.
    ordered = points.sort_values(["energy_per_token_j", "quality"], ascending=[True, False])
    best = ordered["quality"].cummax().shift(fill_value=float("-inf"))
    return (ordered["quality"] > best).reindex(points.index)
