"""The result of one check, in three levels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "problem")
"""From the best one: `warning` means that a sweep runs, but is worth less or needs a flag;
`problem` that it can't run."""


@dataclass(frozen=True)
class Check:
    """What was found, how grave it is, and what to do about it."""

    name: str
    found: str
    """For a person."""
    level: Level = "ok"
    remedy: str | None = None
    """What to do where it isn't ok."""
    values: dict[str, Any] = field(default_factory=dict)
    """The same as numbers, for a program: name with unit -> value, None where it is unknown."""


def worst(checks: Iterable[Check]) -> Level:
    """The gravest level among checks."""
    return max((check.level for check in checks), key=LEVELS.index, default="ok")
