"""Grid search: evenly spaced levels on every axis, and each combination of them."""

from __future__ import annotations

import itertools
import math
from typing import Any


def levels(count: int, dimensions: int) -> list[int]:
    """The number of levels of each axis, for a grid of at most `count` points.

    All axes get as many levels as fit. Then, from the first axis on, each gets one level more
    where this still fits.
    """
    side = 1
    while (side + 1) ** dimensions <= count:
        side += 1
    result = [side] * dimensions
    for axis in range(dimensions):
        larger = [*result[:axis], side + 1, *result[axis + 1 :]]
        if math.prod(larger) > count:
            break
        result = larger
    return result


def design(count: int, dimensions: int, _seed: int, options: Any) -> list[list[float]]:
    """The points of the whole grid in the unit cube; there may be fewer than `count`.

    The seed changes nothing. By default, the levels of an axis are the midpoints of equal cells:
    at the end points temperature, top_p and top_k are degenerate (greedy or off), and most points
    of a coarse grid would be such.
    """
    at_midpoints = options.levels_at == "midpoints"
    axes = [_axis(n, at_midpoints=at_midpoints) for n in levels(count, dimensions)]
    return [list(point) for point in itertools.product(*axes)]


def _axis(n: int, *, at_midpoints: bool) -> list[float]:
    """The positions of `n` levels, from 0 to 1. A single level stands in the middle."""
    if at_midpoints or n == 1:
        return [(i + 0.5) / n for i in range(n)]
    return [i / (n - 1) for i in range(n)]
