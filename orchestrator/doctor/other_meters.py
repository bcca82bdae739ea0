"""Meters of the table that doctor has no words for: what they gave, as it is."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.doctor.checks import Check
from orchestrator.doctor.rest import Rest
from orchestrator.meters import METERS

TOLD_ELSEWHERE = {"neighbours", "codecarbon", "counter", "power"}


def other_meters(rests: list[Rest]) -> Iterator[Check]:
    """A check of each other meter, by the first scene in which it gave a value."""
    for name, kind in METERS.items():
        if name not in TOLD_ELSEWHERE:
            yield _of_meter(name, list(kind.columns.model_fields), rests)


def _of_meter(name: str, columns: list[str], rests: list[Rest]) -> Check:
    """What a meter gave in its columns, or why it gave nothing."""
    for rest in rests:
        values = {column: rest.reading.values.get(column) for column in columns}
        if any(value is not None for value in values.values()):
            found = ", ".join(f"{column} {value}" for column, value in values.items())
            return Check(name, found, values=values)
    why = rests[0].why_not(columns[0])
    remedy = "none that doctor knows; its columns will be null"
    return Check(name, why, "warning", remedy, dict.fromkeys(columns))
