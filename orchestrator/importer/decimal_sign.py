"""Numbers as people and spreadsheets write them: with a decimal point or a decimal comma.

1.234 is a little more than one, or a thousand: which, no cell says by itself. So the sign is
decided once for a file, by the numbers that can be read in one way only; what stays open is
refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

SIGNS = {".": "decimal point", ",": "decimal comma", "": "no decimal sign"}
"""What stands before the decimals -> how a person calls it."""
_OTHER = {".": ",", ",": "."}
_SPACES = " \u00a0\u202f'\u2019"
"""What stands between thousands besides a point or a comma."""


def _patterns(sign: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Numbers without and with separators of thousands, for one decimal sign."""
    decimal = re.escape(sign)
    separator = f"[{re.escape(_OTHER[sign])}{_SPACES}]"
    plain = rf"[+-]?(?:\d+(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?"
    # one separator throughout, and no number of thousands begins with 0
    grouped = rf"[+-]?[1-9]\d{{0,2}}({separator})\d{{3}}(?:\1\d{{3}})*(?:{decimal}\d*)?"
    return re.compile(plain, re.ASCII), re.compile(grouped, re.ASCII)


_PATTERNS = {sign: _patterns(sign) for sign in _OTHER}


def _read(cell: str, sign: str) -> float | None:
    """The number that a cell holds if this is its decimal sign; None: it holds none."""
    plain, grouped = _PATTERNS[sign]
    if not plain.fullmatch(cell):
        match = grouped.fullmatch(cell)
        if not match:
            return None
        cell = cell.replace(match[1], "")
    return float(cell.replace(sign, "."))


@dataclass(frozen=True)
class DecimalRule:
    """How the numbers of a file are read."""

    sign: str
    """The decimal sign, a key of SIGNS; "": none of the file's numbers needs one."""
    is_mixed: bool = False
    """Whether some rows have the other sign: then a number that may be either is refused."""


def decimal_rule(rows: Iterable[list[str]], delimiter: str) -> DecimalRule:
    """The rule of a file: the sign that most of its rows need.

    `rows`: of each row the cells that should be numbers. With commas between the cells the point is
    taken where no number needs a sign, since CodeCarbon itself writes it so.
    """
    counts: Counter[str] = Counter()
    for cells in rows:
        signs = {_only_sign(cell) for cell in cells} - {""}
        # a row with both is damaged itself, and says nothing about the file
        if len(signs) == 1:
            counts.update(signs)
    if not counts:
        return DecimalRule("." if delimiter == "," else "")
    sign = max(_OTHER, key=lambda one: counts[one])
    is_own_format = delimiter == "," and sign == "."
    return DecimalRule(sign, is_mixed=len(counts) > 1 and not is_own_format)


def _only_sign(cell: str) -> str:
    """The only decimal sign with which a cell is a number; "": either, or it is none."""
    point, comma = _read(cell, "."), _read(cell, ",")
    if point is not None and comma is None:
        return "."
    if comma is not None and point is None:
        return ","
    return ""


def read_number(cell: str, rule: DecimalRule) -> float:
    """The number in a cell.

    Raises ValueError saying what the cell is instead, also where it may be either of two numbers.
    """
    point, comma = _read(cell, "."), _read(cell, ",")
    by_rule = bool(rule.sign) and rule.sign in cell and not rule.is_mixed
    if None not in {point, comma} and point != comma and not by_rule:
        raise ValueError("may have decimals or thousands; write it without a separator")
    value = {".": point, ",": comma}.get(rule.sign)
    if not rule.sign and point == comma:
        value = point
    if value is None and rule.sign and {point, comma} != {None}:
        raise ValueError(f"has no {SIGNS[rule.sign]}, as the file's numbers have")
    if value is None:
        raise ValueError("is no number")
    return value
