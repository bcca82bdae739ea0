"""How well a design fills its space, and how many of its configurations really differ."""

from __future__ import annotations

from orchestrator.nouns import PARAMETERS, Configuration, Count, Noun, Real, Space, effective_of


class DesignQuality(Noun):
    """The quality of a design, as the plan prints it and the sweep's file stores it."""

    points: Count
    """The number of configurations."""
    effective: Count
    """The number of different configurations once limits and dormant parameters are resolved."""
    discrepancy: Real | None
    """The centered L2 discrepancy in the unit cube (Hickernell 1998), squared; 0 is best.

    Null for one point, or if no axis varies."""
    coverage: dict[str, Real]
    """Axis -> the share of its equal strata that have a point.

    There are as many strata as points, or as values if an integer axis has fewer. A Latin
    hypercube has 1 on a real axis, and less on an integer axis, where rounding to whole values
    moves some points into the next stratum."""

    def line(self) -> str:
        """One line for a person."""
        discrepancy = "n/a"
        if self.discrepancy is not None:
            discrepancy = f"{self.discrepancy:.4f}"
        axes = " ".join(f"{name} {share:.0%}" for name, share in self.coverage.items()) or "n/a"
        return (
            f"discrepancy {discrepancy}, coverage {axes}; "
            f"{self.effective} of {self.points} effectively different"
        )


def quality(space: Space, design: list[Configuration], context_length: int | None) -> DesignQuality:
    """The quality of a design.

    The prompts' lengths and the memory are not known yet, so only the model's context length
    limits max_length here.
    """
    varied = [
        name for name in PARAMETERS if space.parameters[name].low < space.parameters[name].high
    ]
    n = len(design)
    # Axis -> the position of each configuration on it, from 0 to 1.
    positions = {}
    coverage = {}
    for name in varied:
        axis = space.parameters[name]
        positions[name] = [axis.position(getattr(requested, name)) for requested in design]
        n_strata = n
        if axis.type == "int":
            n_strata = min(n, int(axis.high - axis.low) + 1)
        # A position of 1 belongs to the last stratum.
        filled = {min(n_strata - 1, int(position * n_strata)) for position in positions[name]}
        coverage[name] = len(filled) / n_strata
    discrepancy = None
    if n > 1 and varied:
        discrepancy = centered_discrepancy(list(positions.values()))
    effective = {
        effective_of(requested, context_length=context_length).key() for requested in design
    }
    return DesignQuality(
        points=n,
        effective=len(effective),
        discrepancy=discrepancy,
        coverage=coverage,
    )


def centered_discrepancy(axes: list[list[float]]) -> float:
    """The squared centered L2 discrepancy of points (Hickernell 1998), for positions in [0, 1].

    `axes`: of each axis the position of each point on it. What scipy.stats.qmc.discrepancy gives
    (held by a test), without scipy.stats, whose import takes longer than all else of `plan`.
    """
    import numpy as np

    x = np.array(axes)
    n_axes, n = x.shape
    half = np.abs(x - 0.5) / 2
    of_points = np.prod(1 + half - 2 * half**2, axis=0).sum()
    of_pairs = 0.0
    # row by row: all pairs at once would take gigabytes for 10,000 points. A pair counts twice,
    # a point with itself once
    for i in range(n):
        distances = np.abs(x[:, i:] - x[:, i, np.newaxis]) / 2
        products = np.prod(1 + half[:, i:] + half[:, i, np.newaxis] - distances, axis=0)
        of_pairs += 2 * products.sum() - products[0]
    return float((13 / 12) ** n_axes - 2 / n * of_points + of_pairs / n**2)
