"""How charts look: colours that colour-blind readers can distinguish, markers for grey print."""

from __future__ import annotations

import os
from collections.abc import Iterable

from orchestrator.engine.cache import cache_folder

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of Okabe and Ito (2008) without its yellow, which is hard to see on white paper."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
RC = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    # Text stays text, so it can be searched and copied.
    "svg.fonttype": "none",
    # A fixed salt gives the elements of a chart the same ids each time it is drawn.
    "svg.hashsalt": "orchestrator",
    "figure.constrained_layout.use": True,
}
"""Settings of matplotlib under which every chart is drawn."""


def keep_fonts_in_cache() -> None:
    """Let matplotlib keep its list of fonts in this program's cache folder, not in ~/.config.

    Call it before matplotlib is imported. A folder that the user chose stays.
    """
    os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))


def looks(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Name -> (colour, marker), by the name's place in the alphabet.

    So a group has the same look in every chart that gets the same names.
    """
    return {
        name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(sorted(set(names)))
    }
