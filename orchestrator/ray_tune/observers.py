"""Who watches a sweep: the terminal, a budget, metrics, totals. Each hears of every event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.trial_files import Origin
from orchestrator.nouns import TrialSpec

if TYPE_CHECKING:
    from orchestrator.ray_tune.trainable import Assignment


class Observer:
    """Hears of nothing; a subclass overrides the events that it wants to hear of."""

    def model_loaded(self, origin: Origin) -> None:
        """A process has loaded its model and run its pilot."""

    def trial_started(self, spec: TrialSpec, origin: Origin) -> None:
        """A worker has told where it runs a trial, and begins the first prompt."""

    def execution_recorded(self, spec: TrialSpec, origin: Origin, execution: Execution) -> None:
        """An execution is in the data set."""

    def trial_sealed(self, record: TrialRecord) -> None:
        """A trial's folder is final: the whole trial, or what a lost worker or a drain left."""

    def worker_lost(self, assignment: Assignment, reason: str, *, retried: bool) -> None:
        """A worker or its node died during a trial, or a step raised."""

    def disk_full(self, line: str) -> None:
        """Results wait for room on the disk or for another writer, or are given up; told once."""


class Observers(Observer):
    """Passes each event on to all observers, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def model_loaded(self, origin: Origin) -> None:
        """Tell all observers of a loaded model."""
        for observer in self._observers:
            observer.model_loaded(origin)

    def trial_started(self, spec: TrialSpec, origin: Origin) -> None:
        """Tell all observers of a started trial."""
        for observer in self._observers:
            observer.trial_started(spec, origin)

    def execution_recorded(self, spec: TrialSpec, origin: Origin, execution: Execution) -> None:
        """Tell all observers of a recorded execution."""
        for observer in self._observers:
            observer.execution_recorded(spec, origin, execution)

    def trial_sealed(self, record: TrialRecord) -> None:
        """Tell all observers of a sealed trial."""
        for observer in self._observers:
            observer.trial_sealed(record)

    def worker_lost(self, assignment: Assignment, reason: str, *, retried: bool) -> None:
        """Tell all observers of a lost worker."""
        for observer in self._observers:
            observer.worker_lost(assignment, reason, retried=retried)

    def disk_full(self, line: str) -> None:
        """Tell all observers of a full disk."""
        for observer in self._observers:
            observer.disk_full(line)
