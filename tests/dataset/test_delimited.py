"""A table as text: encoding and separator of the whole file; a damaged line costs no other."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.dataset.delimited import CODECS, DELIMITERS, read_delimited, written

cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
tables = st.integers(2, 4).flatmap(
    lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), min_size=1, max_size=5)
)


def is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(tables, st.sampled_from(sorted(DELIMITERS)), st.sampled_from(sorted(CODECS)))
def test_what_is_written_is_read_and_written_again(
    rows: list[list[str]], delimiter: str, encoding: str
) -> None:
    rows = [["head"] * len(rows[0]), *rows]
    if encoding == "Windows-1252":
        rows = [[cell.encode("cp1252", "ignore").decode("cp1252") for cell in row] for row in rows]
        rows.append(["è"] * len(rows[0]))
    text = "".join(written(row, delimiter) + "\r\n" for row in rows)
    data = text.encode(CODECS[encoding])
    if encoding == "Windows-1252":  # the bytes of "à" and two fixed spaces are a letter in UTF-8
        assume(not any(is_utf8(line) for line in data.split(b"\n") if not line.isascii()))
    table = read_delimited(data)
    assert [list(record.cells) for record in table.records] == rows
    assert (table.encoding, table.delimiter) == (encoding, delimiter)
    assert table.encoded(record.raw for record in table.records) == data


@given(st.binary(max_size=300))
def test_any_bytes_are_records_and_none_is_lost(data: bytes) -> None:
    table = read_delimited(data)
    assert [record.line for record in table.records] == sorted(
        {record.line for record in table.records}
    )
    if table.encoding != "UTF-16":
        assert table.encoded(record.raw for record in table.records) == data


def test_a_record_of_more_cells_than_any_table_has_is_a_fault() -> None:
    table = read_delimited(b"a,b\n1,2\n" + b"," * 20_000 + b"\n3,4\n" + b'"x",' * 20_000 + b"\n")
    found = [(len(record.cells), record.fault) for record in table.records]
    too_many = (0, "has more than 10,000 cells")
    assert found == [(2, ""), (2, ""), too_many, (2, ""), too_many]


def faults(data: bytes) -> list[tuple[int, bool]]:
    """(line, whether it can't be read) of each record."""
    return [(record.line, bool(record.fault)) for record in read_delimited(data).records]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'a,b\n1,"x\ny"\n2,z\n', [(1, False), (2, False), (4, False)]),
        (b'a,b\n1,"x\n2,y\n3,z"\n', [(1, False), (2, True), (3, False), (4, False)]),
        (b'a,b\n1,"x\n2,y\n', [(1, False), (2, True), (3, False)]),
        (b'a,b\n1,"x"y\n2,z\n', [(1, False), (2, True), (3, False)]),
        (b"a,b\n1,\0\n2,z\n", [(1, False), (2, True), (3, False)]),
        (b"a,b\n1,caff\xc3\xa8\n2,\xff\n3,z\n", [(1, False), (2, False), (3, True), (4, False)]),
        (b"a,b\n1,caff\xe8\n2,\x81\n", [(1, False), (2, False), (3, True)]),
        (b"a,b\r1,2\r\n3,4", [(1, False), (2, False), (3, False)]),
    ],
)
def test_a_damaged_line_costs_no_other(data: bytes, expected: list[tuple[int, bool]]) -> None:
    assert faults(data) == expected


def test_many_open_quotes_are_read_in_a_moment() -> None:
    data = b"a,b\n" + b'1,"x\n' * 20_000
    assert sum(fault for _, fault in faults(data)) == 20_000


def test_a_record_is_written_as_csv_says() -> None:
    row = ["a;b", 'say "x"', "", "plain"]
    assert next(csv.reader(io.StringIO(written(row, ";")), delimiter=";")) == row
