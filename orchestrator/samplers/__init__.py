"""Samplers: what proposes configurations of a space. One protocol, one table, one contract suite.

Most draw a design ahead: pure functions from (count, dimensions, seed, options) to points in the
unit cube. Optuna learns from what it is told of finished configurations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from orchestrator.errors import UserError
from orchestrator.nouns import PARAMETERS, Configuration, Noun, Space
from orchestrator.samplers import grid, lhs, sobol, uniform
from orchestrator.yaml_files import located, nearest, parse, short


class Sampler(Protocol):
    """Proposes configurations, one after another."""

    def ask(self) -> Configuration | None:
        """The next configuration; None: there are no more."""

    def tell(self, configuration: Configuration, objectives: Mapping[str, float] | None) -> None:
        """Take in what a configuration gave, by objective; None: it failed.

        The configuration may also come from an earlier run. A sampler that doesn't learn
        ignores it.
        """


class GridOptions(Noun):
    """Where the levels of an axis stand."""

    levels_at: Literal["midpoints", "endpoints"] = "midpoints"


class LhsOptions(Noun):
    """Options of scipy.stats.qmc.LatinHypercube."""

    strength: Literal[1, 2] = 1
    optimization: Literal["random-cd", "lloyd"] | None = None
    scramble: bool = True


class SobolOptions(Noun):
    """Options of scipy.stats.qmc.Sobol."""

    scramble: bool = True


class OptunaOptions(Noun):
    """How Optuna searches and for what."""

    sampler: Literal["tpe", "nsga2", "nsga3", "gp", "random"] = "tpe"
    objectives: dict[
        Literal[
            "energy_per_token_j", "energy_j", "energy_kwh", "tokens", "tokens_per_s", "quality"
        ],
        Literal["min", "max"],
    ] = Field(default={"energy_per_token_j": "min", "quality": "max"}, min_length=1)
    """`quality` is the mean over a trial's texts by the packaged rules (evaluate/rules.yaml)."""
    startup_trials: int = Field(default=10, ge=1)
    """Random configurations before TPE or GP starts to learn."""


class Design:
    """A sampler that draws all its configurations ahead and doesn't learn."""

    def __init__(self, configurations: list[Configuration]) -> None:
        self._left = iter(configurations)

    def ask(self) -> Configuration | None:
        """The next configuration of the design; None after the last."""
        return next(self._left, None)

    def tell(self, configuration: Configuration, objectives: Mapping[str, float] | None) -> None:
        """Ignore what a configuration gave."""


@dataclass(frozen=True)
class SamplerKind:
    """One row of the table of samplers."""

    folder: str
    """Its level in the data set's folders."""
    start: Callable[[Space, int, int, Any], Sampler]
    """(space, count, seed, options) -> sampler. Raises ValueError for options that can't be met."""
    extensible: bool
    """Whether it keeps its first configurations when more are asked for, so a sweep can grow."""
    options: type[Noun] = Noun
    """Its options in a space's file; `Noun`: none."""
    learns: bool = False
    """Whether what it asks for depends on what it was told."""

    def objectives(self, options: Any) -> dict[str, str]:
        """Figures that it wants to be told of a trial -> min or max."""
        return dict(options.objectives) if self.learns else {}


def _drawn(
    design: Callable[[int, int, int, Any], list[list[float]]],
    space: Space,
    count: int,
    seed: int,
    options: Any,
) -> Sampler:
    """A fixed design in the unit cube, scaled to the space."""
    points = design(count, len(PARAMETERS), seed, options)
    return Design([Configuration.at(space, point) for point in points])


def _grid(space: Space, count: int, seed: int, options: Any) -> Sampler:
    """A grid without repeated points: a narrow axis may have fewer values than levels."""
    points = grid.design(count, len(PARAMETERS), seed, options)
    return Design(list(dict.fromkeys(Configuration.at(space, point) for point in points)))


def _optuna(space: Space, _count: int, seed: int, options: Any) -> Sampler:
    """A sampler that learns. Imported late: Optuna is slow to import."""
    from orchestrator.samplers.optuna_study import OptunaStudy

    return OptunaStudy(space, seed, options)


SAMPLERS: dict[str, SamplerKind] = {
    "uniform": SamplerKind("uniformSampling", partial(_drawn, uniform.design), extensible=True),
    "grid": SamplerKind("gridSampling", _grid, extensible=False, options=GridOptions),
    "lhs": SamplerKind(
        "latinHypercubeSampling", partial(_drawn, lhs.design), extensible=False, options=LhsOptions
    ),
    "sobol": SamplerKind(
        "sobolSampling", partial(_drawn, sobol.design), extensible=True, options=SobolOptions
    ),
    "optuna": SamplerKind(
        "optunaSampling", _optuna, extensible=True, options=OptunaOptions, learns=True
    ),
}


def sampler_of(space: Space, where: Path | str) -> tuple[SamplerKind, Noun]:
    """The table's row for a space, and its checked options.

    `where`: the file of the space. Raises UserError naming the faulty key there.
    """
    kind = SAMPLERS.get(space.sampler)
    if kind is None:
        known = nearest(space.sampler, list(SAMPLERS))
        place = located(where, ("sampler",))
        raise UserError(f"{place}: there is no {short(repr(space.sampler))}: {known}")
    return kind, parse(kind.options, space.options, where, ("options",))


def configurations(
    space: Space, count: int, seed: int, where: Path | str = "space"
) -> list[Configuration]:
    """The first `count` configurations of a space (grid: at most); of one that learns, untold.

    Raises UserError for options that can't be met.
    """
    kind, options = sampler_of(space, where)
    return drawn(kind, space, count, seed=seed, options=options, where=where)


def drawn(
    kind: SamplerKind, space: Space, count: int, *, seed: int, options: Noun, where: Path | str
) -> list[Configuration]:
    """The first configurations of a sampler whose kind and options are known.

    Raises UserError for options that can't be met.
    """
    try:
        sampler = kind.start(space, count, seed, options)
    except ValueError as error:
        why = str(error).splitlines()[0]
        place = located(where, ("options",))
        raise UserError(f"{place}: {why} (--samples {count})") from error
    proposed = (sampler.ask() for _ in range(count))
    return [configuration for configuration in proposed if configuration is not None]
