"""How much of the variance between configurations each hyperparameter explains.

It is computed for an answer's energy and for its J/token, by a functional analysis of variance
(Hutter et al. 2014, "An efficient approach for assessing hyperparameter importance", ICML) with
statsmodels. In place of their forest, which learns little from the tens of configurations that a
sweep has, stands a polynomial of each hyperparameter. Sums of squares are of type II. A share is
the omega squared of Hays (1963): what a hyperparameter explains beyond chance, over the whole.
Its interval is that of the noncentral F distribution (Steiger 2004,
doi:10.1037/1082-989X.9.2.164), with the other hyperparameters' shares held at their estimates.

Each configuration has one value: its mean logarithm, after the levels of machine, model,
quantization, use case and prompt are taken out. Levels and means are fitted together, so that
unequal numbers of executions don't look like an effect. The polynomials are of the values' ranks,
so the scale of an axis doesn't matter. Greedy configurations are left out, since top_p, top_k and
temperature do nothing in them.
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
"""With fewer sampled configurations than this, four curves can't be separated."""
MANY_POINTS = 60
"""With at least this many configurations, a curve may be of third degree, else of second."""
LEAST_NOISE = 1e-6
"""The least noise that is assumed, as a share of the variance between configurations.

With less, the intervals can't be computed, and would only say that the share is 1."""
LEAST_SPREAD = 1e-9
"""Logarithms whose range is below this differ by rounding only."""
CONVERGED = 1e-6
"""The levels are fitted once no configuration's mean logarithm changes by this much."""
ONE_VALUE = "it has one value only"


@dataclass(frozen=True)
class Importance:
    """A hyperparameter's share of the variance between configurations, from 0 to 1."""

    parameter: str
    share: float | None
    """None where it is unknown; `note` says why."""
    lower: float | None = None
    upper: float | None = None
    """The 95 % interval is `lower` to `upper`; both are None where it is unknown."""
    note: str = ""

    @property
    def known(self) -> tuple[float, float, float] | None:
        """(share, lower, upper); None where the share is unknown."""
        if self.share is None or self.lower is None or self.upper is None:
            return None
        return self.share, self.lower, self.upper

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.lower is not None and self.lower > 0


def importances(kept: pd.DataFrame, column: str) -> list[Importance]:
    """The importance of each hyperparameter for `column`, a column of joules.

    `kept` are the executions in execution_frame.Data.kept.
    """
    import numpy as np
    import statsmodels.formula.api as smf
    from statsmodels.stats.anova import anova_lm

    sampled = kept[kept["effective_do_sample"].astype(bool)]
    n_points = sampled["point"].nunique()
    if n_points < LEAST_POINTS:
        return _unknown(f"{n_points} sampled configurations are too few: {LEAST_POINTS} are needed")
    of_point = _deviations(sampled, column)
    if not np.ptp(of_point) > LEAST_SPREAD:
        return _unknown("configurations don't differ")
    values = sampled.drop_duplicates("point").set_index("point").loc[of_point.index]
    curves = {}
    for name in PARAMETERS:
        curve = _curve(values_of(values, name).to_numpy(float))
        if curve.size:
            curves[name] = curve
    formula = " + ".join(["deviation ~ 1", *curves])
    model = smf.ols(formula, {"deviation": of_point.to_numpy(float), **curves})
    # Where two curves coincide, least squares would divide one effect between them arbitrarily.
    if np.linalg.matrix_rank(model.exog) < model.exog.shape[1]:
        return _unknown("hyperparameters can't be told apart in this design")
    table = anova_lm(model.fit(), typ=2)
    residual = table.loc["Residual"]
    least_noise = LEAST_NOISE * float(of_point.var())
    noise = max(residual["sum_sq"] / residual["df"], least_noise)
    # The estimated noncentrality: the sum of squares in units of the noise, less what chance adds.
    signals = {name: table.loc[name, "sum_sq"] / noise - table.loc[name, "df"] for name in curves}
    importances_ = []
    for name in PARAMETERS:
        if name not in curves:
            importances_.append(Importance(name, None, note=ONE_VALUE))
            continue
        others = sum(max(0.0, signals[other]) for other in curves if other != name)
        df = table.loc[name, "df"]
        f = table.loc[name, "sum_sq"] / df / noise
        low, high = _noncentrality(f, df, residual["df"])
        importances_.append(
            Importance(
                name,
                _share(max(0.0, signals[name]), others, n_points),
                _share(low, others, n_points),
                _share(high, others, n_points),
            )
        )
    return importances_


def _share(signal: float, others: float, n_points: int) -> float:
    """A share of the variance, from noncentralities; the noise of each configuration counts 1."""
    return float(signal / (signal + others + n_points))


def _unknown(why: str) -> list[Importance]:
    """Importances that can't be estimated, each with the reason."""
    return [Importance(name, None, note=why) for name in PARAMETERS]


def _noncentrality(f: float, df: float, df_rest: float) -> tuple[float, float]:
    """The 95 % interval of the noncentrality of an F value.

    `df` and `df_rest` are its degrees of freedom. The bounds are the two noncentralities for
    which `f` lies at either end of what is likely.
    """
    from scipy.optimize import brentq
    from scipy.special import ncfdtr

    def at(quantile: float) -> float:
        """The noncentrality at which F has this quantile; 0 where even 0 is too large."""
        if ncfdtr(df, df_rest, 0.0, f) < quantile:
            return 0.0
        high = 1.0
        # Double the upper bound until the root lies between 0 and it.
        while ncfdtr(df, df_rest, high, f) > quantile:
            high *= 2
        return float(brentq(lambda value: ncfdtr(df, df_rest, value, f) - quantile, 0.0, high))

    tail = (1 - CONFIDENCE) / 2
    return at(1 - tail), at(tail)


def _deviations(sampled: pd.DataFrame, column: str) -> pd.Series:
    """Each configuration's mean logarithm of `column`, beside the levels of its circumstances.

    The circumstances are group, use case and prompt. Levels and means are fitted in turns until
    they don't change any more, which gives their joint least squares.
    """
    y: pd.Series = sampled[column].astype(float).map(math.log)
    point = sampled["point"]
    level = [sampled[name] for name in ("group", "use_case", "prompt_number")]
    of_point = y * 0
    for _ in range(100):
        rest = y - (y - of_point).groupby(level).transform("mean")
        before, of_point = of_point, rest.groupby(point).transform("mean")
        if float((of_point - before).abs().max()) < CONVERGED:
            break
    deviations: pd.Series = of_point.groupby(point).first()
    return deviations


def _curve(values: Any) -> Any:
    """Polynomials of the values' ranks, without the constant, orthonormal over configurations.

    Its shape is (values, degree). The degree is below the number of different values, and so 0
    where there is only one.
    """
    import numpy as np
    from scipy.stats import rankdata

    highest = 2 if len(values) < MANY_POINTS else 3
    degree = min(highest, len(np.unique(values)) - 1)
    # QR makes the columns orthonormal, which keeps high powers from being nearly collinear.
    ranks = rankdata(values) / len(values) - 0.5
    orthonormal, _ = np.linalg.qr(np.vander(ranks, degree + 1, increasing=True))
    return orthonormal[:, 1:] * len(values) ** 0.5
