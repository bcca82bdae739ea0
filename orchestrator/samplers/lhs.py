"""Latin hypercube sampling (McKay, Beckman, Conover 1979), by scipy."""

from __future__ import annotations

from typing import Any

MOST_OPTIMIZED = 5000
"""Designs with more points can't be optimized.

For 20,000 points, random-cd takes minutes and lloyd takes gigabytes."""


def design(count: int, dimensions: int, seed: int, options: Any) -> list[list[float]]:
    """A Latin hypercube of exactly `count` points in the unit cube.

    Each axis is divided into `count` equal strata, and each stratum has one point. So a design
    can't be extended by more points: its strata depend on the count. Raises ValueError for a count
    that is impossible with strength 2 or with an optimization.
    """
    import numpy as np
    from scipy.stats import qmc

    if options.optimization == "lloyd" and count <= dimensions:
        msg = f"lloyd needs more points than the {dimensions} axes"
        raise ValueError(msg)
    if options.optimization is not None and count > MOST_OPTIMIZED:
        msg = (
            f"optimization {options.optimization} is for at most {MOST_OPTIMIZED:,} points; "
            "set it to null"
        )
        raise ValueError(msg)
    sampler = qmc.LatinHypercube(
        d=dimensions,
        scramble=options.scramble,
        strength=options.strength,
        optimization=options.optimization,
        rng=np.random.default_rng(seed),
    )
    try:
        rows: list[list[float]] = sampler.random(count).tolist()
    except ValueError as error:
        if options.strength == 1:
            raise
        msg = (
            "strength 2 needs the square of a prime that is no less than "
            f"{dimensions - 1}: 9, 25, 49, 121, 169, ..."
        )
        raise ValueError(msg) from error
    return rows
