"""The GPU's energy counter as a meter.

The counter (nvmlDeviceGetTotalEnergyConsumption) holds millijoules since the driver was loaded, on
Volta and newer GPUs and some older ones. It belongs to the whole device: other processes on it are
counted too. It moves in steps, of 100 ms on an H100, and shows at any moment the energy at its last
step. So a window opens just after a step, and what lies between the last step and the window's end
is added at the window's mean power. docs/measurement.md has what both are worth.
"""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.gpu.access import GpuAccess
from orchestrator.meters import Reading
from orchestrator.meters.columns import CounterColumns
from orchestrator.unknowns import quotient

USUAL_PERIOD_S = 0.1
"""Between two steps, where it couldn't be measured."""
SETTLE_S = 0.3
"""A counter that hasn't moved for this long is not waited for: it is frozen."""
LOOK_S = 0.002
PERIOD_STEPS = 5
"""Steps over which the period is measured when the meter is made."""
ENERGY = "gpu_energy_counter_j"


class Step(NamedTuple):
    """A step of the counter."""

    at_s: float
    before_mj: int
    shown_mj: int
    """What it showed before, and since."""
    look_s: float = 0.0
    """Time between the two looks that it lay between."""


class CounterMeter:
    """Joules of one GPU by its energy counter.

    None with a reason where the counter is absent, stands still or runs backwards.
    """

    def __init__(self, access: GpuAccess) -> None:
        self._access = access
        self._clock = access.clock
        self._period_s = self._measured_period_s()
        self._opened: Step | None = None
        self._after_mj: int | None = None
        self._ended_s = 0.0
        self._next: Step | None = None

    def _counter_mj(self) -> int | None:
        """The counter now, in mJ; None where the GPU doesn't answer."""
        nvml, handle = self._access.nvml, self._access.handle
        value = self._access.ask(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        return None if value is None else int(value)

    def _step_after(self, shown_mj: int | None) -> Step | None:
        """The counter's next step from what it shows; None: none in SETTLE_S, or it is absent."""
        looked_s = self._clock()
        deadline_s = looked_s + SETTLE_S
        while shown_mj is not None and looked_s < deadline_s:
            now_mj, before_s = self._counter_mj(), looked_s
            looked_s = self._clock()
            if now_mj is not None and now_mj != shown_mj:
                # it moved between the last two looks
                middle_s = (before_s + looked_s) / 2
                return Step(middle_s, shown_mj, now_mj, looked_s - before_s)
            self._clock.sleep(LOOK_S)
        return None

    def _measured_period_s(self) -> float | None:
        """Mean time between steps; None where the counter doesn't move."""
        first = last = self._step_after(self._counter_mj())
        for _ in range(PERIOD_STEPS):
            if last is not None:
                last = self._step_after(last.shown_mj)
        if first is None or last is None:
            return None
        return (last.at_s - first.at_s) / PERIOD_STEPS

    def begin(self) -> None:
        """Wait until the counter moves: the step that was under way belongs to no window."""
        shown_mj = self._counter_mj()
        self._opened = self._step_after(shown_mj)
        if self._opened is None and shown_mj is not None:
            self._opened = Step(self._clock(), shown_mj, shown_mj)

    def end(self) -> None:
        """Read the counter, and wait for its next step, which tells when its last one was."""
        self._after_mj, self._ended_s = self._counter_mj(), self._clock()
        self._next = self._step_after(self._after_mj)

    def reading(self, began_s: float, ended_s: float) -> Reading:
        """The energy between the window's two edges, and how it came about."""
        opened, after_mj, step = self._opened, self._after_mj, self._next
        if after_mj is None or opened is None:
            return self._unknown("this GPU has no energy counter")
        if after_mj < opened.shown_mj:
            return self._unknown("the energy counter ran backwards")
        if after_mj == opened.shown_mj:
            return self._unknown("the energy counter did not move in this window")
        if step is None:
            return self._unknown(f"the energy counter stopped: no step in {SETTLE_S:g} s after it")
        # the window opened at a step: a whole number of periods lies between that and the next one
        n_steps = max(1, round((step.at_s - opened.at_s) / (self._period_s or USUAL_PERIOD_S)))
        period_s = (step.at_s - opened.at_s) / n_steps
        steps_j = (after_mj - opened.shown_mj) / 1000
        # what the counter showed at the end is the energy of the last step before it was read
        last_step_s = min(self._ended_s, step.at_s - period_s)
        load_w = steps_j / max(last_step_s - opened.at_s, period_s)
        # None where the counter stood still before the window: then no step was waited for
        before_w = quotient((opened.shown_mj - opened.before_mj) or None, 1000 * period_s)
        rest_j = load_w * (ended_s - last_step_s) - (before_w or 0.0) * (began_s - opened.at_s)
        return Reading(
            {
                ENERGY: steps_j + rest_j,
                "counter_rest_j": rest_j,
                "counter_steps": n_steps - 1,
                "counter_period_s": period_s,
                "counter_look_s": max(opened.look_s, step.look_s),
                "power_before_w": before_w,
            },
            {} if before_w is not None else {"power_before_w": "the energy counter stood still"},
        )

    def _unknown(self, why: str) -> Reading:
        """A reading in which the energy is unknown, for a reason."""
        return Reading(dict.fromkeys(CounterColumns.model_fields), {ENERGY: why})

    def close(self) -> None:
        """Do nothing: NVML belongs to the whole process."""
