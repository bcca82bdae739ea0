"""How much of the variance between configurations each hyperparameter explains: of an answer's energy, and of its J/token.

A functional analysis of variance (Hutter et al. 2014, "An efficient approach for assessing hyperparameter importance", ICML) by
statsmodels, with a polynomial of each hyperparameter in place of their forest, which learns little from the tens of
configurations that a sweep has. Sums of squares are of type II; a share is the omega squared of Hays (1963): less what chance
adds, over the whole. Its interval is that of the noncentral F distribution (Steiger 2004, doi:10.1037/1082-989X.9.2.164), the
other hyperparameters' shares taken as they were found.

One value a configuration: its mean logarithm, after the level of each machine, model, quantization, use case and prompt is taken
out (both fitted together, so that unequal numbers of executions are no effect). Polynomials are of the values' ranks, so an
axis' scale doesn't matter. Greedy configurations are left out: only sampled ones tell of top_p, top_k and temperature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.nouns import PARAMETERS
from orchestrator.report.effects import CONFIDENCE, values_of

if TYPE_CHECKING:
    import pandas as pd

LEAST_POINTS = 15
"""Sampled configurations below which four curves can't be told apart."""
MANY_POINTS = 60
"""From here on a curve may be of third degree; below, of second."""
LEAST_NOISE = 1e-6
"""Of the variance between configurations; with less, bounds can't be computed, and they are 1 anyway."""
ONE_VALUE = "it has one value only"


@dataclass(frozen=True)
class Importance:
    """A hyperparameter's share of the variance between configurations, 0 to 1."""

    parameter: str
    share: float | None
    """None where it can't be told, for the reason in `note`."""
    lower: float | None = None
    upper: float | None = None
    """The 95 % interval."""
    note: str = ""

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.lower is not None and self.lower > 0


def importances(kept: pd.DataFrame, outcome: str) -> list[Importance]:
    """One of each hyperparameter for a column of joules, from executions that count (frame.Data.kept)."""
    import numpy as np
    import statsmodels.formula.api as smf
    from statsmodels.stats.anova import anova_lm

    sampled = kept[kept["effective_do_sample"].astype(bool)]
    n_points = sampled["point"].nunique()
    if n_points < LEAST_POINTS:
        return _unknown(f"{n_points} sampled configurations are too few: {LEAST_POINTS} are needed")
    of_point = _deviations(sampled, outcome)
    if not np.ptp(of_point) > 1e-9:  # noqa: PLR2004 - of logarithms: rounding
        return _unknown("configurations don't differ")
    asked = sampled.drop_duplicates("point").set_index("point").loc[of_point.index]
    curves = {
        name: curve
        for name in PARAMETERS
        if (curve := _curve(values_of(asked, name).to_numpy(float))).size
    }
    formula = " + ".join(["deviation ~ 1", *curves])
    model = smf.ols(formula, {"deviation": of_point.to_numpy(float), **curves})
    if np.linalg.matrix_rank(model.exog) < model.exog.shape[1]:
        return _unknown("hyperparameters can't be told apart in this design")
    table = anova_lm(model.fit(), typ=2)
    rest = table.loc["Residual"]
    noise = max(rest["sum_sq"] / rest["df"], LEAST_NOISE * float(of_point.var()))
    signal = {
        name: table.loc[name, "sum_sq"] / noise - table.loc[name, "df"] for name in curves
    }  # noncentralities
    found = []
    for name in PARAMETERS:
        if name not in curves:
            found.append(Importance(name, None, note=ONE_VALUE))
            continue
        others = sum(max(0.0, value) for other, value in signal.items() if other != name)
        df = table.loc[name, "df"]
        bounds = _noncentrality(table.loc[name, "sum_sq"] / df / noise, df, rest["df"])
        lower, share, upper = (
            value / (value + others + n_points)
            for value in (bounds[0], max(0.0, signal[name]), bounds[1])
        )
        found.append(Importance(name, float(share), float(lower), float(upper)))
    return found


def _unknown(why: str) -> list[Importance]:
    return [Importance(name, None, note=why) for name in PARAMETERS]


def _noncentrality(f: float, df: float, df_rest: float) -> tuple[float, float]:
    """The interval of the noncentrality of an F value: where it would lie at either end of what is likely."""
    from scipy.optimize import brentq
    from scipy.special import ncfdtr

    def at(quantile: float) -> float:
        if ncfdtr(df, df_rest, 0.0, f) < quantile:
            return 0.0
        high = 1.0
        while ncfdtr(df, df_rest, high, f) > quantile:
            high *= 2
        return float(brentq(lambda value: ncfdtr(df, df_rest, value, f) - quantile, 0.0, high))

    tail = (1 - CONFIDENCE) / 2
    return at(1 - tail), at(tail)


def _deviations(sampled: pd.DataFrame, outcome: str) -> pd.Series:
    """Each configuration's mean logarithm, next to levels of what it was measured on: least squares, in turns."""
    y: pd.Series = sampled[outcome].astype(float).map(math.log)
    point = sampled["point"]
    level = [sampled[name] for name in ("group", "use_case", "prompt")]
    of_point = y * 0
    for _ in range(100):
        rest = y - (y - of_point).groupby(level).transform("mean")
        before, of_point = of_point, rest.groupby(point).transform("mean")
        if float((of_point - before).abs().max()) < 1e-6:  # noqa: PLR2004 - a millionth of an answer's energy
            break
    found: pd.Series = of_point.groupby(point).first()
    return found


def _curve(values: Any) -> Any:
    """Polynomials of the ranks, without the constant, orthonormal over the configurations; as few as the values are."""
    import numpy as np
    from scipy.stats import rankdata

    degree = min(2 if len(values) < MANY_POINTS else 3, len(np.unique(values)) - 1)
    ranks = rankdata(values) / len(values) - 0.5
    orthonormal, _ = np.linalg.qr(np.vander(ranks, degree + 1, increasing=True))
    return orthonormal[:, 1:] * len(values) ** 0.5
