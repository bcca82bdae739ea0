"""Latin hypercube sampling (McKay, Beckman, Conover 1979) by scipy."""

from __future__ import annotations

from typing import Any


def design(count: int, dimensions: int, seed: int, options: Any) -> list[list[float]]:
    """A Latin hypercube of exactly `count` points: each axis has one point in each of `count` strata.

    Not extensible: the strata depend on the count. Raises ValueError for a count that strength 2 or lloyd can't have.
    """
    import numpy as np
    from scipy.stats import qmc

    if options.optimization == "lloyd" and count <= dimensions:
        msg = f"lloyd needs more points than the {dimensions} axes"
        raise ValueError(msg)
    sampler = qmc.LatinHypercube(
        d=dimensions,
        scramble=options.scramble,
        strength=options.strength,
        optimization=options.optimization,
        rng=np.random.default_rng(seed),
    )
    rows: list[list[float]] = sampler.random(count).tolist()
    if len(rows) != count:
        msg = f"strength {options.strength} gives {len(rows)} points; ask for the square of a prime"
        raise ValueError(msg)
    return rows
