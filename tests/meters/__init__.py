"""What tests of meters share."""

from __future__ import annotations

from orchestrator.meters import Meter, Reading


def closed(meter: Meter, began_s: float = 0.0, ended_s: float = 1.0) -> Reading:
    """Close a meter's window; what it gave."""
    meter.end()
    return meter.reading(began_s, ended_s)
