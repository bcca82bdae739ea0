"""How quantities are written for a person: on the terminal, in the report and on the data card.

One rule for all: three significant digits, never fewer than stand before the point, no trailing
zeros; n/a where a quantity is unknown. The unit grows with the quantity, so that few figures have
more than four digits before the point.
"""

from __future__ import annotations

import math

J_PER_WH = 3600.0
J_PER_KWH = 1000 * J_PER_WH
LEAST_WH_J = 10_000.0
"""Joules from which watt-hours are written: the energy of a few answers reads better in joules."""

MIN_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0


def number(value: float | None, digits: int = 3) -> str:
    """12.3, 0.0123, 1,234. `digits`: significant ones, where not more stand before the point.

    n/a where the value is unknown or NaN.
    """
    if value is None or math.isnan(value):
        return "n/a"
    if abs(value) >= 10**digits - 0.5:  # it would be rounded to 1e+03
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def energy(joules: float | None, like: float | None = None) -> str:
    """Joules below 10 kJ, Wh below 1 kWh, else kWh: 852 J, 1,512 J, 34.3 Wh, 1.2 kWh.

    `like`: an energy in whose unit it is written, so that a column has one unit.
    """
    if joules is None or math.isnan(joules):
        return "n/a"
    size = joules if like is None else like
    if size < LEAST_WH_J:
        return f"{number(joules)} J"
    if size < J_PER_KWH:
        return f"{number(joules / J_PER_WH)} Wh"
    return f"{number(joules / J_PER_KWH)} kWh"


def duration(seconds: float | None) -> str:
    """Seconds below 90 s, minutes below 90 min, hours below 48 h, else days: 4.5 s, 12 min, 3.5 h.

    One decimal below 10 of a unit and for days, and none where it is 0: more digits of a time that
    was estimated or varies from run to run would say nothing.
    """
    if seconds is None or math.isnan(seconds):
        return "n/a"
    if seconds < 1.5 * MIN_S:
        value, unit = seconds, "s"
    elif seconds < 1.5 * HOUR_S:
        value, unit = seconds / MIN_S, "min"
    elif seconds < 2 * DAY_S:
        value, unit = seconds / HOUR_S, "h"
    else:
        value, unit = seconds / DAY_S, "days"
    decimals = 1 if value < 10 or unit == "days" else 0  # noqa: PLR2004 - of a unit
    return f"{value:.{decimals}f}".removesuffix(".0") + f" {unit}"


def percent(share: float) -> str:
    """A share from 0 to 1 in whole percent: '73 %'."""
    return f"{100 * share:.0f} %"


def plural(n: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is one: '1 error', '2,000 errors'.

    The plural must end in -s.
    """
    return f"1 {noun}" if n == 1 else f"{n:,} {noun}s"
