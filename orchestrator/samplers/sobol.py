"""The Sobol' sequence (Sobol' 1967), scrambled by random matrices and a digital shift.

The points are those of scipy.stats.qmc.Sobol, bit for bit (held by a test). scipy.stats takes 0.6 s
to import, more than all else of `plan`, so the few axes that a space has are drawn here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

BITS = 30
"""Of a coordinate: so many points, 2 to this power, differ."""
START: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((), (1,) * BITS),
    ((1,), (1,)),
    ((1, 1), (1, 3)),
    ((0, 1, 1), (1, 3, 1)),
)
"""Of each axis the coefficients of a primitive polynomial, but for the first, and the first
direction numbers (Joe and Kuo 2008)."""


def design(count: int, dimensions: int, seed: int, options: Any) -> list[list[float]]:
    """The first `count` points of the sequence in the unit cube, of 1 to 4 dimensions.

    A larger count continues the sequence. It is balanced best where the count is a power of two.
    """
    import numpy as np

    directions = np.array([_directions(*start) for start in START[:dimensions]], dtype=np.uint32)
    points = np.zeros((count, dimensions), dtype=np.uint32)
    if options.scramble:
        # scipy, too, draws from a generator that it makes from the one it is given
        rng = np.random.default_rng(seed).spawn(1)[0]
        directions, shift = _scrambled(directions, rng)
        points ^= shift
    # a number's Gray code says which direction numbers its point adds up, modulo 2
    numbers = np.arange(count)
    gray = numbers ^ (numbers >> 1)
    for j in range(count.bit_length()):
        chosen = (gray >> j & 1).astype(bool)
        points[chosen] ^= directions[:, j]
    rows: list[list[float]] = (points / 2**BITS).tolist()
    return rows


def _directions(polynomial: tuple[int, ...], first: tuple[int, ...]) -> list[int]:
    """The direction numbers of an axis, as integers of BITS bits."""
    numbers = list(first)
    degree = len(polynomial)
    while len(numbers) < BITS:
        following = numbers[-degree]
        for k, coefficient in enumerate(polynomial, start=1):
            if coefficient:
                following ^= numbers[-k] << k
        numbers.append(following)
    return [number << (BITS - 1 - j) for j, number in enumerate(numbers)]


def _scrambled(directions: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Direction numbers after a random linear scrambling (Matoušek 1998), and a random shift.

    `directions`: an axis a row. The shift has a number for each axis.
    """
    import numpy as np

    n_axes, kind = len(directions), np.uint32
    shift = rng.integers(2, size=(n_axes, BITS), dtype=kind) @ (2 ** np.arange(BITS, dtype=kind))
    matrices = np.tril(rng.integers(2, size=(n_axes, BITS, BITS), dtype=kind))
    matrices[:, range(BITS), range(BITS)] = 1
    # the bits of a number are a column, the highest on top
    places = np.arange(BITS - 1, -1, -1, dtype=kind)[:, np.newaxis]
    bits = directions[:, np.newaxis, :] >> places & 1
    scrambled = ((matrices @ bits % 2) << places).sum(axis=1, dtype=kind)
    return scrambled, shift
