"""Cohen's kappa: the agreement of two raters beyond chance.

It is defined in Educational and Psychological Measurement 20, 1960. The 95 % interval is that of
Fleiss, Cohen and Everitt for large samples (Psychological Bulletin 72, 1969), which is too narrow
for a few dozen texts. Kappa can't tell whether the raters saw each other's labels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable

from orchestrator.nouns import Noun

Z_95 = 1.959963984540054
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
    """Kappa of two raters, from one pair of labels (first rater, second rater) for each text."""
    cells = Counter(pairs)
    n = cells.total()
    if not n:
        return Agreement(
            n=0, observed=None, kappa=None, low=None, high=None, reason="no text was rated by both"
        )
    share = {pair: count / n for pair, count in cells.items()}
    first: Counter[Hashable] = Counter()
    second: Counter[Hashable] = Counter()
    for (a, b), count in cells.items():
        first[a] += count
        second[b] += count
    agreed = sum(count for (a, b), count in cells.items() if a == b)
    by_chance = sum(first[label] * second[label] for label in first)
    observed = agreed / n
    if by_chance == n * n:
        reason = "both gave every text the same label, so chance explains their agreement"
        return Agreement(n=n, observed=observed, kappa=None, low=None, high=None, reason=reason)
    chance = by_chance / (n * n)
    kappa = (observed - chance) / (1 - chance)
    a = sum(
        p * (1 - (first[i] + second[i]) / n * (1 - kappa)) ** 2
        for (i, j), p in share.items()
        if i == j
    )
    b = (1 - kappa) ** 2 * sum(
        p * ((second[i] + first[j]) / n) ** 2 for (i, j), p in share.items() if i != j
    )
    variance = (a + b - (kappa - chance * (1 - kappa)) ** 2) / (n * (1 - chance) ** 2)
    if variance < NO_WIDTH:
        reason = (
            "no interval: its formula gives a width of 0 here, as where they agree on every text"
        )
        return Agreement(n=n, observed=observed, kappa=kappa, low=None, high=None, reason=reason)
    half = Z_95 * math.sqrt(variance)
    return Agreement(
        n=n,
        observed=observed,
        kappa=kappa,
        low=max(-1.0, kappa - half),
        high=min(1.0, kappa + half),
    )
