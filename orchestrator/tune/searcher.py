"""Searchers: what Ray Tune asks for its next trial.

`DesignSearcher` hands out a prepared list. `StudySearcher` asks Optuna (Ray's OptunaSearch), one study for each model and
use case, in turn, and tells it the energy of what it asked for. Repeats of an asked configuration follow it at once and
are not told to the study, which would take them for new points.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from orchestrator.nouns import PARAMETERS, Configuration, Space
from orchestrator.samplers import OptunaOptions
from orchestrator.tune.trainable import Job


def domains(space: Space) -> dict[str, Any]:
    """The space as Ray Tune's domains; a range of one value becomes a constant choice (randint's end is exclusive)."""
    result = {}
    for name in PARAMETERS:
        axis = space.parameters[name]
        if axis.type == "int":
            result[name] = tune.randint(int(axis.low), int(axis.high) + 1)
        else:
            result[name] = tune.uniform(axis.low, axis.high) if axis.high > axis.low else tune.choice([axis.low])
    return result


class DesignSearcher(Searcher):  # type: ignore[misc]  # ray has no types
    """A fixed list of jobs, in order, until `stop()`."""

    def __init__(self, jobs: list[Job]) -> None:
        super().__init__()
        self._jobs = deque(jobs)
        self.stopped = False

    def suggest(self, _trial_id: str) -> dict[str, Any] | str:
        """The next job, or the end."""
        if self.stopped or not self._jobs:
            return str(Searcher.FINISHED)
        return {"job": self._jobs.popleft().model_dump(mode="json")}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A design doesn't learn."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the data set says what is done."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


@dataclass
class Study:
    """One Optuna study: what it may still ask for, and how a configuration becomes jobs (one a repeat)."""

    name: str
    budget: int
    jobs: Callable[[int, Configuration], list[Job]]
    seed: int
    known: list[tuple[Configuration, list[float]]] = field(default_factory=list)
    """Finished trials of earlier runs with their objectives."""
    asked: int = 0
    """How many configurations the study has asked for, earlier runs included: the next one's index."""


class StudySearcher(Searcher):  # type: ignore[misc]  # ray has no types
    """Unfinished jobs first, then the studies in turn."""

    def __init__(self, space: Space, options: OptunaOptions, studies: list[Study], unfinished: list[Job]) -> None:
        super().__init__()
        self._objectives = list(options.objectives)
        self._ready: deque[Job] = deque(unfinished)
        self._studies = deque((study, _optuna(space, options, study)) for study in studies)
        self._asked_of: dict[str, OptunaSearch] = {}
        self.stopped = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A waiting job, or the next configuration of the next study that has budget left."""
        if self.stopped:
            return str(Searcher.FINISHED)
        if self._ready:
            return {"job": self._ready.popleft().model_dump(mode="json")}
        for _ in range(len(self._studies)):
            study, search = self._studies[0]
            self._studies.rotate(-1)
            if study.budget <= 0:
                continue
            values = search.suggest(trial_id)
            study.budget -= 1
            first, *repeats = study.jobs(study.asked, Configuration.model_validate({n: values[n] for n in PARAMETERS}))
            study.asked += 1
            self._ready.extend(repeats)
            self._asked_of[trial_id] = search
            return {"job": first.model_dump(mode="json")}
        return str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A study learns from whole trials only."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the study that asked; a trial whose energy is unknown counts as failed."""
        search = self._asked_of.pop(trial_id, None)
        if search is None:
            return
        values = [(result or {}).get(name) for name in self._objectives]
        known = all(isinstance(v, int | float) and v == v for v in values)  # noqa: PLR0124 - not nan
        search.on_trial_complete(trial_id, result if known else None, error or not known)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a resumed study is fed from the data set."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


def _optuna(space: Space, options: OptunaOptions, study: Study) -> OptunaSearch:
    """A study through Ray's OptunaSearch, with the finished trials of earlier runs told to it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    makers: dict[str, Callable[[], Any]] = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=study.seed, n_startup_trials=options.startup_trials),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=study.seed),
        "nsga3": lambda: optuna.samplers.NSGAIIISampler(seed=study.seed),
        "gp": lambda: optuna.samplers.GPSampler(seed=study.seed, n_startup_trials=options.startup_trials),
        "random": lambda: optuna.samplers.RandomSampler(seed=study.seed),
    }
    names, modes = list(options.objectives), list(options.objectives.values())
    distributions = OptunaSearch.convert_search_space(domains(space))
    search = OptunaSearch(
        space=distributions,
        metric=names if len(names) > 1 else names[0],
        mode=modes if len(modes) > 1 else modes[0],
        sampler=makers[options.sampler](),
    )
    for asked, values in study.known:
        # OptunaSearch.add_evaluated_point takes a single objective only, so the study itself is told
        search._ot_study.add_trial(  # noqa: SLF001
            optuna.trial.create_trial(params=asked.model_dump(), distributions=distributions, values=values)
        )
    return search
