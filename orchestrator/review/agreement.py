"""Agreement of two raters beyond chance: Cohen's kappa.

Cohen, Educational and Psychological Measurement 20, 1960.
statsmodels computes it, with the large-sample interval of 95 % of Fleiss, Cohen and Everitt
(Psychological Bulletin 72, 1969), which is too narrow for a few dozen texts. What statsmodels
answers with a warning or NaN (no pairs, one label, no variance) is told here as null with a reason.
The figure doesn't know whether the raters saw each other's labels.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import chain

from orchestrator.nouns import Noun

NO_WIDTH = 1e-12
"""A variance below this is 0, except for rounding."""


class Agreement(Noun):
    """How two raters agree. Undefined figures are null, and `reason` says why."""

    n: int
    """The number of texts that both rated."""
    observed: float | None
    """The share of these texts on which they agree, from 0 to 1."""
    kappa: float | None
    """1: they always agree; 0: as often as by chance; below 0: less often than by chance."""
    low: float | None
    high: float | None
    """The 95 % interval of kappa is `low` to `high`."""
    reason: str = ""


def cohen_kappa(pairs: Iterable[tuple[Hashable, Hashable]]) -> Agreement:
    """Cohen's kappa of two raters' labels; each pair is what the two said of one text."""
    import numpy as np
    from statsmodels.stats.inter_rater import cohens_kappa

    rated = list(pairs)
    n = len(rated)
    if not rated:
        reason = "no text that both rated"
        return Agreement(n=0, observed=None, kappa=None, low=None, high=None, reason=reason)
    observed = sum(first == second for first, second in rated) / n
    labels = list(dict.fromkeys(chain.from_iterable(rated)))
    if len(labels) == 1:
        reason = "both gave all texts one and the same label: chance explains it all"
        return Agreement(n=n, observed=observed, kappa=None, low=None, high=None, reason=reason)
    row_of = {label: row for row, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)))
    for first, second in rated:
        table[row_of[first], row_of[second]] += 1
    # a variance of 0 may come out below 0 by rounding, and its root is taken all the same
    with np.errstate(divide="ignore", invalid="ignore"):
        result = cohens_kappa(table)
    kappa = float(result.kappa)
    if result.var_kappa < NO_WIDTH:
        reason = "no interval: its formula gives none of any width here (as where all agree)"
        return Agreement(n=n, observed=observed, kappa=kappa, low=None, high=None, reason=reason)
    return Agreement(
        n=n,
        observed=observed,
        kappa=kappa,
        low=max(-1.0, float(result.kappa_low)),
        high=min(1.0, float(result.kappa_upp)),
    )
