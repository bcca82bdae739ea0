"""Every meter of the table, read over a time in which this program does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.gpu.access import Clock
from orchestrator.metered import metered
from orchestrator.meters import Meter, Reading, Scene, meters_for
from orchestrator.meters.power import ENERGY
from orchestrator.unknowns import quotient

FIRST_S = 1.0
FIRST_WINDOWS = 5
"""Windows that are thrown away, at most: until the process that polls gives samples."""


@dataclass(frozen=True)
class Rest:
    """What all meters of a scene gave while nothing ran."""

    reading: Reading
    window_s: float

    def watts(self, column: str) -> float | None:
        """Mean power by an energy column; None where that wasn't measured."""
        joules = self.reading.values.get(column)
        return None if joules is None else float(joules) / self.window_s

    def codecarbon_watts(self, column: str) -> float | None:
        """The same for a column of CodeCarbon's, without the PUE that it is multiplied by."""
        return quotient(self.watts(column), self.reading.values.get("pue") or 1.0)

    def why_not(self, column: str) -> str:
        """Why a column is null."""
        return self.reading.notes.get(column, "it gives no answer")


@contextmanager
def running_meters(scene: Scene, clock: Clock) -> Iterator[list[Meter]]:
    """All meters of a scene, past what only their first windows pay; closed at the end."""
    meters = meters_for(scene)
    try:
        for _ in range(FIRST_WINDOWS):
            first = rest(meters, clock, FIRST_S)
            if scene.gpu is None or first.watts(ENERGY) is not None:
                break
        yield meters
    finally:
        for meter in meters:
            meter.close()


def rest(meters: list[Meter], clock: Clock, window_s: float) -> Rest:
    """What all meters give of a time in which this program waits."""
    waited = metered(meters, clock, lambda: clock.sleep(window_s))
    return Rest(waited.reading, waited.window_s)
