"""A number is read by its file's one rule, or refused; never guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.importer.decimal_sign import DecimalRule, decimal_rule, read_number

OPEN = "may have decimals or thousands"
POINT = "has no decimal point"
COMMA = "has no decimal comma"


@pytest.mark.parametrize(
    ("cell", "with_point", "with_comma", "with_none"),
    [
        ("45", 45, 45, 45),
        ("1e-05", 1e-05, 1e-05, 1e-05),
        ("1.234", 1.234, OPEN, OPEN),
        ("1,234", OPEN, 1.234, OPEN),
        ("0.123", 0.123, COMMA, "is no number"),
        ("12,5", POINT, 12.5, "is no number"),
        ("1.234,5", POINT, 1234.5, "is no number"),
        ("1,234.5", 1234.5, COMMA, "is no number"),
        ("1 234,5", POINT, 1234.5, "is no number"),
        ("1 234", 1234, 1234, 1234),
        ("1'234.5", 1234.5, COMMA, "is no number"),
        ("1.234.567", POINT, 1234567, "is no number"),
        ("4,0E-04", POINT, 4e-4, "is no number"),
        ("1.23,4", *["is no number"] * 3),
        ("1 234.567.890", *["is no number"] * 3),
        ("12 s", *["is no number"] * 3),
        ("1_000", *["is no number"] * 3),
        ("\u0661", *["is no number"] * 3),
    ],
)
def test_each_cell_by_each_rule(
    cell: str, with_point: float | str, with_comma: float | str, with_none: float | str
) -> None:
    for sign, expected in ((".", with_point), (",", with_comma), ("", with_none)):
        if isinstance(expected, str):
            with pytest.raises(ValueError, match=expected):
                read_number(cell, DecimalRule(sign))
        else:
            assert read_number(cell, DecimalRule(sign)) == expected


@pytest.mark.parametrize(
    ("rows", "delimiter", "rule"),
    [
        ([["12,5"], ["1.234"]], ";", DecimalRule(",")),
        ([["12.5"], ["1.234"]], ";", DecimalRule(".")),
        ([["1.234"], ["45"]], ";", DecimalRule("")),
        ([["1.234"], ["45"]], ",", DecimalRule(".")),
        ([["0,5"], ["45"]], ",", DecimalRule(",")),
        ([["0,5"], ["0,25"], ["0.5"]], ";", DecimalRule(",", is_mixed=True)),
        ([["0,5"], ["0.25"], ["0.5"]], "\t", DecimalRule(".", is_mixed=True)),
        ([["0,5"], ["0.25"], ["0.5"]], ",", DecimalRule(".")),
        ([["0,5", "0.5"], ["0,5"]], ";", DecimalRule(",")),
    ],
)
def test_the_rule_of_a_file(rows: list[list[str]], delimiter: str, rule: DecimalRule) -> None:
    assert decimal_rule(rows, delimiter) == rule


def test_in_a_file_with_both_signs_what_may_be_either_is_refused() -> None:
    for sign, cell in ((",", "1,234"), (".", "1.234")):
        with pytest.raises(ValueError, match=OPEN):
            read_number(cell, DecimalRule(sign, is_mixed=True))
    assert read_number("0,5", DecimalRule(",", is_mixed=True)) == 0.5


@given(st.floats(min_value=0, allow_infinity=False), st.sampled_from(".,"))
def test_what_python_writes_is_read_as_it_was(value: float, sign: str) -> None:
    assert read_number(repr(value).replace(".", sign), DecimalRule(sign)) == value
