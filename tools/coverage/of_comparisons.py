"""How often the intervals of `report --compare` hold the ratio of two data sets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from orchestrator.report.compare import compare
from orchestrator.report.execution_frame import data_of
from tools.coverage.lines import Line, Tally, row_of
from tools.coverage.worlds import KINDS, executions, world


@dataclass(frozen=True)
class Sides:
    """How both data sets of a comparison were measured."""

    n_sessions: int
    session: float
    """Standard deviation between sessions, relative."""
    gain: float = 0.0
    """Bounds of the sensors' gains; 0: one sensor measured both."""
    repeats: bool = False
    """Whether each session takes all configurations."""
    matched: bool = True
    """Whether both have the same configurations; else the model of the effects stands in."""


SIDES = [
    Sides(1, 0.13),
    Sides(3, 0.03),
    Sides(3, 0.13),
    Sides(3, 0.03, 0.05),
    Sides(4, 0.13),
    Sides(6, 0.03, 0.05),
    Sides(3, 0.03, repeats=True),
    Sides(3, 0.13, repeats=True),
    Sides(3, 0.03, matched=False),
    Sides(3, 0.13, matched=False),
    Sides(6, 0.03, 0.05, matched=False),
]
POINTS = (12, 40)
"""Numbers of configurations a side."""
RATIO = 1.2
"""What B takes, over what A takes."""


def compared(of: Sides, n_points: int, seed: int) -> Tally:
    """Two data sets, B with RATIO times the energy of A: what the ratio's interval holds."""
    kind = dataclasses.replace(KINDS["lines"], n_sessions=of.n_sessions, session=of.session)
    one = world(kind, seed)
    a, b = (
        executions(
            one,
            seed,
            n_points,
            number=number,
            design_number=0 if of.matched else number,
            repeats=of.repeats,
            gain=of.gain,
        )
        for number in (0, 1)
    )
    b["gpu_energy_counter_j"] *= RATIO
    (match,) = compare(data_of(a), data_of(b)).matches
    change = match.changes["energy_per_token_j"]
    if change.interval is None:
        return Tally((math.nan,), (math.nan,), (math.nan,))
    lower, upper = np.log(change.interval)
    true = math.log(RATIO)
    return Tally(
        (float(lower <= true <= upper),), (math.log(change.value) - true,), (upper - lower,)
    )


def compare_rows(
    n_data_sets: int, of_sides: list[int], points: Sequence[int], n_processes: int
) -> Iterator[tuple[str, list[tuple[str, Line]]]]:
    """The rows of the table of comparisons, as Markdown, each with its line and what it is of."""
    head = (
        "sides",
        "sessions a side",
        "each takes",
        "apart by",
        "sensors",
        "compared",
        "configurations",
        "coverage",
        "width",
    )
    yield row_of(*head), []
    yield row_of(*["---"] * len(head)), []
    with ProcessPoolExecutor(n_processes) as pool:
        for number in of_sides:
            of = SIDES[number]
            for n_points in points:
                first = 1_000_000 * number + 10_000 * n_points
                seeds = range(first, first + n_data_sets)
                every = [[of] * n_data_sets, [n_points] * n_data_sets, seeds]
                line = Line.of(list(pool.map(compared, *every, chunksize=10)))
                figures = ("not printed", "")
                if line.coverage is not None:
                    figures = (f"{100 * line.coverage:.1f}", f"{line.width:.2f}")
                told = [(f"sides {number}, {n_points} configurations", line)]
                yield row_of(number, *_circumstances(of), n_points, *figures), told


def _circumstances(of: Sides) -> tuple[object, ...]:
    """How both sides were measured, as cells."""
    return (
        of.n_sessions,
        "all" if of.repeats else "a share",
        f"{of.session:.0%}",
        f"two, within {of.gain:.0%}" if of.gain else "one",
        "pair by pair" if of.matched else "by model",
    )
