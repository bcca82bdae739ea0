"""Evenly spaced levels on every axis: what the report calls a uniform grid search."""

from __future__ import annotations

import itertools
from typing import Any


def levels(count: int, dimensions: int) -> list[int]:
    """Levels per axis of the largest near-cubic grid of at most `count` points; earlier axes get the extra level."""
    side = 1
    while (side + 1) ** dimensions <= count:
        side += 1
    result = [side] * dimensions
    for axis in range(dimensions):
        larger = [*result[:axis], side + 1, *result[axis + 1 :]]
        size = 1
        for n in larger:
            size *= n
        if size > count:
            break
        result = larger
    return result


def design(count: int, dimensions: int, _seed: int, options: Any) -> list[list[float]]:
    """The whole grid; it may have fewer points than `count`, and the seed changes nothing.

    Levels stand at the midpoints of equal cells by default: at the end points temperature, top_p and top_k are
    degenerate (greedy or off), and a coarse grid would be mostly such points.
    """
    axes = []
    for n in levels(count, dimensions):
        if options.levels_at == "midpoints" or n == 1:
            axes.append([(i + 0.5) / n for i in range(n)])
        else:
            axes.append([i / (n - 1) for i in range(n)])
    return [list(point) for point in itertools.product(*axes)]
