"""Arithmetic with quantities that may be unknown: None, which is never taken for 0."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import TypeVar

T = TypeVar("T")
N = TypeVar("N", int, float)


def known(values: Iterable[T | None]) -> list[T]:
    """The values that are known, in their order."""
    return [value for value in values if value is not None]


def sum_of_known(values: Iterable[N | None]) -> N | None:
    """The sum of the known values, a lower bound of the whole; None where none is known."""
    summands = known(values)
    if not summands:
        return None
    return sum(summands)


def sum_of_all(values: Iterable[N | None]) -> N | None:
    """The sum; None where a value is unknown or there is none: a part would pass for the whole."""
    summands = list(values)
    if None in summands:
        return None
    return sum_of_known(summands)


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of the known values; None where none is known."""
    summands = known(values)
    return quotient(sum(summands), len(summands))


def median_of_known(values: Iterable[float | None]) -> float | None:
    """The median of the known values; None where none is known."""
    some = known(values)
    if not some:
        return None
    return median(some)


def least_of_known(values: Iterable[N | None]) -> N | None:
    """The smallest known value; None where none is known."""
    return min(known(values), default=None)


def product(one: float | None, other: float | None) -> float | None:
    """The product; None where one of them is unknown."""
    if one is None or other is None:
        return None
    return one * other


def quotient(part: float | None, whole: float | None) -> float | None:
    """A part over a whole; None where one of them is unknown or the whole is 0."""
    if part is None or not whole:
        return None
    return part / whole
