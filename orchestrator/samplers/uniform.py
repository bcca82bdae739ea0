"""Uniform sampling: independent random points."""

from __future__ import annotations

from typing import Any


def design(count: int, dimensions: int, seed: int, _options: Any) -> list[list[float]]:
    """Random points in the unit cube, from PCG64.

    They are drawn point by point, so a larger count begins with the same points.
    """
    import numpy as np

    rows: list[list[float]] = np.random.default_rng(seed).random((count, dimensions)).tolist()
    return rows
