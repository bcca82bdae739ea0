"""What a run has done so far, added up."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchestrator.dataset.energy import counted_energy_j
from orchestrator.dataset.gross_energy import EnergyTotals, energy_row
from orchestrator.dataset.packed import PackedRecords
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.trial_files import Origin
from orchestrator.nouns import TrialSpec
from orchestrator.ray_tune.observers import Observer
from orchestrator.unknowns import sum_of_all

if TYPE_CHECKING:
    from orchestrator.ray_tune.trainable import Assignment


class Totals(Observer):
    """Counts trials, executions, tokens and energy of one run."""

    def __init__(self) -> None:
        self.records = PackedRecords()
        """Sealed trials, in the order of their sealing."""
        self.trials = 0
        """Whole ones."""
        self.executions = 0
        self.failed = 0
        """Executions that failed, and trials whose workers died too often."""
        self.workers_lost = 0
        self.tokens = 0
        self.energies = EnergyTotals()
        self.energy_j: float | None = 0.0
        """CodeCarbon's totals; None: one execution has none."""
        self.window_s = 0.0
        self.measured_s = 0.0
        """The part of window_s in which the energy that counts is known."""
        self.began_at = datetime.now(UTC)
        self._began_s = time.monotonic()

    def wall_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began_s

    def execution_recorded(self, spec: TrialSpec, origin: Origin, execution: Execution) -> None:  # noqa: ARG002
        """Count an execution."""
        row = energy_row(execution, origin.columns)
        self.energies.add(row)
        if counted_energy_j(row) is not None:
            self.measured_s += execution.window_s or 0.0
        self.executions += 1
        self.failed += execution.status == "failed"
        self.tokens += execution.n_new_tokens or 0
        self.energy_j = sum_of_all((self.energy_j, execution.energy_j))
        self.window_s += execution.window_s or 0.0

    def trial_sealed(self, record: TrialRecord) -> None:
        """Count a trial, if it is whole."""
        self.trials += len(record.executions) == len(record.spec.prompts)
        self.records.append(record)

    def worker_lost(self, assignment: Assignment, reason: str, *, retried: bool) -> None:  # noqa: ARG002
        """Count a lost worker, and a trial that was given up."""
        self.workers_lost += 1
        self.failed += not retried
