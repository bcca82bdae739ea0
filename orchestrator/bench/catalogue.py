"""The ways that `bench` compares, and the letters that name them."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.engine import ENGINES

FLOOR = "b"
"""The way that the others are compared with."""
OURS = "d"
REFERENCE_ENGINE = "transformers"
"""The engine of ours that must write the same texts as the other ways."""


class Way(NamedTuple):
    """One way to do the work."""

    letter: str
    """What names it after --ways."""
    name: str
    meaning: str
    module: str | None = None
    """The program, in `ways/`; None: `tune`."""
    engine: str = REFERENCE_ENGINE

    @property
    def same_texts(self) -> bool:
        """Whether its texts must be those of the other ways, byte by byte."""
        return self.engine == REFERENCE_ENGINE


OTHERS = (
    Way(
        "a",
        "the report's way",
        "one process; each configuration loads and quantizes the model, makes a tracker, generates",
        "report_way",
    ),
    Way(
        FLOOR,
        "bare warm loop",
        "one process that loads the model once; each configuration makes a tracker, generates",
        "warm_loop",
    ),
    Way(
        "c",
        "plain Ray Tune",
        "a function as trainable, one trial per configuration, one at a time",
        "plain_tune",
    ),
)
LETTERS = (*(way.letter for way in OTHERS), OURS)
ENGINES_COMPARED = tuple(name for name, kind in ENGINES.items() if kind.needs_weights)
"""Engines of ours that run a model."""


def ways_of(letters: tuple[str, ...], engines: tuple[str, ...]) -> tuple[Way, ...]:
    """The ways that these letters name, ours once an engine."""
    ours = [
        Way(OURS, f"tune, {engine}", f"`tune --engine {engine}`", engine=engine)
        for engine in engines
    ]
    return tuple(way for way in (*OTHERS, *ours) if way.letter in letters)
