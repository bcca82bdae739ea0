"""How charts look: colours that colour-blind people tell apart, markers for grey paper, the same thing always the same."""

from __future__ import annotations

from collections.abc import Iterable

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito (2008), without the yellow that white paper swallows."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
RC = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.fonttype": "none",
    "svg.hashsalt": "orchestrator",
    "figure.constrained_layout.use": True,
}


def looks(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """(colour, marker) of each name, by its place in the alphabet of all: the same in every chart of a report."""
    return {
        name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(sorted(set(names)))
    }
