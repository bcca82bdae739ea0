"""Work inside a window of all meters: the one way in which energy is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from orchestrator.meters import Meter, Reading, joined

T = TypeVar("T")


@dataclass(frozen=True)
class Metered(Generic[T]):
    """What some work gave, and what was measured of it."""

    result: T
    window_s: float
    reading: Reading


def metered(
    meters: Sequence[Meter], clock: Callable[[], float], work: Callable[[], T]
) -> Metered[T]:
    """Run `work` inside all meters: the outermost is opened first and closed last.

    `work` must have waited for its device when it returns. Raises what it or a meter raises.
    """
    for meter in meters:
        meter.begin()
    began_s = clock()
    result = work()
    ended_s = clock()
    # the innermost window closes first, so each meter sees all that lies inside of it
    for meter in reversed(meters):
        meter.end()
    readings = [meter.reading(began_s, ended_s) for meter in reversed(meters)]
    return Metered(result, ended_s - began_s, joined(readings))
