"""Read an emissions.csv of any version of CodeCarbon: by the names of its columns, not their order.

Every version writes energies in kWh, powers in W and durations in s (mlco2/codecarbon#440: where
its documentation said kW, kWh was meant). A spreadsheet in a language with decimal commas saves
such a file with semicolons between the cells.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Emissions:
    """What an emissions.csv holds."""

    rows: tuple[EmissionsRow, ...]
    """The rows that could be read."""
    n_rows: int
    """Number of rows, unreadable ones included."""
    faults: tuple[tuple[int, str], ...]
    """(line, what is wrong) of each unreadable row."""


def read_emissions(data: bytes) -> Emissions:
    """Read a file. Raises ValueError with one sentence where it is no emissions.csv."""
    csv.field_size_limit(2**24)
    text = _decoded(data)
    if "\0" in text:
        raise ValueError("holds zero bytes; it is no text file")
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names: list[str] = []
    rows, faults, n_rows = [], [], 0
    cells: list[str]
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            faults.append((line, f"is no row of a CSV file ({error})"))
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if not names:
            names = list(map(_name, cells))
            _check_header(names)
            continue
        if list(map(_name, cells)) == names:  # the header of a second file that was appended
            continue
        n_rows += 1
        try:
            numbers, texts = _values(names, cells, decimal_comma=delimiter != ",")
        except ValueError as error:
            faults.append((line, str(error)))
            continue
        rows.append(EmissionsRow(n_rows, line, numbers, texts))
    if not names:
        raise ValueError("is empty")
    return Emissions(tuple(rows), n_rows, tuple(faults))


def _decoded(data: bytes) -> str:
    """The text of a file in UTF-8, or in what Excel writes: UTF-16 or Windows-1252."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _delimiter(text: str) -> str:
    """Comma, semicolon or tab: whichever the header has most of."""
    for line in text.splitlines():
        if line.strip():
            return max(",;\t", key=line.count)
    return ","


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


def _values(
    names: list[str], cells: list[str], *, decimal_comma: bool
) -> tuple[dict[str, float], dict[str, str]]:
    """The numbers and the texts of a row, by column. Raises ValueError saying what is wrong."""
    if len(cells) != len(names):
        raise ValueError(
            f"has {len(cells)} cells under {len(names)} columns; complete the row or remove it"
        )
    numbers, texts = {}, {}
    for name, cell in zip(names, cells, strict=True):
        value = cell.strip()
        if not value or not name:
            continue
        if name in NUMBERS:
            numbers[name] = _number(name, value, decimal_comma=decimal_comma)
        else:
            texts[name] = value
    for name in NEEDED:
        if name not in numbers:
            raise ValueError(f"{name} is empty")
    return numbers, texts


def _number(name: str, value: str, *, decimal_comma: bool) -> float:
    """A finite number >= 0. Raises ValueError for anything else, also for "1.234,5".

    `decimal_comma`: the cells are not separated by commas, so a comma is the decimal point.
    """
    plain = value
    if decimal_comma and value.count(",") == 1 and "." not in value:
        plain = value.replace(",", ".")
    try:
        number = float(plain)
    except ValueError:
        raise ValueError(
            f"{name}: {value[:40]!r} is no number; export it without thousands separators"
        ) from None
    if not math.isfinite(number) or number < 0 or "_" in plain:  # float() takes "1_000"
        raise ValueError(f"{name}: {value[:40]} must be a number of 0 or more")
    return number
