"""The Sobol' sequence (Sobol' 1967, Owen scrambling) by scipy."""

from __future__ import annotations

import warnings
from typing import Any


def design(count: int, dimensions: int, seed: int, options: Any) -> list[list[float]]:
    """The first `count` points of the sequence; more points later continue it. Best balanced at powers of two."""
    import numpy as np
    from scipy.stats import qmc

    with warnings.catch_warnings():
        # scipy warns where the count is no power of two; any count is a valid start of the sequence
        warnings.filterwarnings("ignore", message="The balance properties", category=UserWarning)
        points = qmc.Sobol(
            d=dimensions, scramble=options.scramble, rng=np.random.default_rng(seed)
        ).random(count)
    rows: list[list[float]] = points.tolist()
    return rows
