"""What Ray Tune does with searcher, callback and stopper, without Ray.

The order of the calls is that of Tune's tune_controller.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from orchestrator.dataset.drift import StartConditions
from orchestrator.dataset.lock import Lock
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.recorder import Recorder
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.tables import TableWriter, Trials
from orchestrator.dataset.trial_files import Origin
from orchestrator.nouns import Machine, TrialSpec
from orchestrator.ray_tune.callback import DataSetCallback, TakingInStopper
from orchestrator.ray_tune.halt import Halt
from orchestrator.ray_tune.observers import Observer, Observers
from orchestrator.ray_tune.searcher import SweepSearcher
from orchestrator.ray_tune.trainable import Assignment
from tests import builders

MACHINES = {"pc": Machine(name="pc", accelerator="cpu")}


def assignment(spec: TrialSpec | None = None, **changes: Any) -> Assignment:
    """A trial for a worker; keywords that are none of Assignment's change its spec."""
    own = {name: changes.pop(name) for name in list(changes) if name in Assignment.model_fields}
    values = {
        "order": "shuffled",
        "machine": "pc",
        "machines": MACHINES,
        "threads": 1,
        "n_parallel": 1,
        "longest_length": 2000,
    }
    return Assignment.model_validate(values | own | {"spec": spec or builders.spec(**changes)})


class Seen(Observer):
    """An observer that only remembers."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def model_loaded(self, _origin: Origin) -> None:
        self.events.append("model loaded")

    def execution_recorded(self, spec: TrialSpec, _origin: Origin, execution: Execution) -> None:
        self.events.append(f"execution {spec.config_index} {execution.prompt_number}")

    def trial_sealed(self, record: TrialRecord) -> None:
        self.events.append(f"sealed {record.spec.config_index} a{record.spec.attempt}")

    def worker_lost(self, assignment: Assignment, reason: str, *, retried: bool) -> None:
        left = ",".join(str(prompt.number) for prompt in assignment.spec.prompts)
        what = "again" if retried else "given up"
        self.events.append(f"lost {assignment.spec.config_index} [{left}] {what}: {reason}")

    def disk_full(self, line: str) -> None:
        self.events.append(f"disk full: {line.partition(': ')[2]}")


@dataclass
class Trial:
    """What the callback reads of Tune's trial, and what its worker was given."""

    trial_id: str
    config: dict[str, Any]
    error_file: str | None = None
    started: bool = False
    given: set[int] = field(default_factory=set)
    """Prompts whose result its worker gave."""

    @property
    def assignment(self) -> Assignment:
        assignment: Assignment = self.config["assignment"].assignment
        return assignment

    @property
    def spec(self) -> TrialSpec:
        return self.assignment.spec

    def numbers(self) -> list[int]:
        """Prompts of this attempt."""
        return [p.number for p in self.spec.prompts]


class FakeTune:
    """Trials as Tune would have them, with searcher, callback and halt of a sweep.

    The data set is a real folder.
    """

    def __init__(
        self,
        paths: DataSetPaths,
        lock: Lock,
        assignments: list[Assignment],
        trials: Trials | None = None,
        *,
        start: StartConditions | None = None,
        observers: Sequence[Observer] = (),
        objectives: tuple[str, ...] = (),
        **searcher: Any,
    ) -> None:
        self.paths = paths
        self.halt = Halt()
        self.seen = Seen()
        self.trials = trials or Trials()
        self.searcher = SweepSearcher(assignments, **searcher)
        everyone = Observers(self.seen, *observers)
        self.recorder = Recorder(
            paths,
            TableWriter(paths, self.trials),
            lock,
            give_up=self.halt.ending,
            tell=everyone.disk_full,
        )
        self.callback = DataSetCallback(
            self.recorder,
            start or StartConditions(),
            self.searcher,
            self.halt,
            everyone,
            objectives=objectives,
        )
        self.halt.running = self.callback.n_running
        self.stopper = TakingInStopper(self.callback)
        self.live: dict[str, Trial] = {}
        self.finished = False
        self._ids = itertools.count()

    def hand_out(self) -> Trial | None:
        """A trial that waits for its worker; None: none now, and `finished` says whether ever."""
        trial_id = f"{next(self._ids):05d}"
        config = self.searcher.suggest(trial_id)
        if config == Searcher.FINISHED:
            self.finished = True
        if not isinstance(config, dict):
            return None
        trial = Trial(trial_id, config)
        self.live[trial_id] = trial
        return trial

    def start(self, trial: Trial | None = None, *, loading: bool = False) -> Trial:
        """A worker takes a trial, with a model that is loaded or is only just being loaded."""
        trial = trial or self.hand_out()
        assert trial is not None
        self.callback.on_trial_start(trial=trial)
        trial.started = True
        if not loading:
            self.ready(trial)
        return trial

    def ready(
        self, trial: Trial, *, loaded_here: bool = False, environment: dict[str, Any] | None = None
    ) -> None:
        """A worker tells where it runs, before its first prompt."""
        origin = builders.origin(
            trial.spec, environment={"loaded_here": loaded_here, **(environment or {})}
        )
        self.tell(trial, {"event": "ready", "origin": origin.model_dump_json()})

    def give(self, trial: Trial, prompt: int, **changes: Any) -> None:
        """A worker's result."""
        measured = builders.measured(prompt, of=trial.spec, **changes).model_dump_json()
        is_last = prompt == trial.numbers()[-1]
        trial.given.add(prompt)
        self.tell(trial, {"event": "executions", "measured": [measured], "done": is_last})

    def give_batch(self, trial: Trial, *prompts: int, **changes: Any) -> None:
        """A worker's result of several prompts that were generated at once."""
        changes = {"n_in_batch": len(prompts), "batch_number": 1, **changes}
        measured = [builders.measured(number, of=trial.spec, **changes) for number in prompts]
        trial.given.update(prompts)
        content = [one.model_dump_json() for one in measured]
        is_last = prompts[-1] == trial.numbers()[-1]
        self.tell(trial, {"event": "executions", "measured": content, "done": is_last})

    def tell(self, trial: Trial, result: dict[str, Any]) -> None:
        """Any result, as Tune hands it on."""
        if self.stopper(trial.trial_id, result):
            result = result | {"done": True}
        self.callback.on_trial_result(trial=trial, result=result)
        if result.get("done"):
            self.live.pop(trial.trial_id, None)
            self.searcher.on_trial_complete(trial.trial_id, result)

    def whole(self, trial: Trial, **changes: Any) -> None:
        """All that is left of a trial, one after the other."""
        for number in trial.numbers():
            self.give(trial, number, **changes)

    def lose(self, trial: Trial, error_file: Path | None = None) -> None:
        """Its worker is gone."""
        trial.error_file = str(error_file) if error_file else None
        self.live.pop(trial.trial_id, None)
        self.searcher.on_trial_complete(trial.trial_id, error=True)
        self.callback.on_trial_error(trial=trial)
