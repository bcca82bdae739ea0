"""Ray Tune's callback on the driver: every result goes to the data set at once, then to whoever watches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from ray.tune import Callback, Stopper

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.tables import TableWriter
from orchestrator.dataset.trials import Measured, Origin, append, seal
from orchestrator.tune.trainable import Job


class Observer(Protocol):
    """Who watches a sweep: the terminal, a test."""

    def ready(self, origin: Origin) -> None:
        """A process has loaded its model and run its pilot."""

    def execution(self, origin: Origin, execution: Execution) -> None:
        """An execution is in the data set."""

    def sealed(self, record: TrialRecord) -> None:
        """A trial is complete."""

    def lost(self, job: Job, reason: str, *, retried: bool) -> None:
        """A worker or its node died during a trial, or a step raised."""


class Halt(Stopper):  # type: ignore[misc]  # ray has no types
    """Stops the sweep: where every trial would fail the same way, and when the user interrupts."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.interrupted = False

    def __call__(self, _trial_id: str, result: dict[str, Any]) -> bool:
        """End a trial whose worker gave up."""
        if result.get("event") == "fatal":
            self.reason = self.reason or str(result["message"])
        return self.stop_all()

    def stop_all(self) -> bool:
        """End the sweep."""
        return self.interrupted or self.reason is not None


class DataSetCallback(Callback):  # type: ignore[misc]  # ray has no types
    """Writes executions as they come, seals trials, keeps the tables up to date."""

    def __init__(self, paths: DataSetPaths, tables: TableWriter, observer: Observer, errors: list[Exception]) -> None:
        self._paths = paths
        self._tables = tables
        self._observer = observer
        self._errors = errors
        self._seen: dict[str, set[int]] = {}
        """Prompts already written of each trial of this run: a retried trial runs some again."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks into a state we never restore from: leave the handles out."""
        return {}

    def on_trial_result(self, trial: Any, result: dict[str, Any], **_info: Any) -> None:
        """Take in what a step gave."""
        event = result.get("event")
        if event not in ("ready", "execution"):
            return
        with self._noted():
            job = Job.model_validate(trial.config["job"])
            origin = Origin.model_validate(result["origin"])
            if event == "ready":
                self._observer.ready(origin)
                return
            self._take(trial.trial_id, job, origin, Measured.model_validate(result["measured"]))

    def _take(self, trial_id: str, job: Job, origin: Origin, measured: Measured) -> None:
        seen = self._seen.setdefault(trial_id, set())
        if measured.execution.prompt not in seen:
            append(self._paths, job.spec, origin, job.order, measured)
            seen.add(measured.execution.prompt)
            self._observer.execution(origin, measured.execution)
        if seen >= set(job.todo):
            _, record = seal(self._paths, origin.columns.machine, job.spec)
            del self._seen[trial_id]
            self._tables.add(record)
            self._observer.sealed(record)

    def on_trial_recover(self, trial: Any, **_info: Any) -> None:
        """A worker died; Tune starts the trial again."""
        self._observer.lost(Job.model_validate(trial.config["job"]), _reason(trial), retried=True)

    def on_trial_error(self, trial: Any, **_info: Any) -> None:
        """A worker died too often; what it finished stays for the next run."""
        self._observer.lost(Job.model_validate(trial.config["job"]), _reason(trial), retried=False)

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        """Tune wraps what a callback raises; keep the error itself for the caller."""
        try:
            yield
        except Exception as error:
            self._errors.append(error)
            raise


def _reason(trial: Any) -> str:
    """Last line of the error that Tune wrote down for a trial."""
    with contextlib.suppress(OSError, TypeError):
        lines = Path(trial.error_file).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines:
            return lines[-1][:300]
    return "its worker or node died"
