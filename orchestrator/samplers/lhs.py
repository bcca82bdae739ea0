"""Latin hypercube sampling (McKay, Beckman, Conover 1979), by scipy or the same points by numpy.

scipy.stats takes 0.6 s to import, more than all else of `plan`; so the plain design, which is the
default, is drawn here, as scipy.stats.qmc.LatinHypercube draws it (held by a test).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

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

    rng = np.random.default_rng(seed)
    if options.optimization == "lloyd" and count <= dimensions:
        msg = f"lloyd needs more points than the {dimensions} axes"
        raise ValueError(msg)
    if options.optimization is not None and count > MOST_OPTIMIZED:
        msg = (
            f"optimization {options.optimization} is for at most {MOST_OPTIMIZED:,} points; "
            "set it to null"
        )
        raise ValueError(msg)
    if options.strength == 1 and options.optimization is None:
        return _plain(count, dimensions, rng.spawn(1)[0], scramble=options.scramble)
    from scipy.stats import qmc

    sampler = qmc.LatinHypercube(
        d=dimensions,
        scramble=options.scramble,
        strength=options.strength,
        optimization=options.optimization,
        rng=rng,
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


def _plain(
    count: int, dimensions: int, rng: np.random.Generator, *, scramble: bool
) -> list[list[float]]:
    """A design without more than the Latin property: each axis is its strata in a random order.

    `scramble`: a point stands anywhere in its stratum, else in the middle of it.
    """
    import numpy as np

    within: np.ndarray | float = 0.5
    if scramble:
        within = rng.uniform(size=(count, dimensions))
    strata = np.tile(np.arange(1, count + 1), (dimensions, 1))
    for axis in strata:
        rng.shuffle(axis)
    rows: list[list[float]] = ((strata.T - within) / count).tolist()
    return rows
