"""Integrated power of one GPU, and its state over time: a second opinion to the energy counter.

Samples come from a process that polls all the time. Whatever happened in a window is asked for
after it, so that no waiting lies in a window.
"""

from __future__ import annotations

from typing import Any

from orchestrator.meters import Reading
from orchestrator.meters.poller import FIELDS, SLOW_EVERY_S
from orchestrator.meters.samples import INTERVAL_S, SampleSource
from orchestrator.unknowns import known

LONGEST_GAP_S = 5 * INTERVAL_S
"""A longer time without a power sample is unknown, not a straight line between both sides."""
SLOWED = 0x08 | 0x20 | 0x40 | 0x80
"""NVML's reasons that mean heat or power: HwSlowdown, SwThermal, HwThermal, HwPowerBrake."""
ENERGY = "gpu_energy_integrated_j"


class PowerMeter:
    """Joules by integrated power, and whether the GPU slowed itself down."""

    def __init__(self, source: SampleSource) -> None:
        self._source = source

    def begin(self) -> None:
        """Do nothing: samples come all the time."""

    def end(self) -> None:
        """Do nothing: samples come all the time."""

    def reading(self, began_s: float, ended_s: float) -> Reading:
        """Joules by the trapezoid rule, samples and flags of a window."""
        # slow fields are read once a second: the temperature at the beginning is of before it
        seen = [
            dict(zip(FIELDS, sample, strict=True))
            for sample in self._source.around(began_s - SLOW_EVERY_S - INTERVAL_S, ended_s)
        ]
        before = [i for i, one in enumerate(seen) if one["at_s"] <= began_s]
        samples = seen[before[-1] :] if before else seen
        powers = [(one["at_s"], one["power_w"]) for one in samples if one["power_w"] is not None]
        joules = integrate(powers, began_s, ended_s)
        notes = {}
        if joules is None:
            notes[ENERGY] = f"power samples don't cover the window, or {LONGEST_GAP_S:g} s lack one"
        inside = [one for one in samples if began_s <= one["at_s"] <= ended_s]
        # with the sample on either side, since a short window may have none of its own
        throttled = _is_slowed([one["throttle_reasons"] for one in samples])
        if throttled is None:
            notes["throttled"] = "this GPU doesn't tell whether it slows itself down"
        begun_c = known(one["temperature_c"] for one in seen if one["at_s"] <= began_s)
        ended_c = known(one["temperature_c"] for one in seen if one["at_s"] <= ended_s)
        # the poller reads all but power and throttling about once a second: those samples are kept
        kept = [one for one in inside if one["temperature_c"] is not None]
        return Reading(
            {
                ENERGY: joules,
                "power_semantics": self._source.semantics,
                "temperature_begin_c": begun_c[-1] if begun_c else None,
                "temperature_end_c": ended_c[-1] if ended_c else None,
                "throttled": throttled,
            },
            notes,
            samples=[one | {"at_s": one["at_s"] - began_s} for one in kept],
            flags=frozenset({"throttled"} if throttled else ()),
        )

    def close(self) -> None:
        """End the source of samples."""
        self._source.close()


def _is_slowed(masks: list[Any]) -> bool | None:
    """Whether one of NVML's bit masks means heat or power; None: the GPU told none."""
    told = known(masks)
    if not told:
        return None
    return any(int(mask) & SLOWED for mask in told)


def integrate(samples: list[tuple[float, float]], began_s: float, ended_s: float) -> float | None:
    """Joules of (seconds, watts) in an interval, by the trapezoid rule.

    The power at the interval's two edges is interpolated between the samples on either side. None
    where the samples don't reach both edges, or leave a gap of more than LONGEST_GAP_S.
    """
    import numpy as np

    if not samples or samples[0][0] > began_s or samples[-1][0] < ended_s:
        return None
    at_s, watts = np.array(samples, float).T
    before = np.searchsorted(at_s, began_s, side="right") - 1
    after = np.searchsorted(at_s, ended_s, side="left")
    if np.any(np.diff(at_s[before : after + 1]) > LONGEST_GAP_S):
        return None
    inside = (at_s > began_s) & (at_s < ended_s)
    first, last = np.interp((began_s, ended_s), at_s, watts)
    times = np.concatenate(((began_s,), at_s[inside], (ended_s,)))
    powers = np.concatenate(((first,), watts[inside], (last,)))
    return float(np.trapezoid(powers, times))
