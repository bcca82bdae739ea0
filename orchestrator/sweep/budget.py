"""What a run may take: wall time, energy, GPU time.

A trial that would pass a limit isn't started.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.trial_files import Origin
from orchestrator.nouns import TrialSpec
from orchestrator.tune.observers import Observer

if TYPE_CHECKING:
    from orchestrator.tune.trainable import Assignment


@dataclass(frozen=True)
class RunLimits:
    """What one run of `tune` may take; infinite: no limit."""

    hours: float = math.inf
    kwh: float = math.inf
    gpu_hours: float = math.inf


class Budget(Observer):
    """Adds up what a run took and foresees what a trial would take.

    A trial's time and energy are its bound of new tokens times what this run took per token of
    that bound so far. Before the first execution nothing is known, and trials are started.
    `bound_of` gives a prompt's bound under a trial.
    """

    def __init__(
        self,
        limits: RunLimits,
        n_gpus: int,
        bound_of: Callable[[TrialSpec, int], int],
        drain: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._n_gpus = n_gpus
        self._bound_of = bound_of
        self._drain = drain
        self._clock = clock
        self._began = clock()
        self._under_way: dict[int, dict[int, int]] = {}
        """Order of a running trial -> bounds of the prompts that it has left."""
        self._bound = 0
        self._window_s = 0.0
        self._energy_kwh = 0.0

    def begin(self, assignment: Assignment) -> str | None:
        """Ask to run a trial.

        None: it may be run; else the flag of the limit that it would pass.
        """
        spec = assignment.spec
        bounds = {one.number: self._bound_of(spec, one.number) for one in spec.prompts}
        others = sum(sum(left.values()) for left in self._under_way.values())
        mine = sum(bounds.values())
        # trials run side by side: their times don't add up, their energies do
        flag = self._passed(self._foreseen(mine)[0], self._foreseen(mine + others)[1])
        if flag is None:
            self._under_way[spec.order_index] = bounds
        return flag

    def _foreseen(self, bound: int) -> tuple[float, float]:
        """Seconds and kWh of so many tokens of bound; 0 before anything is known."""
        if not self._bound:
            return 0.0, 0.0
        return bound * self._window_s / self._bound, bound * self._energy_kwh / self._bound

    def _passed(self, more_s: float, more_kwh: float) -> str | None:
        """The flag of a limit that is reached with so much more."""
        hours = (self._clock() - self._began + more_s) / 3600
        taken = {
            "--max-hours": (hours, self._limits.hours),
            "--max-gpu-hours": (hours * self._n_gpus, self._limits.gpu_hours),
            "--max-kwh": (self._energy_kwh + more_kwh, self._limits.kwh),
        }
        return next((flag for flag, (value, limit) in taken.items() if value >= limit), None)

    def execution_recorded(self, spec: TrialSpec, origin: Origin, execution: Execution) -> None:  # noqa: ARG002
        """Count an execution; where that reaches a limit, nothing more is started."""
        left = self._under_way.get(spec.order_index, {})
        bound = left.pop(execution.prompt_number, 0)
        # without a window nothing was generated: it says nothing of what a token takes
        if execution.window_s is not None:
            self._bound += bound
            self._window_s += execution.window_s
        # an unknown energy can't be counted; the other limits hold all the same
        self._energy_kwh += execution.energy_kwh or 0.0
        flag = self._passed(0.0, 0.0)
        if flag:
            self._drain(flag)

    def trial_sealed(self, record: TrialRecord) -> None:
        """Forget a trial that is over; what is left of it asks for room when it starts again."""
        self._under_way.pop(record.spec.order_index, None)

    def worker_lost(self, assignment: Assignment, reason: str, *, retried: bool) -> None:  # noqa: ARG002
        """Forget a trial whose worker was lost; what is left of it asks for room when it starts."""
        self._under_way.pop(assignment.spec.order_index, None)
