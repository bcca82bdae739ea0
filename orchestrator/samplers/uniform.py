"""Independent uniform draws."""

from __future__ import annotations

from typing import Any


def design(count: int, dimensions: int, seed: int, _options: Any) -> list[list[float]]:
    """Points drawn row by row from PCG64, so that a larger count begins with the same points."""
    import numpy as np

    rows: list[list[float]] = np.random.default_rng(seed).random((count, dimensions)).tolist()
    return rows
