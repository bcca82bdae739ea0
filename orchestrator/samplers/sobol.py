"""The Sobol' sequence (Sobol' 1967) with Owen scrambling, by scipy."""

from __future__ import annotations

import warnings
from typing import Any


def design(count: int, dimensions: int, seed: int, options: Any) -> list[list[float]]:
    """The first `count` points of the sequence in the unit cube.

    A larger count continues the sequence. It is balanced best where the count is a power of two.
    """
    import numpy as np
    from scipy.stats import qmc

    with warnings.catch_warnings():
        # scipy warns where the count isn't a power of two, but any count is a valid start.
        warnings.filterwarnings("ignore", message="The balance properties", category=UserWarning)
        rng = np.random.default_rng(seed)
        sampler = qmc.Sobol(d=dimensions, scramble=options.scramble, rng=rng)
        rows: list[list[float]] = sampler.random(count).tolist()
    return rows
