"""The setups of one data set side by side: matched pairs of answers, by the ratios of pairs.py.

Two setups are compared on one kind of machine and one model, where both answered the same prompt
under the same configuration with the same seed. A sweep that crosses quantizations, engines,
compute types or batch sizes gives such pairs, and so do sweeps with the same space and seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from orchestrator.dataset.energy import energy_name
from orchestrator.report.compare import Comparison, Match, matched, ratio_table
from orchestrator.report.execution_frame import Data
from orchestrator.report.page_content import Table, tables
from orchestrator.report.pairs import LEAST_POINTS, LEAST_SESSIONS

if TYPE_CHECKING:
    import pandas as pd

SAME = ["use_case", "prompt_sha256", "seed"]
"""Columns that are equal in the two answers of a pair; a seed is that of one configuration."""
MOST_EACH = 6
"""Of more setups each is compared with the first alone: their pairs would fill pages."""


def all_tables(data: Data) -> Sequence[Table]:
    """All tables of results; the one of the setups first, where there are several to compare."""
    setups = setups_table(data)
    return ((setups,) if setups.rows else ()) + tuple(tables(data))


def setups_table(data: Data) -> Table:
    """B over A for each pair of setups that have matched pairs; no rows where none have."""
    by_meter = setups_compared(data)
    rows: list[tuple[str, ...]] = []
    head: tuple[str, ...] = ()
    for energy_basis, comparison in by_meter.items():
        ratios = ratio_table(comparison)
        head = (*ratios.head, "meter")
        rows += [(*row, energy_name(energy_basis)) for row in ratios.rows]
    note = (
        "Ratios of geometric means, B over A, over prompts that both setups answered under the "
        "same configuration with the same seed, on the same kind of machine and measured by the "
        "same meter, usable or not, with 95 % intervals. Those of energies and speeds need "
        f"{LEAST_SESSIONS} sessions a side and {LEAST_POINTS} configurations: a sweep that crosses "
        "setups loads each so often. They hold for the machines and days of these sessions."
    )
    return Table("setups", "Setups side by side", head, tuple(rows), note)


def setups_compared(data: Data) -> dict[str, Comparison]:
    """Energy basis -> the pairs of setups of each machine and model that it measured.

    A is the one that was measured first. Without a basis that has a pair: {}.
    """
    by_meter = {}
    for energy_basis, answers in data.answers.groupby("energy_basis", sort=True):
        matches = _matches(data, answers)
        if matches:
            by_meter[str(energy_basis)] = Comparison(data, data, tuple(matches))
    return by_meter


def _matches(data: Data, of_meter: pd.DataFrame) -> list[Match]:
    """The pairs of setups among the answers that one meter measured."""
    matches = []
    for _, answers in of_meter.groupby(["machine", "model"], sort=True):
        groups = list(answers.sort_values("started_at", kind="stable")["group"].unique())
        pairs = list(combinations(groups, 2))
        if len(groups) > MOST_EACH:
            pairs = [(groups[0], other) for other in groups[1:]]
        for one, other in pairs:
            match = _match(data, answers, str(one), str(other))
            if match is not None:
                matches.append(match)
    return matches


def _match(data: Data, answers: pd.DataFrame, one: str, other: str) -> Match | None:
    """What two groups have in common; None where that is nothing."""
    a, b = (answers[answers["group"] == group] for group in (one, other))
    both = a[SAME].merge(b[SAME]).drop_duplicates()
    if both.empty:
        return None
    data_a, data_b = (replace(data, answers=side.merge(both, on=SAME)) for side in (a, b))
    return matched(data_a, data_b, one, other)
