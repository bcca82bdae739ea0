"""The search space: ranges of the four hyperparameters, and one point of it."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from orchestrator.nouns.base import Noun
from orchestrator.nouns.bounds import Count, FolderName, Real
from orchestrator.nouns.setup import SetupEntry

PARAMETERS = ("max_length", "top_p", "top_k", "temperature")
"""The four swept hyperparameters, in the order of the report; the axes of every design."""


DOMAIN: dict[str, tuple[float, float]] = {
    "max_length": (100, 10000),
    "top_p": (0.0, 1.0),
    "top_k": (0, 100),
    "temperature": (0.0, 2.0),
}
"""The report's ranges (section 5.2). A space may be narrower, never wider."""


KINDS: dict[str, Literal["int", "float"]] = {
    "max_length": "int",
    "top_p": "float",
    "top_k": "int",
    "temperature": "float",
}
"""Type of each axis."""


class Parameter(Noun):
    """One axis of the space: all values from `low` to `high`, both included."""

    type: Literal["int", "float"]
    low: float = Field(allow_inf_nan=False, strict=True)
    high: float = Field(allow_inf_nan=False, strict=True)

    @field_validator("low", "high")
    @classmethod
    def _one_zero(cls, bound: float) -> float:
        """-0.0 is 0.0: they are the same bound, and must have the same hash."""
        return bound + 0.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        """Refuse a range upside down, and fractions as the ends of an integer range."""
        if self.low > self.high:
            msg = f"low {self.low:g} is above high {self.high:g}"
            raise ValueError(msg)
        if self.type == "int" and (self.low != int(self.low) or self.high != int(self.high)):
            msg = f"an int parameter needs whole numbers, not {self.low:g} and {self.high:g}"
            raise ValueError(msg)
        return self

    def at(self, u: float) -> int | float:
        """The value at u in [0, 1].

        Integers have cells of equal width: rounding would halve the weight of both ends.
        """
        if self.type == "int":
            cells = int(self.high) - int(self.low) + 1
            return min(int(self.high), int(self.low) + math.floor(u * cells))
        return min(self.high, max(self.low, self.low + u * (self.high - self.low)))

    def position(self, value: float) -> float:
        """Where a value stands in [0, 1]: the inverse of `at` (an integer in mid-cell)."""
        if self.type == "int":
            return (value - self.low + 0.5) / (self.high - self.low + 1)
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5


class Parameters(Noun):
    """The four axes, each within the report's domain."""

    max_length: Parameter
    top_p: Parameter
    top_k: Parameter
    temperature: Parameter

    @field_validator(*PARAMETERS)
    @classmethod
    def _within_domain(cls, parameter: Parameter, info: ValidationInfo) -> Parameter:
        """Refuse a range that no engine can generate with."""
        name = str(info.field_name)
        low, high = DOMAIN[name]
        if parameter.type != KINDS[name]:
            msg = f"type must be {KINDS[name]}"
            raise ValueError(msg)
        if parameter.low < low or parameter.high > high:
            msg = f"{parameter.low:g}..{parameter.high:g} leaves the domain {low:g}..{high:g}"
            raise ValueError(msg)
        return parameter

    def __getitem__(self, name: str) -> Parameter:
        """The axis of that name; raises KeyError for another one."""
        if name not in PARAMETERS:
            raise KeyError(name)
        return getattr(self, name)  # type: ignore[no-any-return]


class Space(Noun):
    """The ranges of the four hyperparameters and the sampler that draws from them."""

    name: str
    sampler: FolderName
    options: dict[str, Any] = {}
    parameters: Parameters
    setups: tuple[SetupEntry, ...] = Field(default=(), exclude=True)
    """How the models are run, an entry a variant; (): the flags say it.

    Never written with the space: a plan holds its setups in full.
    """

    def narrowed(self, ranges: dict[str, tuple[float, float]]) -> Space:
        """The space with some ranges replaced. Raises pydantic's ValidationError for bad ones."""
        axes = {name: self.parameters[name].model_dump() for name in PARAMETERS}
        for name, (low, high) in ranges.items():
            axes[name] |= {"low": low, "high": high}
        return Space.model_validate(
            {**self.model_dump(), "parameters": axes, "setups": self.setups}
        )


class Configuration(Noun):
    """One point of the space: the requested values."""

    max_length: Count
    top_p: Real
    top_k: Count
    temperature: Real

    @classmethod
    def at(cls, space: Space, point: list[float]) -> Configuration:
        """The configuration at a point of the unit cube, axes in the order of `PARAMETERS`.

        `point`: a number from 0 to 1 for each axis.
        """
        values = {
            name: space.parameters[name].at(u) for name, u in zip(PARAMETERS, point, strict=True)
        }
        return cls.model_validate(values)
