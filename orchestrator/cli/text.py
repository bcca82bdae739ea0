"""How figures are written for a person, and the console they are written to."""

from __future__ import annotations

from rich.console import Console

J_PER_WH = 3600.0
LOG_WIDTH = 120
"""Columns where there is no terminal (a log file)."""


def console(*, quiet: bool = False) -> Console:
    """Standard output; no colours or bars where it isn't a terminal."""
    plain = Console(quiet=quiet, highlight=False)
    return plain if plain.is_terminal else Console(quiet=quiet, highlight=False, width=LOG_WIDTH)


def duration(seconds: float) -> str:
    """4 s, 2.5 min, 12 min, 3.5 h, 2.1 days."""
    for limit, size, unit in ((90, 1, "s"), (90 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            value = seconds / size
            return f"{value:.1f} {unit}" if value < 10 and size > 1 else f"{value:.0f} {unit}"  # noqa: PLR2004
    return f"{seconds / 86400:.1f} days"


def energy(joules: float | None) -> str:
    """Joules below 1 kJ, else Wh, else kWh; n/a where unknown."""
    if joules is None:
        return "n/a"
    if joules < 1000:  # noqa: PLR2004
        return f"{joules:.1f} J"
    wh = joules / J_PER_WH
    return f"{wh:.2f} Wh" if wh < 1000 else f"{wh / 1000:.2f} kWh"  # noqa: PLR2004


def number(value: float | None) -> str:
    """Three digits; n/a where unknown."""
    return "n/a" if value is None else f"{value:.3g}"
