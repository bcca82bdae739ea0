"""Read an emissions.csv of any version of CodeCarbon: by the names of its columns, not their order.

Every version writes energies in kWh, powers in W and durations in s (mlco2/codecarbon#440: where
its documentation said kW, kWh was meant). A spreadsheet in a language with decimal commas saves
such a file with semicolons between the cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.dataset.delimited import DELIMITERS, Delimited, Record, read_delimited
from orchestrator.importer.decimal_sign import SIGNS, DecimalRule, decimal_rule, read_number

ALIASES = {"run-id": "run_id"}
"""Another spelling of a column's name -> CodeCarbon's. Upper and lower case don't matter."""
NEEDED = ("duration", "energy_consumed")
"""Columns without which a row is no measurement."""
NUMBERS = (
    "duration", "emissions", "cpu_power", "gpu_power", "ram_power",
    "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed", "gpu_count",
    "max_length", "top_p", "top_k", "temperature",
)  # fmt: skip
"""Columns that are read as numbers; none of them can be below 0."""
NOTHING = ("none", "nan", "null", "na", "n/a", "<na>")
"""What Python and pandas write where there is no value, in lower case."""
LONGEST_CELL = 40
"""Most characters of a cell that a reason shows."""


@dataclass(frozen=True)
class EmissionsRow:
    """A row that could be read; empty cells are left out."""

    number: int
    """Place among the rows of the file, from 1; unreadable rows count too."""
    line: int
    """Line of the file, from 1."""
    numbers: dict[str, float]
    """Column -> value, for the columns in NUMBERS."""
    texts: dict[str, str]
    """Column -> value, for all other columns."""
    unread: dict[str, str]
    """Column -> why its cell, which isn't empty, holds no value."""
    columns: frozenset[str]
    """All columns that the file has for this row."""


@dataclass(frozen=True)
class Fault:
    """A row that can't be read."""

    line: int
    """Line of the file, from 1; 0: the whole file."""
    reason: str
    """The same for all rows that have this fault."""
    found: str
    """What stands there instead; "" where it can't be shown."""


@dataclass(frozen=True)
class Emissions:
    """What an emissions.csv holds."""

    rows: tuple[EmissionsRow, ...]
    """The rows that could be read."""
    n_rows: int
    """Number of rows, unreadable ones included."""
    faults: tuple[Fault, ...]
    reading: str
    """How the whole file was read: encoding, what separates its cells, decimal sign."""


class _UnreadableError(ValueError):
    """A row can't be read; the arguments are a fault's reason and what was found."""


def read_emissions(data: bytes) -> Emissions:
    """Read a file. Raises ValueError with one sentence where it is no emissions.csv."""
    table = read_delimited(data)
    places = list(_rows(table))
    rule = decimal_rule(_number_cells(places), table.delimiter)
    rows, faults = [], []
    for number, (names, record) in enumerate(places, 1):
        try:
            rows.append(_row(number, names, record, rule))
        except _UnreadableError as error:
            reason, found = error.args
            faults.append(Fault(record.line, reason, found))
    reading = f"{table.encoding}, {DELIMITERS[table.delimiter]}, {SIGNS[rule.sign]}"
    return Emissions(tuple(rows), len(places), tuple(faults), reading)


def _rows(table: Delimited) -> Iterator[tuple[list[str], Record]]:
    """(names of the columns, record) for each row; raises ValueError for a wrong header.

    A header may stand again further down, where a file was appended, and may name other columns.
    """
    names: list[str] = []
    for record in table.records:
        if record.is_blank:
            continue
        named = list(map(_name, record.cells))
        if not record.fault and (not names or set(NEEDED) <= set(named)):
            _check_header(named)
            names = named
            continue
        yield names, record
    if not names:
        raise ValueError("is empty")


def _name(cell: str) -> str:
    """A column's name as CodeCarbon spells it, in lower case."""
    name = cell.strip().lower()
    return ALIASES.get(name, name)


def _check_header(names: list[str]) -> None:
    """Raise ValueError where a needed column is missing or a name stands twice."""
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise ValueError(
            f"has no column {' and '.join(missing)}; its first line must name CodeCarbon's columns"
        )
    for name in sorted(names):
        if name and names.count(name) > 1:
            raise ValueError(f"has two columns {name}; remove one")


def _number_cells(places: list[tuple[list[str], Record]]) -> Iterator[list[str]]:
    """Of each row that is complete the cells that should be numbers."""
    for names, record in places:
        if len(record.cells) == len(names):
            cells = zip(names, record.cells, strict=True)
            yield [cell.strip() for name, cell in cells if name in NUMBERS]


def _row(number: int, names: list[str], record: Record, rule: DecimalRule) -> EmissionsRow:
    """One row. Raises _UnreadableError."""
    if record.fault:
        raise _UnreadableError(record.fault, "")
    if len(record.cells) != len(names):
        raise _UnreadableError(
            "has more or fewer cells than there are columns; complete the row or remove it",
            f"{len(record.cells)} cells under {len(names)} columns",
        )
    cells = zip(names, map(str.strip, record.cells), strict=True)
    filled = {name: cell for name, cell in cells if name and cell}
    numbers: dict[str, float] = {}
    texts: dict[str, str] = {}
    unread: dict[str, str] = {}
    for name, cell in filled.items():
        if cell.lower() in NOTHING and name not in NEEDED:
            unread[name] = f"the csv says {cell!r}"
        elif name not in NUMBERS:
            texts[name] = cell
        else:
            _add_number(numbers, unread, name, cell, rule)
    for name in NEEDED:
        if name not in numbers:
            raise _UnreadableError(f"{name}: is empty", "")
    return EmissionsRow(number, record.line, numbers, texts, unread, frozenset(names))


def _add_number(
    numbers: dict[str, float], unread: dict[str, str], name: str, cell: str, rule: DecimalRule
) -> None:
    """Add a cell to the numbers, or why it is none to `unread`.

    Raises _UnreadableError for a needed column's.
    """
    try:
        numbers[name] = _number(cell, rule)
    except ValueError as error:
        shown = cell[:LONGEST_CELL]
        if name in NEEDED:
            raise _UnreadableError(f"{name}: {error}", shown) from None
        unread[name] = f"the csv says {shown!r}, which {error}"


def _number(value: str, rule: DecimalRule) -> float:
    """A finite number >= 0. Raises ValueError saying what it is instead."""
    number = read_number(value, rule)
    if not math.isfinite(number) or number < 0:
        raise ValueError("must be 0 or more, and finite")
    return number
