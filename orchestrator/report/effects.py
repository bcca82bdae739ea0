"""The effect of each hyperparameter on an answer's energy: overall, and at equal length.

It is estimated by a linear model of the logarithm of an execution's energy on the four
hyperparameters, by least squares (statsmodels). Each group (machine, model, quantization) and
each use case has a level of its own. Executions of one configuration share its deviations, so
standard errors are clustered by configuration (Liang & Zeger 1986), with the small-sample
correction and the t distribution with clusters - 1 degrees of freedom (Cameron & Miller 2015,
section VI).

A hyperparameter that makes the text longer costs energy for this reason alone. With `adjusted`,
the model also has the logarithm of the new tokens, its square (energy is about a + b * tokens,
which is no power of the length) and the prompt's tokens: what remains is the effect at equal
length.

top_p, top_k and temperature do nothing in greedy executions: there they are set to their mean,
and greedy executions have a level of their own. top_k = 0 means that top_k is off: it counts as
larger than the largest value, not as smaller than the smallest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.nouns import DOMAIN, PARAMETERS

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
LEAST_POINTS = 10
"""With fewer configurations than this, four effects and their errors can't be separated."""


@dataclass(frozen=True)
class Effect:
    """The change of an answer's energy from a hyperparameter's lowest to its highest value."""

    parameter: str
    adjusted: bool
    """Whether this is the effect at equal length of the text."""
    low: float
    high: float
    percent: float | None
    """None where it is unknown; `note` says why."""
    lower: float | None
    upper: float | None
    """The 95 % interval is `lower` to `upper`; both are None where it is unknown."""
    note: str = ""

    @property
    def known(self) -> tuple[float, float, float] | None:
        """(percent, lower, upper); None where the effect is unknown."""
        if self.percent is None or self.lower is None or self.upper is None:
            return None
        return self.percent, self.lower, self.upper

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0, so that chance alone hardly explains the effect."""
        if self.known is None:
            return False
        _, lower, upper = self.known
        return lower > 0 or upper < 0


def effects(kept: pd.DataFrame, *, adjusted: bool) -> list[Effect]:
    """The effect of each hyperparameter, from the executions in execution_frame.Data.kept.

    `adjusted`: at equal length of the text. The order is that of PARAMETERS. An effect that can't
    be estimated has None and a note.
    """
    import numpy as np
    import statsmodels.api as sm

    axes = {name: _axis(kept, name) for name in PARAMETERS}
    n_points = kept["point"].nunique() if len(kept) else 0
    if n_points < LEAST_POINTS:
        why = f"{n_points} configurations are too few: {LEAST_POINTS} are needed"
        return [_unknown(kept, name, why, adjusted=adjusted) for name in PARAMETERS]
    varied = [name for name, axis in axes.items() if axis is not None]
    design = _design(kept, {name: axes[name] for name in varied}, adjusted=adjusted)
    _, clusters = np.unique(kept["point"].to_numpy(), return_inverse=True)
    fit = sm.OLS(np.log(kept["counted_energy_j"].to_numpy(float)), design.to_numpy(float)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": True}, use_t=True
    )
    intervals = fit.conf_int(1 - CONFIDENCE)
    effects = []
    for name in PARAMETERS:
        if name not in varied:
            effects.append(_unknown(kept, name, "it has one value only", adjusted=adjusted))
            continue
        at = design.columns.get_loc(name)
        beta, (lower, upper) = fit.params[at], intervals[at]
        if not np.isfinite([beta, lower, upper]).all():
            effects.append(
                _unknown(
                    kept,
                    name,
                    "its effect can't be separated from the others' in this design",
                    adjusted=adjusted,
                )
            )
            continue
        low, high = _range(kept, name)
        percent, lower, upper = (
            100 * math.expm1(min(value, 50.0)) for value in (beta, lower, upper)
        )
        effects.append(Effect(name, adjusted, low, high, percent, lower, upper))
    return effects


def values_of(kept: pd.DataFrame, name: str) -> pd.Series:
    """A hyperparameter's values, with a top_k that is off (0) above all others."""
    values = kept[name].astype(float)
    return values.where(values > 0, DOMAIN["top_k"][1] + 1) if name == "top_k" else values


def _range(kept: pd.DataFrame, name: str) -> tuple[float, float]:
    """The least and the largest value of a parameter; its domain where no row is left."""
    return (float(kept[name].min()), float(kept[name].max())) if len(kept) else DOMAIN[name]


def _axis(kept: pd.DataFrame, name: str) -> pd.Series | None:
    """A hyperparameter scaled from 0 (its lowest value) to 1 (its highest).

    It is at its mean where it does nothing. None where it has only one value.
    """
    values = values_of(kept, name)
    if name != "max_length":
        values = values.where(kept["effective_do_sample"].astype(bool))
    low, high = values.min(), values.max()
    if not high > low:
        return None
    scaled: pd.Series = (values - low) / (high - low)
    filled: pd.Series = scaled.fillna(scaled.mean())
    return filled


def _design(
    kept: pd.DataFrame, axes: dict[str, pd.Series | None], *, adjusted: bool
) -> pd.DataFrame:
    """The model's columns: first the axes, then what is held fixed.

    Columns that are combinations of earlier ones are left out.
    """
    import numpy as np
    import pandas as pd

    # No statsmodels formula: which of several dependent columns stays is decided by their order,
    # the axes first, but one of statsmodels' two formula engines (patsy) puts categories first.
    # The dependent columns would have to be found here all the same (greedy where nothing is).
    parts = [pd.DataFrame(axes)]
    if adjusted:
        length = np.log(kept["n_new_tokens"].astype(float))
        length = length - length.mean()
        parts.append(
            pd.DataFrame(
                {
                    "length": length,
                    "length2": length**2,
                    "prompt": kept["n_prompt_tokens"].astype(float),
                }
            )
        )
    greedy = ~kept["effective_do_sample"].astype(bool)
    parts.append(pd.DataFrame({"greedy": greedy.astype(float)}))
    parts.append(pd.get_dummies(kept["group"], prefix="group", dtype=float))
    parts.append(pd.get_dummies(kept["use_case"], prefix="use_case", dtype=float).iloc[:, 1:])
    design = pd.concat(parts, axis=1)
    return design[_independent(design)]


def _independent(design: pd.DataFrame) -> list[str]:
    """The columns that are not linear combinations of the columns before them."""
    import numpy as np

    names: list[str] = []
    basis = np.empty((len(design), 0))
    for name in design.columns:
        column = design[name].to_numpy(float)
        rest = column - basis @ (basis.T @ column)
        norm = float(np.linalg.norm(rest))
        if norm > 1e-8 * max(1.0, float(np.linalg.norm(column))):
            names.append(name)
            basis = np.column_stack([basis, rest / norm])
    return names


def _unknown(kept: pd.DataFrame, name: str, why: str, *, adjusted: bool) -> Effect:
    """An effect that can't be estimated, with the reason."""
    return Effect(
        name, adjusted, *_range(kept, name), percent=None, lower=None, upper=None, note=why
    )
