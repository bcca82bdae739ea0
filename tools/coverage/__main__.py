"""How often the report's 95 % intervals hold the truth, and how wide they are, as tables.

A cell is a kind of truth (worlds.py) and a number of configurations, over many data sets: the
share of intervals that hold it in percent, in brackets that of the hyperparameter that is farthest
from 95, and the median width of an interval, as a logarithm.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from orchestrator.nouns import PARAMETERS
from orchestrator.report.compare import compare
from orchestrator.report.effects import (
    AT_EQUAL_LENGTH,
    CONFIDENCE,
    ENERGY,
    OF_USABLE,
    USABLE,
    Outcome,
    effects,
)
from orchestrator.report.execution_frame import data_of
from tools.coverage.worlds import KINDS, executions, truths, world

POINTS = (12, 15, 20, 40, 100)
OF_DISCARDS = (ENERGY, AT_EQUAL_LENGTH, OF_USABLE, USABLE)


@dataclass(frozen=True)
class Tally:
    """What came out for one data set; arrays over PARAMETERS, NaN where nothing is printed."""

    holds: tuple[float, ...]
    error: tuple[float, ...]
    width: tuple[float, ...]


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
RATIO = 1.2
"""What B takes, over what A takes."""


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


def run(n_data_sets: int, kinds: list[str], points: list[int], n_processes: int) -> Iterator[str]:
    """The rows of the table of effects, as Markdown."""
    head = ("truth", "outcome", *(f"{n} configurations" for n in points), "largest bias")
    yield _row(*head)
    yield _row(*["---"] * len(head))
    with ProcessPoolExecutor(n_processes) as pool:
        for kind in kinds:
            found = [_of_kind(pool, kind, n_points, n_data_sets) for n_points in points]
            for outcome in outcomes_of(kind):
                lines = [Line.of([one[outcome] for one in of_points]) for of_points in found]
                bias = max((abs(line.bias) for line in lines if line.coverage), default=0.0)
                yield _row(kind, outcome.name, *(line.cell() for line in lines), f"{bias:.3f}")


def _of_kind(
    pool: ProcessPoolExecutor, kind: str, n_points: int, n_data_sets: int
) -> list[dict[Outcome, Tally]]:
    """Data sets of a kind. No two lines share their chance."""
    first = 1_000_000 * list(KINDS).index(kind) + 10_000 * n_points
    seeds = range(first, first + n_data_sets)
    every = [[kind] * n_data_sets, [n_points] * n_data_sets, seeds]
    return list(pool.map(tallies, *every, chunksize=10))


@dataclass(frozen=True)
class Line:
    """What came out over many data sets."""

    coverage: float | None
    """None: nothing was printed."""
    worst: float
    """Coverage of the hyperparameter that is farthest from 95 %."""
    bias: float
    width: float
    missing: float
    """Share of the intervals that weren't printed."""

    @classmethod
    def of(cls, some: list[Tally]) -> Line:
        """The figures of data sets."""
        holds, error, width = (
            np.array([getattr(one, name) for one in some]) for name in ("holds", "error", "width")
        )
        missing = float(np.isnan(holds).mean())
        if np.isnan(holds).all():
            return cls(None, math.nan, math.nan, math.nan, missing)
        of_each, bias = np.nanmean(holds, axis=0), np.nanmean(error, axis=0)
        return cls(
            float(np.nanmean(holds)),
            float(of_each[np.abs(of_each - CONFIDENCE).argmax()]),
            float(bias[np.abs(bias).argmax()]),
            float(np.nanmedian(width, axis=0).mean()),
            missing,
        )

    def cell(self) -> str:
        """Coverage, in brackets that of the worst hyperparameter; width."""
        if self.coverage is None:
            return "not printed"
        return f"{100 * self.coverage:.1f} ({100 * self.worst:.1f}); {self.width:.2f}"


def _row(*cells: object) -> str:
    """A row of a table."""
    return f"| {' | '.join(map(str, cells))} |"


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


def compare_rows(n_data_sets: int, n_processes: int) -> Iterator[str]:
    """The rows of the table of comparisons, as Markdown."""
    head = ("sessions a side", "apart by", "sensors", "configurations", "coverage", "width")
    yield _row(*head)
    yield _row(*["---"] * len(head))
    with ProcessPoolExecutor(n_processes) as pool:
        for number, of in enumerate(SIDES):
            for n_points in (12, 40):
                first = 1_000_000 * number + 10_000 * n_points
                seeds = range(first, first + n_data_sets)
                every = [[of] * n_data_sets, [n_points] * n_data_sets, seeds]
                found = list(pool.map(compared, *every, chunksize=10))
                sensors = f"two, within {of.gain:.0%}" if of.gain else "one"
                of_sides = (of.n_sessions, f"{of.session:.0%}", sensors, n_points)
                line = Line.of(found)
                figures = ("not printed", "")
                if line.coverage is not None:
                    figures = (f"{100 * line.coverage:.1f}", f"{line.width:.2f}")
                yield _row(*of_sides, *figures)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-sets", type=int, default=400, help="of each line")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="[default: all]")
    parser.add_argument("--points", action="append", type=int, help=f"[default: {POINTS}]")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--compare", action="store_true", help="the table of comparisons instead")
    options = parser.parse_args()
    # each process has one core
    os.environ["OMP_NUM_THREADS"] = "1"
    if options.compare:
        for line in compare_rows(options.data_sets, options.processes):
            print(line, flush=True)
        return
    kinds, points = options.kind or list(KINDS), options.points or list(POINTS)
    print(f"hyperparameters: {', '.join(PARAMETERS)}; {options.data_sets} data sets a line\n")
    for line in run(options.data_sets, kinds, points, options.processes):
        print(line, flush=True)


if __name__ == "__main__":
    main()
