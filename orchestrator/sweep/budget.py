"""What a run may take: wall time, energy, GPU time.

A trial that would pass a limit isn't started.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.trial_files import Origin
from orchestrator.nouns import LoadKey, TrialSpec
from orchestrator.ray_tune.observers import Observer

if TYPE_CHECKING:
    from orchestrator.ray_tune.trainable import Assignment


@dataclass(frozen=True)
class RunLimits:
    """What one run of `tune` may take; infinite: no limit."""

    hours: float = math.inf
    kwh: float = math.inf
    gpu_hours: float = math.inf


@dataclass
class _Taken:
    """What a model in one variant took so far."""

    bound: int = 0
    """The bounds of what was run, in new tokens."""
    window_s: float = 0.0
    energy_kwh: float = 0.0

    def foreseen(self, bound: int) -> tuple[float, float]:
        """Seconds and kWh of so many tokens of bound; 0 before anything is known."""
        if not self.bound:
            return 0.0, 0.0
        return bound * self.window_s / self.bound, bound * self.energy_kwh / self.bound


class Budget(Observer):
    """Adds up what a run took and foresees what a trial would take.

    A trial's time and energy are its bound of new tokens times what its model in its variant took
    per token of that bound in this run so far. Before its first execution nothing is known, and
    trials are started. `bound_of` gives a prompt's bound under a trial.
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
        self._under_way: dict[int, tuple[LoadKey, dict[int, int]]] = {}
        """Order of a running trial -> what it loads, and bounds of the prompts that it has left."""
        self._taken: dict[LoadKey, _Taken] = defaultdict(_Taken)
        self._energy_kwh = 0.0

    def begin(self, assignment: Assignment) -> str | None:
        """Ask to run a trial.

        None: it may be run; else the flag of the limit that it would pass.
        """
        spec = assignment.spec
        bounds = {one.number: self._bound_of(spec, one.number) for one in spec.prompts}
        mine = spec.setup.load_key(), bounds
        mine_s, mine_kwh = self._foreseen(*mine)
        others_kwh = sum(self._foreseen(*other)[1] for other in self._under_way.values())
        # trials run side by side: their times don't add up, their energies do
        flag = self._passed(mine_s, mine_kwh + others_kwh)
        if flag is None:
            self._under_way[spec.order_index] = mine
        return flag

    def _foreseen(self, load_key: LoadKey, bounds: dict[int, int]) -> tuple[float, float]:
        """Seconds and kWh of prompts with these bounds, as far as is known."""
        return self._taken[load_key].foreseen(sum(bounds.values()))

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
        load_key = spec.setup.load_key()
        _, left = self._under_way.get(spec.order_index, (load_key, {}))
        bound = left.pop(execution.prompt_number, 0)
        taken = self._taken[load_key]
        # without a window nothing was generated: it says nothing of what a token takes
        if execution.window_s is not None:
            taken.bound += bound
            taken.window_s += execution.window_s
        # an unknown energy can't be counted; the other limits hold all the same
        taken.energy_kwh += execution.energy_kwh or 0.0
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
