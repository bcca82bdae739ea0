"""What Ray Tune does with searcher, callback and stopper, in its order of calls (tune_controller.py), without Ray."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from orchestrator.dataset.drift import Baseline
from orchestrator.dataset.lock import Lock
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.tables import TableWriter, Trials
from orchestrator.nouns import Machine, TrialSpec
from orchestrator.tune.callback import DataSetCallback, Store, TakingInStopper
from orchestrator.tune.halt import Halt
from orchestrator.tune.searcher import SweepSearcher
from orchestrator.tune.trainable import Job
from tests import builders

MACHINES = {"pc": Machine(name="pc", accelerator="cpu")}


def job(spec: TrialSpec | None = None, **changes: Any) -> Job:
    """A trial for a worker; keywords that are none of Job's change its spec."""
    own = {name: changes.pop(name) for name in list(changes) if name in Job.model_fields}
    values = {
        "order": "shuffled",
        "machine": "pc",
        "machines": MACHINES,
        "threads": 1,
        "n_parallel": 1,
    }
    return Job.model_validate(values | own | {"spec": spec or builders.spec(**changes)})


@dataclass
class Recorder:
    """An observer that only remembers."""

    events: list[str] = field(default_factory=list)

    def ready(self, _origin: Any) -> None:
        self.events.append("ready")

    def begun(self, spec: TrialSpec, _origin: Any) -> None:
        """Told in tests of who needs it (test_metrics)."""

    def execution(self, spec: TrialSpec, _origin: Any, execution: Any) -> None:
        self.events.append(f"execution {spec.config_index} {execution.prompt_number}")

    def sealed(self, record: Any) -> None:
        self.events.append(f"sealed {record.spec.config_index} a{record.spec.attempt}")

    def lost(self, job: Job, reason: str, *, retried: bool) -> None:
        left = ",".join(str(p.number) for p in job.spec.prompts)
        self.events.append(
            f"lost {job.spec.config_index} [{left}] {'again' if retried else 'given up'}: {reason}"
        )

    def paused(self, line: str) -> None:
        self.events.append(f"paused {line.partition(': ')[2]}")


@dataclass
class Trial:
    """What the callback reads of Tune's trial, and what its worker was given."""

    trial_id: str
    config: dict[str, Any]
    error_file: str | None = None
    started: bool = False

    @property
    def job(self) -> Job:
        return Job.model_validate(self.config["job"])

    @property
    def spec(self) -> TrialSpec:
        return self.job.spec

    def numbers(self) -> list[int]:
        """Prompts of this attempt."""
        return [p.number for p in self.spec.prompts]


class FakeTune:
    """Trials as Tune would have them, with searcher, callback and halt of a sweep on a real folder."""

    def __init__(
        self,
        paths: DataSetPaths,
        lock: Lock,
        jobs: list[Job],
        trials: Trials | None = None,
        *,
        baseline: Baseline | None = None,
        **searcher: Any,
    ) -> None:
        self.paths = paths
        self.halt = Halt()
        self.seen = Recorder()
        self.trials = trials or Trials()
        self.searcher = SweepSearcher(jobs, **searcher)
        self.callback = DataSetCallback(
            Store(paths, TableWriter(paths, self.trials), lock, baseline or Baseline()),
            self.searcher,
            self.halt,
            [self.seen],
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
        self.tell(trial, {"event": "ready", "origin": origin.model_dump(mode="json")})

    def give(self, trial: Trial, prompt: int, **changes: Any) -> None:
        """A worker's result."""
        measured = builders.measured(prompt, of=trial.spec, **changes).model_dump(mode="json")
        self.tell(
            trial,
            {"event": "execution", "measured": measured, "done": prompt == trial.numbers()[-1]},
        )

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
