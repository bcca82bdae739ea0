"""How charts look: on white paper, on a dark screen, in grey, and to colour-blind readers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

TEXT = "currentColor"
"""The colour of the text around a chart: dark on light, light on dark, black in a file."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B77E00", "#7B61C9", TEXT)
"""Colours with a contrast of 3 or more to white and to the page's dark ground.

After the palette of Okabe and Ito (2008), whose yellow, orange and sky blue are too light on paper.
"""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
BLUE, ORANGE, GREEN = COLOURS[:3]
MOST_TOGETHER = 7
"""So many groups can be told apart in one panel; of more, each gets its own."""


def looks(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Name -> (colour, shape), by the name's place in the alphabet.

    So a group has the same look in every chart that gets the same names. No two of up to 49 names
    have the same look.
    """
    n = len(COLOURS)
    return {
        name: (COLOURS[i % n], SHAPES[(i + i // n) % n])
        for i, name in enumerate(sorted(set(names)))
    }


def short_names(groups: Iterable[str]) -> dict[str, str]:
    """Group -> its name, without the machine where all groups have the same one."""
    names = sorted(set(groups))
    machines = {name.split(" / ")[0] for name in names}
    if len(machines) > 1:
        return {name: name for name in names}
    return {name: name.split(" / ", 1)[-1] for name in names}


FONT_SIZE = 12
"""Size of a chart's text in CSS pixels."""

_TEXT = {
    "labelColor": TEXT,
    "titleColor": TEXT,
    "labelFontSize": FONT_SIZE,
    "titleFontSize": FONT_SIZE,
    "titleFontWeight": "normal",
    # a chart's description stands for all of it: a text for each of a thousand points would make
    # the page large, and nobody would listen to them
    "aria": False,
}
CONFIG: dict[str, Any] = {
    "font": "system-ui, sans-serif",
    "background": "transparent",
    "axis": _TEXT
    | {
        "domainColor": TEXT,
        "domainOpacity": 0.5,
        "tickColor": TEXT,
        "tickOpacity": 0.5,
        "gridColor": TEXT,
        "gridOpacity": 0.12,
        "labelOverlap": "greedy",
        "labelLimit": 200,
    },
    # below the data, never over it
    "legend": _TEXT | {"orient": "bottom", "titleLimit": 0, "symbolOpacity": 1},
    "header": _TEXT | {"labelFontWeight": "bold", "labelLimit": 300},
    "mark": {"aria": False, "color": BLUE},
    "text": {"fontSize": FONT_SIZE, "color": TEXT},
    "rule": {"color": TEXT},
    "view": {"stroke": None},
}
"""The configuration of Vega-Lite under which every chart is drawn."""
