"""How quantities are written for a person."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.units import duration, energy, number


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "n/a"),
        (math.nan, "n/a"),
        (0.0, "0 s"),
        (4.4, "4.4 s"),
        (59.94, "60 s"),
        (89.4, "89 s"),
        (90, "1.5 min"),
        (599, "10 min"),
        (600, "10 min"),
        (3600, "60 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (36_000, "10 h"),
        (90_000, "25 h"),
        (172_799, "48 h"),
        (172_800, "2 days"),
        (1e6, "11.6 days"),
        (math.inf, "inf days"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("joules", "text"),
    [
        (None, "n/a"),
        (math.nan, "n/a"),
        (0.0, "0 J"),
        (0.0123, "0.0123 J"),
        (36, "36 J"),
        (999.9, "1,000 J"),
        (3600, "3,600 J"),
        (9_999, "9,999 J"),
        (10_000, "2.78 Wh"),
        (73_694, "20.5 Wh"),
        (3.5e6, "972 Wh"),
        (3.6e6, "1 kWh"),
        (4.44e9, "1,233 kWh"),
    ],
)
def test_energies(joules: float | None, text: str) -> None:
    assert energy(joules) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (math.nan, "n/a"),
        (0.0, "0"),
        (12.345, "12.3"),
        (0.012345, "0.0123"),
        (999.4, "999"),
        (999.6, "1,000"),
        (-1234.5, "-1,234"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_fewer_digits() -> None:
    assert [number(value, 2) for value in (0.123, 7.77, 99.4, 99.6, 1234)] == [
        "0.12",
        "7.8",
        "99",
        "100",
        "1,234",
    ]


@given(st.floats(min_value=1e-3, max_value=1e9))
def test_a_number_is_off_by_half_a_percent_at_most(value: float) -> None:
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=0.005)


def test_a_column_of_energies_has_one_unit() -> None:
    assert [energy(one, like=36_000.0) for one in (36_000.0, 3_600.0, 36.0, 0.0)] == [
        "10 Wh",
        "1 Wh",
        "0.01 Wh",
        "0 Wh",
    ]
    assert energy(None, like=5.0) == "n/a"
