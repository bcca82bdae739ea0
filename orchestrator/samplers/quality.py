"""How well a design fills its space, and how many of its points differ in what really runs."""

from __future__ import annotations

from orchestrator.nouns import PARAMETERS, Configuration, Noun, Space, resolve


class DesignQuality(Noun):
    """Printed with the plan and stored in the sweep's file."""

    points: int
    effective: int
    """Configurations that differ after limits and dormant parameters are resolved."""
    discrepancy: float | None
    """Centered L2 discrepancy in the unit cube (scipy.stats.qmc.discrepancy), 0 is best; null for one point."""
    coverage: dict[str, float]
    """Per axis, the share of equal strata (as many as points, or as values of an integer axis) that hold a point: 1 for a
    Latin hypercube on a real axis; on an integer one rounding to whole values moves some points next door."""

    def line(self) -> str:
        """One line for a person."""
        discrepancy = "n/a" if self.discrepancy is None else f"{self.discrepancy:.4f}"
        axes = " ".join(f"{name} {share:.0%}" for name, share in self.coverage.items()) or "n/a"
        return f"discrepancy {discrepancy}, coverage {axes}; {self.effective} of {self.points} effectively different"


def quality(space: Space, design: list[Configuration], context_length: int | None) -> DesignQuality:
    """Measure a design. Prompt length and memory are not known yet, so only the context bounds max_length here."""
    from scipy.stats import qmc

    varied = [
        name for name in PARAMETERS if space.parameters[name].low < space.parameters[name].high
    ]
    points = [
        [space.parameters[name].position(getattr(asked, name)) for name in varied]
        for asked in design
    ]
    n = len(points)
    coverage = {}
    for i, name in enumerate(varied):
        axis = space.parameters[name]
        strata = min(n, int(axis.high - axis.low) + 1) if axis.type == "int" else n
        coverage[name] = len({min(strata - 1, int(point[i] * strata)) for point in points}) / strata
    return DesignQuality(
        points=n,
        effective=len({resolve(asked, context_length=context_length).key() for asked in design}),
        discrepancy=float(qmc.discrepancy(points)) if n > 1 and varied else None,
        coverage=coverage,
    )
