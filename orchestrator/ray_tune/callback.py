"""Ray Tune's callback and stopper on the driver: thin adapters between Tune and the recorder.

Tune asks its stopper before it tells its callbacks. So a result is taken in where the stopper is
asked whether the trial goes on: one that reaches a limit, or comes from a node that is refused,
ends its trial before the worker begins another prompt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper

from orchestrator.dataset.drift import StartConditions, marked
from orchestrator.dataset.recorder import Recorder
from orchestrator.dataset.remaining import oom_lengths
from orchestrator.dataset.trial_files import Measured, Origin
from orchestrator.evaluate.verdict import learned_figures
from orchestrator.outside_files import read_text
from orchestrator.ray_tune.halt import Halt
from orchestrator.ray_tune.observers import Observer
from orchestrator.ray_tune.retry import may_be_retried, rest_of
from orchestrator.ray_tune.searcher import SweepSearcher
from orchestrator.ray_tune.trainable import Assignment

REASON_LENGTH = 160
"""Characters of an error that are told."""


@dataclass
class StartedTrial:
    """A trial of Tune's that has started and hasn't ended."""

    assignment: Assignment
    origin: Origin | None = None
    """Where it runs; told before its first prompt is started."""
    drift: tuple[str, ...] = ()
    """How that differs from what the sweep started with."""
    written: set[int] = field(default_factory=set)
    """Numbers of the prompts that are in the data set."""


class DataSetCallback(Callback):  # type: ignore[misc]  # ray has no types
    """Hands what Tune tells of trials to the recorder, the searcher and the observers."""

    def __init__(
        self,
        recorder: Recorder,
        start: StartConditions,
        searcher: SweepSearcher,
        halt: Halt,
        observer: Observer,
        *,
        objectives: tuple[str, ...] = (),
    ) -> None:
        self._recorder = recorder
        self._start = start
        self._searcher = searcher
        self.halt = halt
        self._observer = observer
        self._objectives = objectives
        """Figures that a learning sampler is told of each trial."""
        self._running: dict[str, StartedTrial] = {}
        self._ended: set[str] = set()
        """Tune's trials that are over: Tune reports an error of them when their node dies later."""
        self._closed = False
        self.n_written = 0
        """Executions."""
        self.error: Exception | None = None
        """What went wrong in here first: Tune wraps what a callback raises."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks into a state that is never restored: leave all out."""
        return {}

    def n_running(self) -> int:
        """Trials that have started their prompts; a worker that only loads may end at any time."""
        return sum(trial.origin is not None for trial in list(self._running.values()))

    def on_trial_start(self, trial: Any, **_info: Any) -> None:
        """A worker takes a trial."""
        with self._guarded():
            if not self._closed:
                assignment = trial.config["assignment"].assignment
                self._running[trial.trial_id] = StartedTrial(assignment)

    def take(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take in what a step gave; the same result once more changes nothing.

        `result`: what Measure.step returned. Its `event` is "ready" (the model is loaded),
        "executions" (a prompt or a batch is done) or "fatal" (no trial can run).
        """
        with self._guarded():
            trial = self._running.get(trial_id)
            if trial is None:
                return
            event = result.get("event")
            if event == "fatal":
                self.halt.fatal = self.halt.fatal or str(result["message"])
            # Tune may tell the same once more, and an execution of a trial that was refused
            elif event == "ready" and trial.origin is None:
                self._started(trial, Origin.model_validate_json(result["origin"]))
            elif event == "executions" and trial.origin:
                measured = [Measured.model_validate_json(one) for one in result["measured"]]
                self._record(trial, trial.origin, measured)

    def on_trial_result(self, trial: Any, result: dict[str, Any], **_info: Any) -> None:
        """End a trial after its last result, which was taken in before."""
        with self._guarded():
            if result.get("done") and trial.trial_id in self._running:
                self._end(trial.trial_id)

    def on_trial_complete(self, trial: Any, **_info: Any) -> None:
        """Forget what a trial that is over was to do."""
        trial.config["assignment"].forget()

    def on_trial_error(self, trial: Any, **_info: Any) -> None:
        """A worker or its node died, or a step raised: the rest of its trial goes to another."""
        with self._guarded():
            # Tune tells of the death of a node for trials that are over, too
            if self._closed or trial.trial_id in self._ended:
                return
            if trial.trial_id in self._running:
                ended = self._end(trial.trial_id)
            else:  # it died before it started
                ended = StartedTrial(trial.config["assignment"].assignment)
            rest = rest_of(ended.assignment, ended.written)
            if rest.spec.prompts:  # else the worker died after its last result
                self._hand_back(rest, _reason(trial))

    def _hand_back(self, rest: Assignment, reason: str) -> None:
        """Hand out the rest of a lost trial once more, or give it up for this run."""
        continues = not self.halt.ending() and not self._searcher.stopped
        # it may itself be what kills its workers, so it is tried a limited number of times
        retried = continues and may_be_retried(rest)
        if retried:
            self._searcher.again(rest)
        else:
            self._searcher.finished(rest.spec, None)
        self._observer.worker_lost(rest, reason, retried=retried)

    def close(self) -> None:
        """Seal what runs with what it has, and take nothing more. Raises OSError."""
        with self._recorder.one_at_a_time:
            self._closed = True
            for trial_id in list(self._running):
                try:
                    self._end(trial_id)
                except OSError as error:  # the others can be sealed all the same
                    self.error = self.error or error
            try:
                self._recorder.flush()
            except OSError as error:
                self.error = self.error or error
                raise

    def _started(self, trial: StartedTrial, origin: Origin) -> None:
        """Take in where a trial runs; refuse other conditions than the sweep started with."""
        spec = trial.assignment.spec
        weights = self._start.other_weights(spec.setup.model, origin)
        if weights:
            self.halt.fatal = self.halt.fatal or (
                f"sweep {spec.sweep_id} was started with other weights of {spec.setup.model} than "
                f"{origin.columns.machine} has: {'; '.join(weights)}; stage the same ones there "
                f"with `orchestrator models stage {spec.model_ref} --again`"
            )
            return
        changes = self._start.changes(origin)
        if changes and not self._start.accept:
            self.halt.fatal = self.halt.fatal or (
                f"sweep {spec.sweep_id} was started on {origin.columns.machine} under other "
                f"conditions: {'; '.join(changes)}; restore them, start a new data set with --out, "
                "or mix them with --accept-drift, which is written into the rows"
            )
            return
        environment = origin.environment.model_copy(update={"drift": changes})
        trial.drift = changes
        trial.origin = origin.model_copy(update={"environment": environment})
        if environment.loaded_here:
            self._observer.model_loaded(trial.origin)
        self._observer.trial_started(spec, trial.origin)

    def _record(self, trial: StartedTrial, origin: Origin, measured: list[Measured]) -> None:
        """Write the executions of a window, and tell whoever has to know."""
        assignment = trial.assignment
        # Tune may hand over one result twice
        new = [
            one.model_copy(update={"execution": marked(one.execution, trial.drift)})
            for one in measured
            if one.execution.prompt_number not in trial.written
        ]
        if not new:
            return
        first = not trial.written
        self._recorder.append(assignment.spec, origin, assignment.order, new, first=first)
        executions = [one.execution for one in new]
        trial.written |= {execution.prompt_number for execution in executions}
        self.n_written += len(new)
        # longer texts on such a machine need not be tried: they would fail, too
        for length in oom_lengths(executions):
            self._searcher.ran_out(assignment.spec.setup, origin.columns.machine, length)
        for execution in executions:
            self._observer.execution_recorded(assignment.spec, origin, execution)

    def _end(self, trial_id: str) -> StartedTrial:
        """Seal what a trial has, if anything; a whole trial is told to the searcher."""
        trial = self._running.pop(trial_id)
        self._ended.add(trial_id)
        # without an execution there is no folder to seal
        if not trial.written or not trial.origin:
            return trial
        spec = trial.assignment.spec
        record = self._recorder.seal(trial.origin.columns.machine, spec)
        # figures of a part of the prompts would mislead a sampler
        if len(trial.written) == len(spec.prompts):
            trials = self._recorder.tables.trials
            figures = learned_figures(trials, trials.key(record), self._objectives)
            self._searcher.finished(spec, figures)
        self._observer.trial_sealed(record)
        return trial

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """One thread at a time, and the first error kept."""
        with self._recorder.one_at_a_time:
            try:
                yield
            except Exception as error:
                self.error = self.error or error
                raise


class TakingInStopper(Stopper):  # type: ignore[misc]  # ray has no types
    """Takes each result in, then says whether its trial goes on: what Tune asks first."""

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
    with contextlib.suppress(OSError, TypeError, ValueError):
        text = read_text(Path(trial.error_file), errors="replace")
        lines = text.strip().splitlines()
        # a traceback ends with its error; logs of Ray may follow
        named = [line for line in lines if "Error: " in line]
        if lines:
            return (named or lines)[-1][:REASON_LENGTH]
    return "its worker or node died"
