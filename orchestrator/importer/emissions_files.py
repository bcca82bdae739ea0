"""Read emissions.csv of any version of CodeCarbon: by names of columns, never by their place.

Every version writes energies in kWh, powers in W and durations in s (mlco2/codecarbon#440: where its documentation said kW,
kWh was meant). Files that went through a spreadsheet in a language with decimal commas have semicolons for commas.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass

ALIASES = {"run-id": "run_id"}
"""The measurement report's spelling -> CodeCarbon's; besides, case doesn't matter (Tracking_mode)."""
NEEDED = ("duration", "energy_consumed")
NUMBERS = (
    "duration", "emissions", "cpu_power", "gpu_power", "ram_power", "cpu_energy", "gpu_energy", "ram_energy",
    "energy_consumed", "gpu_count", "max_length", "top_p", "top_k", "temperature",
)  # fmt: skip
"""Columns that are read as numbers, none of which can be below 0."""


@dataclass(frozen=True)
class EmissionsRow:
    """A row: numbers and texts that are there; an empty cell isn't."""

    number: int
    """From 1, among the rows of the file, bad ones included."""
    line: int
    numbers: dict[str, float]
    texts: dict[str, str]


@dataclass(frozen=True)
class Emissions:
    """A file: its sound rows, how many rows there are, and (line, what is wrong) of the others."""

    rows: tuple[EmissionsRow, ...]
    n_rows: int
    faults: tuple[tuple[int, str], ...]


def read_emissions(data: bytes) -> Emissions:
    """Read a file. Raises ValueError with one sentence where it is no emissions.csv at all."""
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
            faults.append((line, f"no row of a csv file ({error})"))
            continue
        if not any(cell.strip() for cell in cells):
            continue
        found = [_name(cell) for cell in cells]
        if not names:
            names = found
            _check_header(names)
            continue
        if found == names:  # files were joined
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
    """UTF-8, or what Excel makes of it: with a mark, UTF-16, or Windows' western encoding."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _delimiter(text: str) -> str:
    """The one that gives the header most names."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(",;\t", key=header.count)


def _name(cell: str) -> str:
    name = cell.strip().lower()
    return ALIASES.get(name, name)


def _check_header(names: list[str]) -> None:
    if missing := [name for name in NEEDED if name not in names]:
        raise ValueError(
            f"has no column {' and '.join(missing)}; the first line of CodeCarbon's emissions.csv names its columns"
        )
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise ValueError(f"has two columns {twice[0]}")


def _values(
    names: list[str], cells: list[str], *, decimal_comma: bool
) -> tuple[dict[str, float], dict[str, str]]:
    if len(cells) != len(names):
        raise ValueError(
            f"{len(cells)} cells under {len(names)} names of columns; is it cut, or of another version?"
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
    """A number >= 0. In a file without commas as separators one comma is the decimal point; "1.234,5" is refused."""
    plain = value
    if decimal_comma and value.count(",") == 1 and "." not in value:
        plain = value.replace(",", ".")
    try:
        number = float(plain)
    except ValueError:
        raise ValueError(
            f"{name}: {value[:40]!r} is no number; export it without separators of thousands"
        ) from None
    if not math.isfinite(number) or number < 0 or "_" in plain:
        raise ValueError(f"{name}: {value[:40]} can't be")
    return number
