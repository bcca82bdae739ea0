"""What the report says and shows of a data set, for its data card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class CardChart:
    """A chart of the report, as a picture."""

    png: bytes
    title: str
    description: str
    """What it shows, for those who can't see it."""
    message: str
    """What it says in a sentence; "" where nothing can honestly be said."""


@dataclass(frozen=True)
class Conclusions:
    """The report's sentences on a data set; none where the program has measured no answer."""

    warnings: Sequence[str] = ()
    """What a reader must know before any number."""
    findings: Sequence[tuple[str, Sequence[str]]] = ()
    """(heading, its sentences), in the order in which a reader asks."""
    chart: CardChart | None = None
    """None: there is nothing to draw."""
