"""Agreement of two raters beyond chance: Cohen's kappa (Educational and Psychological Measurement 20, 1960).

Its 95 % interval is the large-sample one of Fleiss, Cohen and Everitt (Psychological Bulletin 72, 1969): too narrow for a few
dozen texts. It doesn't know whether the raters saw each other's labels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable

from orchestrator.nouns import Noun

Z_95 = 1.959963984540054
NO_WIDTH = 1e-12
"""A variance below it is 0 but for rounding."""


class Agreement(Noun):
    """How two raters agree; what is undefined is null, and `reason` says why."""

    n: int
    """Texts that both rated."""
    observed: float | None
    """Share on which they agree."""
    kappa: float | None
    """1: always, 0: as often as chance would have it, below: less often."""
    low: float | None
    high: float | None
    reason: str = ""


def cohen_kappa(pairs: Iterable[tuple[Hashable, Hashable]]) -> Agreement:
    """Kappa of two raters' labels, a pair a text."""
    cells = Counter(pairs)
    n = cells.total()
    if not n:
        return Agreement(
            n=0, observed=None, kappa=None, low=None, high=None, reason="no text that both rated"
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
        reason = "both gave all texts one and the same label: chance explains it all"
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
        reason = "no interval: its formula gives none of any width here (as where all agree)"
        return Agreement(n=n, observed=observed, kappa=kappa, low=None, high=None, reason=reason)
    half = Z_95 * math.sqrt(variance)
    return Agreement(
        n=n,
        observed=observed,
        kappa=kappa,
        low=max(-1.0, kappa - half),
        high=min(1.0, kappa + half),
    )
