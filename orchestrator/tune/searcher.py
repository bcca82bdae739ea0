"""Searchers: what Ray Tune asks for its next trial.

`SweepSearcher` hands out a prepared list, then asks Optuna (Ray's OptunaSearch), one study for each model and use case, in
turn, and tells it the figures of what it asked for. Repeats of an asked configuration follow it at once and are not told to
the study, which would take them for new points.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from orchestrator.nouns import PARAMETERS, Configuration, Setup, Space, TrialKey, TrialSpec
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
            result[name] = (
                tune.uniform(axis.low, axis.high)
                if axis.high > axis.low
                else tune.choice([axis.low])
            )
    return result


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


@dataclass
class Asked:
    """A configuration that a study waits for."""

    search: OptunaSearch
    trial_id: str
    """The study's name of it: a trial that is begun again gets another one from Tune."""


class SweepSearcher(Searcher):  # type: ignore[misc]  # ray has no types
    """Prepared jobs first, then the studies in turn. A job whose worker was lost comes again at the end.

    `allows` is asked before a job is handed out; where it gives a reason against it, the sweep ends. `orders` numbers what is
    handed out; searchers that run side by side share it. No more than `slots` are out at once.
    """

    def __init__(
        self,
        jobs: list[Job],
        *,
        studies: list[Study] | None = None,
        space: Space | None = None,
        options: OptunaOptions | None = None,
        allows: Callable[[Job], str | None] = lambda _job: None,
        orders: Iterator[int] | None = None,
        slots: Callable[[], float] = lambda: math.inf,
        oom_tokens: dict[str, dict[str, int]] | None = None,
    ) -> None:
        super().__init__()
        self._ready: deque[Job] = deque(jobs)
        self._out: set[str] = set()
        self.objectives = list(options.objectives) if options else []
        self._space = space
        self._studies = deque(
            (study, _optuna(space, options, study)) for study in studies or [] if space and options
        )
        self._asked: dict[TrialKey, Asked] = {}
        self._allows = allows
        self._orders = itertools.count() if orders is None else orders
        self._slots = slots
        self._oom_tokens = oom_tokens or {}
        self.stopped: str | None = None
        """Why nothing more is handed out, once it isn't."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next job; None while all slots are taken or lost ones may still come back; then the end."""
        full = len(self._out) >= self._slots()
        if full and not self.stopped:
            return None
        job = None if self.stopped else self._next(trial_id)
        if job is not None:
            spec = job.spec.model_copy(update={"order_index": next(self._orders)})
            job = job.model_copy(
                update={
                    "spec": spec,
                    "oom_tokens": dict(self._oom_tokens.get(model_key(spec.setup), {})),
                }
            )
            self.stopped = self._allows(job)
        if self.stopped or (job is None and not self._out):
            return str(Searcher.FINISHED)
        if job is None:
            return None
        self._out.add(trial_id)
        return {"job": job.model_dump(mode="json")}

    def _next(self, trial_id: str) -> Job | None:
        if self._ready:
            return self._ready.popleft()
        for _ in range(len(self._studies)):
            study, search = self._studies[0]
            self._studies.rotate(-1)
            if study.budget <= 0:
                continue
            values = search.suggest(trial_id)
            study.budget -= 1
            first, *repeats = study.jobs(
                study.asked, Configuration.model_validate({n: values[n] for n in PARAMETERS})
            )
            study.asked += 1
            self._ready.extend(repeats)
            self._asked[first.spec.key()] = Asked(search, trial_id)
            return first
        return None

    def again(self, job: Job) -> None:
        """Hand out what is left of a job whose worker was lost."""
        self._ready.append(job)

    def ran_out(self, setup: Setup, machine: str, tokens: int) -> None:
        """Memory ran out at so many tokens: jobs handed out from now on know it."""
        known = self._oom_tokens.setdefault(model_key(setup), {})
        known[machine] = min(tokens, known.get(machine, tokens))

    def finished(self, spec: TrialSpec, figures: dict[str, Any] | None) -> None:
        """Tell the study that asked for a trial, in this run or an earlier one; here unknown figures count as failed."""
        asked = self._asked.pop(spec.key(), None)
        values = [None if figures is None else figures.get(name) for name in self.objectives]
        finite = [value for value in values if value is not None and math.isfinite(value)]
        known = len(finite) == len(values)
        if asked is not None:
            asked.search.on_trial_complete(asked.trial_id, figures if known else None, not known)
        elif known and spec.repeat == 1 and self._space is not None:
            for study, search in self._studies:
                if study.name == study_name(spec.setup.model, spec.setup.use_case):
                    _add(search, self._space, spec.asked, finite)

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,  # noqa: ARG002 - Tune gives it
        error: bool = False,  # noqa: ARG002
    ) -> None:
        """Tune's trial is over; what was measured comes by `finished`, from the data set."""
        self._out.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the data set says what is done."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


def study_name(model: str, use_case: str) -> str:
    """There is a study for each pair."""
    return f"{model}/{use_case}"


def model_key(setup: Setup) -> str:
    """What decides how much memory a length takes, but for the machine."""
    offload = " cpu_offload" if setup.cpu_offload else ""
    return f"{setup.model} {setup.quantization.name} {setup.compute_dtype}{offload}"


def _optuna(space: Space, options: OptunaOptions, study: Study) -> OptunaSearch:
    """A study through Ray's OptunaSearch, with the finished trials of earlier runs told to it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    makers: dict[str, Callable[[], Any]] = {
        "tpe": lambda: optuna.samplers.TPESampler(
            seed=study.seed, n_startup_trials=options.startup_trials
        ),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=study.seed),
        "nsga3": lambda: optuna.samplers.NSGAIIISampler(seed=study.seed),
        "gp": lambda: optuna.samplers.GPSampler(
            seed=study.seed, n_startup_trials=options.startup_trials
        ),
        "random": lambda: optuna.samplers.RandomSampler(seed=study.seed),
    }
    names, modes = list(options.objectives), list(options.objectives.values())
    search = OptunaSearch(
        space=OptunaSearch.convert_search_space(domains(space)),
        metric=names if len(names) > 1 else names[0],
        mode=modes if len(modes) > 1 else modes[0],
        sampler=makers[options.sampler](),
    )
    for asked, values in study.known:
        _add(search, space, asked, values)
    return search


def _add(search: OptunaSearch, space: Space, asked: Configuration, values: list[float]) -> None:
    """A finished trial that a study didn't ask for: add_evaluated_point takes a single objective, so the study itself is told."""
    import optuna

    distributions = OptunaSearch.convert_search_space(domains(space))
    search._ot_study.add_trial(  # noqa: SLF001
        optuna.trial.create_trial(
            params=asked.model_dump(), distributions=distributions, values=values
        )
    )
