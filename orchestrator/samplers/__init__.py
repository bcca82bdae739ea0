"""Samplers: pure functions from (count, seed, options) to points in the unit cube; `Space` turns those into values.

One table. A sampler with `extensible` keeps its first points when more are asked for, so a sweep can grow; `optuna`
has no design of its own: it learns from results (tune/searcher.py), and extends by more trials.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ConfigDict, Field

from orchestrator.errors import UserError
from orchestrator.nouns import PARAMETERS, Configuration, Noun, Space
from orchestrator.samplers import grid, lhs, sobol, uniform
from orchestrator.yaml_files import nearest, parse, short


class NoOptions(Noun):
    """A sampler without options."""


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

    model_config = ConfigDict(frozen=True, extra="forbid")

    sampler: Literal["tpe", "nsga2", "nsga3", "gp", "random"] = "tpe"
    objectives: dict[
        Literal[
            "energy_per_token_j", "energy_j", "energy_kwh", "tokens", "tokens_per_s", "quality"
        ],
        Literal["min", "max"],
    ] = Field(default={"energy_per_token_j": "min", "quality": "max"}, min_length=1)
    """`quality` is the mean of the packaged rules' over a trial's texts (evaluate/rules.yaml), whatever was judged otherwise."""
    startup_trials: int = Field(default=10, ge=1)
    """Random trials of a study before TPE or GP starts to learn."""


FORMER_OBJECTIVES = {"energy_per_token_j": "min"}
"""The default before there was a quality: a study that was begun with it keeps it (sweep/prepare.py)."""

Design = Callable[[int, int, int, Any], list[list[float]]]
"""(count, dimensions, seed, options) -> at most `count` points of the unit cube, one row a point."""


@dataclass(frozen=True)
class Sampler:
    """One row of the table."""

    folder: str
    """Its level in the data set's folders."""
    extensible: bool
    options: type[Noun] = field(default=NoOptions)
    design: Design | None = None
    """None: the sampler learns from results instead of drawing ahead."""


SAMPLERS: dict[str, Sampler] = {
    "uniform": Sampler("uniformSampling", extensible=True, design=uniform.design),
    "grid": Sampler("gridSampling", extensible=False, options=GridOptions, design=grid.design),
    "lhs": Sampler(
        "latinHypercubeSampling", extensible=False, options=LhsOptions, design=lhs.design
    ),
    "sobol": Sampler("sobolSampling", extensible=True, options=SobolOptions, design=sobol.design),
    "optuna": Sampler("optunaSampling", extensible=True, options=OptunaOptions),
}


def sampler_of(space: Space, where: str) -> tuple[Sampler, Noun]:
    """The table's row for a space and its checked options. Raises UserError naming the faulty key of `where`."""
    sampler = SAMPLERS.get(space.sampler)
    if sampler is None:
        raise UserError(
            f"{where}: $.sampler: there is no {short(repr(space.sampler))}: {nearest(space.sampler, list(SAMPLERS))}"
        )
    return sampler, parse(sampler.options, space.options, where, "$.options")


def configurations(
    space: Space, count: int, seed: int, where: str = "space"
) -> list[Configuration]:
    """The design of a space: `count` configurations (grid: at most). Raises UserError for options that can't be met."""
    sampler, options = sampler_of(space, where)
    if sampler.design is None:
        raise UserError(
            f"{where}: {space.sampler} draws no design ahead; it asks for one trial after another"
        )
    try:
        points = sampler.design(count, len(PARAMETERS), seed, options)
    except ValueError as error:
        raise UserError(
            f"{where}: $.options: {str(error).splitlines()[0]} (--samples {count})"
        ) from error
    drawn = [Configuration.at(space, point) for point in points]
    # an axis narrowed to fewer values than it has levels would repeat points of a grid; a random draw keeps its twins
    return list(dict.fromkeys(drawn)) if sampler.design is grid.design else drawn
