"""How often the intervals of the hyperparameters' effects hold the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from orchestrator.report.effects import (
    AT_EQUAL_LENGTH,
    ENERGY,
    OF_USABLE,
    USABLE,
    Outcome,
    effects,
)
from orchestrator.report.execution_frame import data_of
from tools.coverage.lines import Line, Tally, row_of
from tools.coverage.worlds import KINDS, executions, truths, world

POINTS = (12, 15, 20, 40, 100)
"""Numbers of configurations."""
OF_DISCARDS = (ENERGY, AT_EQUAL_LENGTH, OF_USABLE, USABLE)


def outcomes_of(kind: str) -> tuple[Outcome, ...]:
    """The outcomes whose intervals are checked on a kind of truth."""
    return OF_DISCARDS if kind == "discards" else (ENERGY, AT_EQUAL_LENGTH)


def tallies(kind: str, n_points: int, seed: int) -> dict[Outcome, Tally]:
    """One data set: outcome -> what its intervals hold."""
    of = world(KINDS[kind], seed)
    truth = truths(of, seed, [outcome.name for outcome in outcomes_of(kind)])
    answers = data_of(executions(of, seed, n_points)).answers
    found = {}
    for outcome in outcomes_of(kind):
        rows = []
        for effect, true in zip(effects(answers, outcome), truth[outcome.name], strict=True):
            if effect.known is None:
                rows.append((math.nan, math.nan, math.nan))
                continue
            known = np.array(effect.known)
            value, lower, upper = np.log(known) if outcome.is_ratio else known
            rows.append((float(lower <= true <= upper), value - true, upper - lower))
        found[outcome] = Tally(*zip(*rows, strict=True))
    return found


def effect_rows(
    n_data_sets: int, kinds: list[str], points: Sequence[int], n_processes: int
) -> Iterator[tuple[str, list[tuple[str, Line]]]]:
    """The rows of the table of effects, as Markdown, each with its lines and what they are of."""
    head = ("truth", "outcome", *(f"{n} configurations" for n in points), "largest bias")
    yield row_of(*head), []
    yield row_of(*["---"] * len(head)), []
    with ProcessPoolExecutor(n_processes) as pool:
        for kind in kinds:
            found = [_of_kind(pool, kind, n_points, n_data_sets) for n_points in points]
            for outcome in outcomes_of(kind):
                lines = [Line.of([one[outcome] for one in of_points]) for of_points in found]
                names = [f"{kind}, {outcome.name}, {n} configurations" for n in points]
                bias = max((abs(line.bias) for line in lines if line.coverage), default=0.0)
                row = row_of(kind, outcome.name, *(line.cell() for line in lines), f"{bias:.3f}")
                yield row, list(zip(names, lines, strict=True))


def _of_kind(
    pool: ProcessPoolExecutor, kind: str, n_points: int, n_data_sets: int
) -> list[dict[Outcome, Tally]]:
    """Data sets of a kind. No two lines share their chance."""
    first = 1_000_000 * list(KINDS).index(kind) + 10_000 * n_points
    seeds = range(first, first + n_data_sets)
    every = [[kind] * n_data_sets, [n_points] * n_data_sets, seeds]
    return list(pool.map(tallies, *every, chunksize=10))
