"""A chart as one Vega-Lite specification, which the page shows and `plot` writes to a file."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import altair as alt

from orchestrator.report.looks import CONFIG

if TYPE_CHECKING:
    import pandas as pd

VEGA_LITE = "6.4"
"""The version of Vega-Lite that Altair writes for and vl-convert draws."""
CM_PER_INCH = 2.54
WIDTHS_CM = {"single": 8.5, "double": 17.5}
"""Name of a paper's column -> its width."""
PAPER_SCALE = 0.65
"""Points of a paper for each CSS pixel of a page: text of 12 pixels has 7.8 points."""
PNG_PER_INCH = 300
KINDS = ("pdf", "svg", "png")


@dataclass(frozen=True)
class Drawing:
    """A chart with its data and with what it says in words."""

    chart: Any
    """An Altair chart. Its data are named: `alt.Data(name="answers")`."""
    data: Mapping[str, pd.DataFrame]
    """Name -> the data, with their columns named as in the chart."""
    description: str
    """What it shows, for those who can't see it; a sentence."""
    message: str = ""
    """What it says in a sentence; "" where nothing can honestly be said."""
    note: str = ""
    """How to read it."""
    panels: int = 1
    """How many panels it has, which are laid out in as many columns as there is room for."""
    least_width: int = 175
    """The least width of a panel."""
    axis_width: int = 75
    """The room that a vertical axis takes."""
    own_axes: bool = False
    """Whether each panel has a vertical axis of its own."""

    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification without a width; `sized`, or the page's script, gives it."""
        # the tests check it against the schema, which takes seconds
        spec: dict[str, Any] = self.chart.to_dict(validate=False)
        datasets = {
            name: [
                {key: _rounded(value) for key, value in row.items()}
                for row in rows.to_dict("records")
            ]
            for name, rows in self.data.items()
        }
        space = 22
        layout = {
            "panels": self.panels,
            "least": self.least_width,
            "edge": 0 if self.own_axes else self.axis_width,
            "gap": self.axis_width if self.own_axes else space,
        }
        # Altair's own configuration would give widths
        words = {"description": self.description, "usermeta": layout, "config": CONFIG}
        return spec | words | {"datasets": datasets}


def in_panels(chart: Any, data: str, column: str | None, order: Sequence[str] = ()) -> Any:
    """A chart of the data of this name, with a panel for each value of `column` if there is one.

    The panels are in the order of `order`; else by the alphabet.
    """
    if column is None:
        return chart.properties(data=alt.Data(name=data))
    panels = alt.Facet(column, type="nominal", title=None, sort=list(order) or "ascending")
    return chart.facet(panels, data=alt.Data(name=data))


def _rounded(value: object) -> object:
    """A value for JSON: an unknown number is null, another has four digits, as many as are seen."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def sized(spec: dict[str, Any], width: float) -> dict[str, Any]:
    """A specification for a width in CSS pixels; page.js has the same function for the page."""
    layout = spec["usermeta"]
    legend = spec["config"]["legend"] | {
        "columns": max(1, math.floor(width / 370)),
        "labelLimit": min(340, width - 30),
    }
    config = spec["config"] | {"legend": legend}
    if layout["panels"] == 1:
        fit = {"type": "fit-x", "contains": "padding"}
        return spec | {"config": config, "width": width, "autosize": fit}
    room, gap = width - layout["edge"], layout["gap"]
    most = max(1, min(layout["panels"], math.floor(room / (layout["least"] + gap))))
    # as many in each row as the number of rows allows
    columns = math.ceil(layout["panels"] / math.ceil(layout["panels"] / most))
    panel = max(60, room / columns - gap)
    view = config["view"] | {"continuousWidth": panel, "discreteWidth": panel}
    return spec | {"config": config | {"view": view}, "columns": columns}


def drawn(drawing: Drawing, kind: str, width_cm: float) -> bytes:
    """A chart as a file of `kind` (KINDS), as wide as a paper's column."""
    import vl_convert

    points = width_cm / CM_PER_INCH * 72
    spec = sized(drawing.spec(), points / PAPER_SCALE) | {"background": "white"}
    svg = str(vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE))
    if kind == "png":
        return bytes(vl_convert.svg_to_png(svg, scale=PAPER_SCALE * PNG_PER_INCH / 72))
    if kind == "pdf":
        # vl-convert makes a point of each pixel
        return _in_order(bytes(vl_convert.svg_to_pdf(_as_on_paper(svg, ""))))
    return _as_on_paper(svg, "pt").encode()


def _as_on_paper(svg: str, unit: str) -> str:
    """An SVG whose size is that on paper, in points; `unit` is written behind the numbers."""
    head, rest = svg.split(">", 1)
    for name in ("width", "height"):
        size = re.search(rf' {name}="([0-9.]+)"', head)
        if size:
            head = head.replace(size[0], f' {name}="{float(size[1]) * PAPER_SCALE:.1f}{unit}"')
    return f"{head}>{rest}"


_REFERENCES = re.compile(rb"(?:\n +/\w+ \d+ 0 R)+")
"""Entries of a PDF's dictionary, a line each, that name other objects of it."""


def _in_order(pdf: bytes) -> bytes:
    """A PDF with the entries of its dictionaries in order, so that a chart has the same bytes.

    vl-convert writes them in the order of a hash table. Each object keeps its place.
    """
    return _REFERENCES.sub(lambda found: b"\n".join(sorted(found[0].split(b"\n"))), pdf)


@functools.cache
def program() -> str:
    """The JavaScript that draws specifications in a page: Vega, Vega-Lite and Vega-Embed.

    Made once a process: it takes a second.
    """
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    # within a page, this would end the script
    return str(bundle).replace("</script", r"<\/script")
