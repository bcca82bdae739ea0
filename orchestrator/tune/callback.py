"""Ray Tune's callback on the driver: every result goes to the data set at once, then to whoever watches.

A trial whose worker is lost is sealed with what it has; the rest is handed out again as the trial's next attempt. So what a
folder says of host and GPU holds for all its executions, and a worker that was given up can't write into it any more.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ray.tune import Callback, Stopper

from orchestrator.dataset.drift import Baseline, marked
from orchestrator.dataset.lock import Lock
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.tables import TableWriter
from orchestrator.dataset.trial_files import Measured, Origin, append, seal
from orchestrator.evaluate.verdict import learned_figures
from orchestrator.nouns import TrialSpec
from orchestrator.tune.halt import Halt
from orchestrator.tune.searcher import SweepSearcher
from orchestrator.tune.trainable import Job

T = TypeVar("T")

MAX_LOSSES = 3
"""A trial is given up for this run after so many workers in a row died over it without finishing a prompt."""
DISK_WAIT_S = 1800.0
"""How long a sweep pauses on a full disk before it ends."""
DISK_POLL_S = 2.0
FULL = (errno.ENOSPC, errno.EDQUOT)
PAUSED = "paused until there is room (what was finished is kept)"
REASON_LENGTH = 160


class Observer(Protocol):
    """Who watches a sweep: the terminal, a budget, a test."""

    def ready(self, origin: Origin) -> None:
        """A process has loaded its model and run its pilot."""

    def begun(self, spec: TrialSpec, origin: Origin) -> None:
        """A trial runs: its worker has told where, and begins its first prompt."""

    def execution(self, spec: TrialSpec, origin: Origin, execution: Execution) -> None:
        """An execution is in the data set."""

    def sealed(self, record: TrialRecord) -> None:
        """A trial's folder is final: the whole trial, or what a lost worker or a drain left of it."""

    def lost(self, job: Job, reason: str, *, retried: bool) -> None:
        """A worker or its node died during a trial, or a step raised."""

    def paused(self, line: str) -> None:
        """The disk is full, and results wait for room or are given up; told once each."""


@dataclass
class Running:
    """A trial of Tune's that was started and hasn't ended."""

    job: Job
    origin: Origin | None = None
    """Where it runs; told before its first prompt is begun."""
    drift: tuple[str, ...] = ()
    """How that differs from what the sweep was begun with."""
    prompts: set[int] = field(default_factory=set)
    """Written."""

    def left(self) -> Job:
        """The job without what was finished; without any progress it is one loss more."""
        prompts = tuple(p for p in self.job.spec.prompts if p.number not in self.prompts)
        attempt = self.job.spec.attempt + bool(self.prompts)
        spec = self.job.spec.model_copy(update={"prompts": prompts, "attempt": attempt})
        return self.job.model_copy(
            update={"spec": spec, "losses": 0 if self.prompts else self.job.losses + 1}
        )


@dataclass(frozen=True)
class Store:
    """The data set that a run writes."""

    paths: DataSetPaths
    tables: TableWriter
    lock: Lock
    baseline: Baseline = field(default_factory=Baseline)
    guard: threading.RLock = field(default_factory=threading.RLock)
    """Held while a result is taken in: the trials of several kinds of machine come by several threads."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles what it is given into a state we never restore from: leave the handles out."""
        return {}


class DataSetCallback(Callback):  # type: ignore[misc]  # ray has no types
    """Writes executions as they come, seals trials, keeps the tables up to date."""

    def __init__(
        self, store: Store, searcher: SweepSearcher, halt: Halt, observers: Sequence[Observer]
    ) -> None:
        self._paths = store.paths
        self._tables = store.tables
        self._lock = store.lock
        self._baseline = store.baseline
        self._searcher = searcher
        self.halt = halt
        self._observers = observers
        self._running: dict[str, Running] = {}
        self._ended: set[str] = set()
        """Tune's trials that are over: a node that dies afterwards makes Tune report an error for them still."""
        self._closed = False
        self.n_written = 0
        """Executions."""
        self._one_at_a_time = store.guard
        self.error: Exception | None = None
        """What went wrong in here first: Tune wraps what a callback raises."""

    def __getstate__(self) -> dict[str, Any]:
        """As for the store."""
        return {}

    def n_running(self) -> int:
        """Trials that have begun their prompts; what only loads a model may be ended at any time."""
        return sum(running.origin is not None for running in list(self._running.values()))

    def on_trial_start(self, trial: Any, **_info: Any) -> None:
        """A worker takes a trial."""
        with self._guarded():
            if self._closed:
                return
            self._running[trial.trial_id] = Running(Job.model_validate(trial.config["job"]))

    def take(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take in what a step gave; the same once more changes nothing."""
        with self._guarded():
            running = self._running.get(trial_id)
            if running is None:
                return
            event = result.get("event")
            if event == "fatal":
                self.halt.fatal = self.halt.fatal or str(result["message"])
            elif event == "ready" and running.origin is None:
                self._ready(running, Origin.model_validate(result["origin"]))
            elif event == "execution" and running.origin:
                self._take(running, running.origin, Measured.model_validate(result["measured"]))

    def on_trial_result(self, trial: Any, result: dict[str, Any], **_info: Any) -> None:
        """End a trial after its last result; the stopper took that in."""
        with self._guarded():
            if result.get("done") and trial.trial_id in self._running:
                self._end(trial.trial_id)

    def _ready(self, running: Running, origin: Origin) -> None:
        changes = self._baseline.changes(origin)
        if changes and not self._baseline.accept:
            self.halt.fatal = self.halt.fatal or (
                f"sweep {running.job.spec.sweep_id} was begun on {origin.columns.machine} under other conditions: "
                f"{'; '.join(changes)}; restore them, start a new data set with --out, or mix them with --accept-drift, "
                "which is written into the rows"
            )
            return
        running.drift = changes
        running.origin = origin.model_copy(
            update={"environment": origin.environment | {"drift": list(changes)}}
        )
        if origin.environment.get("loaded_here"):
            for observer in self._observers:
                observer.ready(running.origin)
        for observer in self._observers:
            observer.begun(running.job.spec, running.origin)

    def _take(self, running: Running, origin: Origin, measured: Measured) -> None:
        job, execution = running.job, marked(measured.execution, running.drift)
        if execution.prompt in running.prompts:
            return
        measured = measured.model_copy(update={"execution": execution})
        begun = bool(running.prompts)
        self._written(
            lambda: append(self._paths, job.spec, origin, job.order, measured, begun=begun)
        )
        running.prompts.add(execution.prompt)
        self.n_written += 1
        if execution.error_kind == "oom":
            self._searcher.ran_out(
                job.spec.setup, origin.columns.machine, execution.effective_max_length
            )
        for observer in self._observers:
            observer.execution(job.spec, origin, execution)

    def _end(self, trial_id: str) -> Running:
        """Seal what a trial has, if anything; whole trials are told to whoever asked for them."""
        running = self._running.pop(trial_id)
        self._ended.add(trial_id)
        if running.prompts and running.origin:
            machine, spec = running.origin.columns.machine, running.job.spec
            _, record = self._written(lambda: seal(self._paths, machine, spec))
            self._tables.add(record)
            self._written(self._tables.follow)
            if len(running.prompts) == len(spec.prompts):
                key = self._tables.trials.key(record)
                self._searcher.finished(
                    spec, learned_figures(self._tables.trials, key, self._searcher.objectives)
                )
            for observer in self._observers:
                observer.sealed(record)
        return running

    def on_trial_error(self, trial: Any, **_info: Any) -> None:
        """A worker or its node died, or a step raised: the rest of its trial goes to another, but not for ever."""
        with self._guarded():
            if self._closed or trial.trial_id in self._ended:
                return
            if trial.trial_id in self._running:
                left = self._end(trial.trial_id).left()
            else:  # it died before it started
                job = Job.model_validate(trial.config["job"])
                left = Running(job).left()
            if not left.spec.prompts:
                return
            retried = (
                left.losses < MAX_LOSSES and not self.halt.ending() and not self._searcher.stopped
            )
            if retried:
                self._searcher.again(left)
            else:
                self._searcher.finished(left.spec, None)
            for observer in self._observers:
                observer.lost(left, _reason(trial), retried=retried)

    def close(self) -> None:
        """Seal what runs with what it has, and take nothing more."""
        with self._one_at_a_time:
            self._closed = True
            for trial_id in list(self._running):
                try:
                    self._end(trial_id)
                except OSError as error:  # the others can be sealed all the same
                    self.error = self.error or error
            try:
                self._written(self._tables.flush)
            except OSError as error:
                self.error = self.error or error
                raise

    def _written(self, write: Callable[[], T]) -> T:
        """Write, waiting for room on a full disk: what was measured is worth more than time."""
        until = time.monotonic() + DISK_WAIT_S
        told = False
        while True:
            if not self._lock.held():  # whatever lies there now is none of ours to write into
                raise FileNotFoundError(
                    errno.ENOENT, "the data set's folder was removed or replaced"
                )
            try:
                return write()
            except OSError as error:
                if error.errno not in FULL:
                    raise
                over = self.halt.ending() or time.monotonic() > until
                if over or not told:
                    what = (
                        "nobody made room, so what waited to be written is run again"
                        if over
                        else PAUSED
                    )
                    for observer in self._observers:
                        observer.paused(f"{self._paths.root}: {error.strerror}: {what}")
                if over:
                    raise
                told = True
                time.sleep(DISK_POLL_S)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """One thread at a time, and the first error kept."""
        with self._one_at_a_time:
            try:
                yield
            except Exception as error:
                self.error = self.error or error
                raise


class DataSetStopper(Stopper):  # type: ignore[misc]  # ray has no types
    """Whether a trial goes on after a result.

    Tune asks the stopper before it tells its callbacks. So results are taken in here: one that reaches a limit, or comes from a
    node that is refused, ends its trial before the worker begins another prompt.
    """

    def __init__(self, callback: DataSetCallback) -> None:
        self._callback = callback

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Take a result in; whether its trial ends with it."""
        self._callback.take(trial_id, result)
        return self._callback.halt.ending()

    def stop_all(self) -> bool:
        """Whether the sweep ends."""
        return self._callback.halt.stop_all()


def _reason(trial: Any) -> str:
    """The error that Tune wrote down for a trial, on one line."""
    with contextlib.suppress(OSError, TypeError):
        lines = (
            Path(trial.error_file)
            .read_text(encoding="utf-8", errors="replace")
            .strip()
            .splitlines()
        )
        named = [line for line in lines if "Error: " in line]
        if lines:
            return (named or lines)[-1][:REASON_LENGTH]
    return "its worker or node died"
