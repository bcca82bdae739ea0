"""Power and state of one GPU over time, polled by another process: a second opinion to its counter.

Whatever happened in a window is asked for after it, so that no waiting lies in a window.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any

from orchestrator.meters import Reading
from orchestrator.unknowns import known

FIELDS = (
    "at_s",
    "power_w",
    "temperature_c",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "utilization",
    "memory_used_bytes",
    "throttle_reasons",
)
"""What a sample holds, in order."""

INTERVAL_S = 0.1
KEPT_SAMPLES = 36_000
"""An hour at ten a second. Longer windows lose their beginning, and their integral is null."""
WAIT_S = 1.0
LOOK_S = 0.02
SLOWED = 0x08 | 0x20 | 0x40 | 0x80
"""NVML's reasons that mean heat or power: HwSlowdown, SwThermal, HwThermal, HwPowerBrake."""

Sample = tuple[Any, ...]


class PowerMeter:
    """A running poller and its latest samples: joules by integrated power, and throttling."""

    def __init__(self, uuid: str, interval_s: float = INTERVAL_S) -> None:
        if interval_s < INTERVAL_S:
            raise ValueError(
                f"polling every {interval_s:g} s would disturb what it measures; "
                f"{INTERVAL_S:g} s is the least"
            )
        self.power_semantics = "unknown"
        self._samples: deque[Sample] = deque(maxlen=KEPT_SAMPLES)
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "orchestrator.meters.poller", uuid, str(interval_s)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        """Take in the poller's lines: first what its power means, then a list a sample."""
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    self.power_semantics = value["power_semantics"]
                else:
                    self._samples.append(tuple(value))

    def settle(self) -> None:
        """Do nothing: samples come at their own times."""

    def begin(self) -> None:
        """Do nothing: the poller runs all the time."""

    def end(self) -> None:
        """Do nothing: the poller runs all the time."""

    def reading(self, began_s: float, ended_s: float) -> Reading:
        """Joules by the trapezoid rule, samples and flags of a window.

        Waits up to WAIT_S for the first sample after the window.
        """
        self._wait_for_sample_after(ended_s)
        samples = list(self._samples)
        powers = [(at_s, watts) for at_s, watts, *_ in samples if watts is not None]
        joules = integrate(powers, began_s, ended_s)
        column = "gpu_energy_integrated_j"
        notes = {}
        if joules is None:
            notes[column] = "power samples don't cover the window"
        of_window = [sample for sample in samples if began_s <= sample[0] <= ended_s]
        whole = [dict(zip(FIELDS, sample, strict=True)) for sample in of_window]
        # the poller reads all but the power about once a second: only those samples are kept
        inside = [one for one in whole if one["temperature_c"] is not None]
        reasons = known(one["throttle_reasons"] for one in inside)
        flags = set()
        if any(int(bits) & SLOWED for bits in reasons):
            flags.add("throttled")
        return Reading(
            {column: joules, "power_semantics": self.power_semantics},
            notes,
            samples=[one | {"at_s": one["at_s"] - began_s} for one in inside],
            flags=frozenset(flags),
        )

    def _wait_for_sample_after(self, ended_s: float) -> None:
        """Wait until a sample closes the window; not for a poller that died, nor above WAIT_S."""
        deadline_s = time.perf_counter() + WAIT_S
        while time.perf_counter() < deadline_s and self._process.poll() is None:
            if self._samples and self._samples[-1][0] >= ended_s:
                return
            time.sleep(LOOK_S)

    def close(self) -> None:
        """End the poller."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)


def integrate(samples: list[tuple[float, float]], began_s: float, ended_s: float) -> float | None:
    """Joules of (seconds, watts) in an interval, by the trapezoid rule.

    The power at the interval's two edges is interpolated between the samples on either side. None
    where the samples don't reach both edges.
    """
    import numpy as np

    if not samples or samples[0][0] > began_s or samples[-1][0] < ended_s:
        return None
    at_s, watts = np.array(samples, float).T
    inside = (at_s > began_s) & (at_s < ended_s)
    first, last = np.interp((began_s, ended_s), at_s, watts)
    times = np.concatenate(((began_s,), at_s[inside], (ended_s,)))
    powers = np.concatenate(((first,), watts[inside], (last,)))
    return float(np.trapezoid(powers, times))
