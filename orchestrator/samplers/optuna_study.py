"""Optuna as a sampler: one study, which proposes configurations and learns from their figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.nouns import PARAMETERS, Configuration, Space
from orchestrator.unknowns import known

if TYPE_CHECKING:
    import optuna

    from orchestrator.samplers import OptunaOptions


class OptunaStudy:
    """A study in memory: a later run makes it anew from the seed and tells it what is known."""

    def __init__(self, space: Space, seed: int, options: OptunaOptions) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._distributions = distributions(space)
        self._objectives: dict[str, str] = dict(options.objectives.items())
        self._study = optuna.create_study(
            directions=[f"{direction}imize" for direction in self._objectives.values()],
            sampler=_search(seed, options),
        )
        self._waiting: dict[Configuration, list[optuna.Trial]] = {}
        """Trials that it proposed and was not told of yet."""

    def ask(self) -> Configuration:
        """The next configuration; there is always one more."""
        trial = self._study.ask(self._distributions)
        configuration = Configuration.model_validate({n: trial.params[n] for n in PARAMETERS})
        self._waiting.setdefault(configuration, []).append(trial)
        return configuration

    def tell(self, configuration: Configuration, objectives: Mapping[str, float] | None) -> None:
        """Take in the figures of a configuration; missing or infinite ones count as failed.

        `objectives`: name of a figure -> value; None: the trial failed. A configuration that an
        earlier run proposed is added to the study.
        """
        from optuna.trial import TrialState, create_trial

        values = _values(objectives or {}, self._objectives)
        waiting = self._waiting.get(configuration)
        if waiting:
            state = TrialState.FAIL if values is None else TrialState.COMPLETE
            self._study.tell(waiting.pop(0), values, state=state)
        elif values is not None:  # of an earlier run
            self._study.add_trial(
                create_trial(
                    params=configuration.model_dump(),
                    distributions=self._distributions,
                    values=values,
                )
            )

    @property
    def trials(self) -> Any:
        """All trials of the study as Optuna has them, told or not."""
        return self._study.trials


def _values(figures: Mapping[str, Any], names: Mapping[str, str]) -> list[float] | None:
    """The figures of all objectives, in their order; None where one is unknown."""
    values = list(filter(math.isfinite, known(map(figures.get, names))))
    if len(values) < len(names):
        return None
    return list(map(float, values))


def distributions(space: Space) -> dict[str, Any]:
    """The space as Optuna has it, both bounds included."""
    from optuna.distributions import FloatDistribution, IntDistribution

    axes: dict[str, Any] = {}
    for name in PARAMETERS:
        axis = space.parameters[name]
        if axis.type == "int":
            axes[name] = IntDistribution(int(axis.low), int(axis.high))
        else:
            axes[name] = FloatDistribution(axis.low, axis.high)
    return axes


def _search(seed: int, options: OptunaOptions) -> optuna.samplers.BaseSampler:
    """The algorithm that the options name."""
    import optuna

    startup = options.startup_trials
    if options.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
    if options.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
    if options.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    if options.sampler == "nsga3":
        return optuna.samplers.NSGAIIISampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)
