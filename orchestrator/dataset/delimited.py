"""Tables as text (CSV) that any program may have written: their encoding, separator and records.

All three are decided once for a whole file. A line that is damaged costs no other line.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

CODECS = {
    "UTF-8": "utf-8",
    "UTF-8 with byte order mark": "utf-8-sig",
    "UTF-16": "utf-16",
    "Windows-1252": "cp1252",
}
"""Encoding as a person knows it -> Python's name of it. Spreadsheets write all of them."""
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""What may stand between the cells -> how a person calls it."""
LONGEST_LINES = 100
"""Most lines of one record: a cell in quotes may hold line ends."""
MOST_CELLS = 10_000
"""Of a line: no table of measurements has more columns."""
FORMULA = ("=", "+", "-", "@", "\t")
"""What a spreadsheet takes for a formula begins with one of these."""


@dataclass(frozen=True)
class Record:
    """A record of a table: a line, or several where a cell in quotes holds line ends."""

    line: int
    """Its first line, from 1."""
    raw: str
    """As it stands in the file, with its line end."""
    cells: tuple[str, ...]
    """Empty where it can't be read."""
    fault: str
    """Why it can't be read; "" where it can."""

    @property
    def is_blank(self) -> bool:
        """Whether nothing stands there."""
        return not self.fault and not any(cell.strip() for cell in self.cells)


@dataclass(frozen=True)
class Delimited:
    """A table as text."""

    encoding: str
    """A key of CODECS."""
    delimiter: str
    """A key of DELIMITERS."""
    records: tuple[Record, ...]
    """All of the file, in its order; blank ones, too."""

    def encoded(self, records: Iterator[str]) -> bytes:
        """The bytes of a file with these records as they should stand in it."""
        return "".join(records).encode(CODECS[self.encoding], "surrogateescape")


def read_delimited(data: bytes) -> Delimited:
    """Read a table. Never fails: what can't be read are records with a fault."""
    encoding = _encoding(data)
    errors = "surrogateescape"
    if encoding == "UTF-16":  # has no surrogates to spare for bytes that are wrong
        errors = "replace"
    text = data.decode(CODECS[encoding], errors)
    lines = list(io.StringIO(text, newline=""))
    delimiter = _delimiter(lines)
    return Delimited(encoding, delimiter, tuple(_records(lines, delimiter, encoding)))


def written(cells: list[str], delimiter: str) -> str:
    """One record as CSV, without a line end."""
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="").writerow(cells)
    return out.getvalue()


def plain_cell(value: Any) -> Any:
    """Null is an empty cell; text that a spreadsheet would run as a formula is quoted."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    # csv.writer leaves a carriage return unquoted, and readers take it for the end of the line
    value = value.replace("\r", " ")
    return f"'{value}" if value.startswith(FORMULA) else value


def cell_text(cell: str) -> str:
    """The text of a cell that `plain_cell` made."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _encoding(data: bytes) -> str:
    """The encoding of a file.

    Damaged lines don't decide it: a file is in UTF-8 if one of its lines with other characters than
    ASCII is.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    if data.startswith(codecs.BOM_UTF8):
        return "UTF-8 with byte order mark"
    others = [line for line in data.split(b"\n") if not line.isascii()]
    if others and not any(map(_is_utf8, others)):
        return "Windows-1252"
    return "UTF-8"


def _is_utf8(line: bytes) -> bool:
    """Whether bytes are UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _delimiter(lines: list[str]) -> str:
    """Comma, semicolon or tab: whichever the first line has most of."""
    for line in lines:
        if line.strip():
            return max(DELIMITERS, key=line.count)
    return ","


def _records(lines: list[str], delimiter: str, encoding: str) -> Iterator[Record]:
    """The records of a file, in its order."""
    csv.field_size_limit(2**24)
    n_columns = 0
    start = 0
    while start < len(lines):
        n_lines, cells, fault = _record(lines, start, delimiter, n_columns)
        raw = "".join(lines[start : start + n_lines])
        if "\0" in raw:
            fault = "holds zero bytes, as a crash leaves them"
        elif not raw.isascii() and any("\ud800" <= character <= "\udfff" for character in raw):
            fault = f"holds bytes that aren't {encoding}, which the file is in"
        record = Record(start + 1, raw, () if fault else tuple(cells), fault)
        if not n_columns and not record.is_blank:
            n_columns = len(cells)
        yield record
        start += n_lines


def _record(
    lines: list[str], start: int, delimiter: str, n_columns: int
) -> tuple[int, list[str], str]:
    """(lines it takes, its cells, what is wrong with it) of the record at a line.

    A quote that isn't closed would take in all that follows: it costs its own line only.
    """
    first = lines[start]
    # before they are told apart: cells take twenty times the memory of their text
    if first.count(delimiter) >= MOST_CELLS:
        return 1, [], f"has more than {MOST_CELLS:,} cells"
    if '"' not in first:
        return 1, first.rstrip("\r\n").split(delimiter), ""
    reader = csv.reader(
        islice(lines, start, start + LONGEST_LINES), delimiter=delimiter, strict=True
    )
    try:
        cells = next(reader)
    except csv.Error:
        return 1, [], "has a quote that isn't closed, or that stands within a cell"
    n_lines = reader.line_num
    for taken_in in lines[start + 1 : start + n_lines]:
        if taken_in.count(delimiter) + 1 == n_columns:
            return 1, [], "has a quote that isn't closed, or that stands within a cell"
    return n_lines, cells, ""
