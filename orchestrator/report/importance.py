"""How much of the variance between configurations each hyperparameter explains: of an answer's energy, and of its J/token.

The functional ANOVA of Hutter et al. (2014, "An efficient approach for assessing hyperparameter importance", ICML) with a curve
of each hyperparameter in place of their forest: first-order Sobol' indices from the coefficients of orthonormal polynomials
(Sudret 2008, doi:10.1016/j.ress.2007.04.002), fitted together by least squares, each less what chance adds to it. A forest
learns little from the tens of configurations that a sweep has. Estimators from given data that look at one hyperparameter at a
time (Plischke et al. 2013, doi:10.1016/j.ejor.2012.11.047; Borgonovo 2007; in SALib) take the variance of all others for noise:
around the 0 of a hyperparameter that does nothing they scatter several times as far.

One value a configuration: its mean logarithm, after the level of each machine, model, quantization, use case and prompt is taken
out (both fitted together, so that unequal numbers of executions are no effect). Polynomials are of the values' ranks, so an
axis' scale doesn't matter. Greedy configurations are left out: only sampled ones tell of top_p, top_k and temperature.

Intervals: a wild bootstrap over configurations (Davidson & Flachaire 2008, doi:10.1016/j.jeconom.2008.08.003; residuals over
1 - leverage), which keeps the design as the hypercube made it and lets the noise differ along it. The dummy is a further
hyperparameter with shuffled values, in the same fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.nouns import PARAMETERS
from orchestrator.report.effects import CONFIDENCE, values_of

if TYPE_CHECKING:
    import pandas as pd

LEAST_POINTS = 20
"""Sampled configurations below which four curves can't be told apart."""
MANY_POINTS = 60
"""From here on a curve may be of third degree; below, of second."""
N_RESAMPLES = 1_000
N_DUMMIES = 200
SEED = 0
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
    dummy: float | None = None
    """What 95 % of shuffled hyperparameters stay below."""
    note: str = ""

    @property
    def clear(self) -> bool:
        """Whether it explains more than shuffled values do, and its interval leaves 0 out."""
        return self.share is not None and self.lower is not None and self.share > (self.dummy or 0) and self.lower > 0


def importances(kept: pd.DataFrame, outcome: str) -> list[Importance]:
    """One of each hyperparameter for a column of joules, from executions that count (frame.Data.kept)."""
    import numpy as np

    sampled = kept[kept["effective_do_sample"].astype(bool)]
    n_points = sampled["point"].nunique()
    if n_points < LEAST_POINTS:
        why = f"{n_points} sampled configurations are too few: {LEAST_POINTS} are needed"
        return [Importance(name, None, note=why) for name in PARAMETERS]
    of_point = _deviations(sampled, outcome)
    asked = sampled.drop_duplicates("point").set_index("point").loc[of_point.index]
    curves = [_curve(values_of(asked, name).to_numpy(float)) for name in PARAMETERS]
    fit, y = _Fit(curves), of_point.to_numpy(float)
    if not fit.full or not np.ptp(y) > 1e-9:  # noqa: PLR2004 - of logarithms: rounding
        why = "configurations don't differ" if fit.full else "hyperparameters can't be told apart in this design"
        return [Importance(name, None, note=why) for name in PARAMETERS]
    rng = np.random.default_rng(SEED)
    shares = fit.shares(y[:, None])[:, 0]
    resampled = fit.shares(fit.resampled(y, rng.choice([-1.0, 1.0], size=(len(y), N_RESAMPLES))))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled - resampled.mean(axis=1, keepdims=True), [tail, 1 - tail], axis=1)
    widest = max(curves, key=lambda curve: curve.shape[1])
    dummies = [_Fit([*curves, rng.permutation(widest)]).shares(y[:, None])[-1, 0] for _ in range(N_DUMMIES)]
    dummy = max(0.0, float(np.quantile(dummies, CONFIDENCE)))
    figures = np.clip([shares, shares + low, shares + high], 0, 1).T.tolist()
    return [
        Importance(name, share, lower, upper, dummy) if curve.shape[1] else Importance(name, None, note=ONE_VALUE)
        for name, curve, (share, lower, upper) in zip(PARAMETERS, curves, figures, strict=True)
    ]


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


class _Fit:
    """Least squares of any number of outcomes on curves of one design."""

    def __init__(self, curves: list[Any]) -> None:
        import numpy as np

        n = len(curves[0])
        self._design = np.hstack([np.ones((n, 1)), *curves])
        normal = self._design.T @ self._design / n
        self._solve = np.linalg.pinv(normal, hermitian=True) @ self._design.T / n
        self.full = bool(np.linalg.matrix_rank(normal, tol=1e-9, hermitian=True) == len(normal))
        """Whether no curve is a combination of the others."""
        ends = 1 + np.cumsum([curve.shape[1] for curve in curves], dtype=int)
        self._parts = [slice(end - curve.shape[1], end) for end, curve in zip(ends, curves, strict=True)]

    def shares(self, outcomes: Any) -> Any:
        """Of each curve (row) in each outcome (column): its variance less what noise adds to it, over the whole."""
        import numpy as np

        n, n_terms = self._design.shape
        beta = self._solve @ outcomes
        noise = ((outcomes - self._design @ beta) ** 2).sum(axis=0) / (n - n_terms)
        added = (self._solve**2).sum(axis=1)
        explained = np.array([(beta[part] ** 2).sum(axis=0) - added[part].sum() * noise for part in self._parts])
        return explained / (explained.sum(axis=0) + noise)

    def resampled(self, outcome: Any, signs: Any) -> Any:
        """Outcomes like this one: what was fitted, and residuals of other sign."""
        import numpy as np

        fitted = self._design @ (self._solve @ outcome)
        leverage = (self._design * self._solve.T).sum(axis=1)
        residual = (outcome - fitted) / np.maximum(1 - leverage, 1e-3)
        return fitted[:, None] + residual[:, None] * signs
