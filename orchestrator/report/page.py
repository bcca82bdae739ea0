"""The report as one HTML file that needs nothing else: charts are embedded, and no text of the data can act in it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import __version__
from orchestrator.report.compare import (
    Comparison,
    comparison_sentences,
    comparison_warnings,
    ratio_table,
    setup_table,
)
from orchestrator.report.execution_frame import Data
from orchestrator.report.figures import CHARTS, pairs_chart
from orchestrator.report.page_content import (
    Table,
    effect_sentences,
    headline,
    tables,
    warnings,
)
from orchestrator.report.style import RC
from orchestrator.report.trust import cards
from orchestrator.units import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("page.html")
TABLE_OF = {"effects": "effects", "importance": "importance", "side-by-side": "groups"}
"""Chart -> the table below it."""


@dataclass(frozen=True)
class Section:
    """A chart, a table, or both."""

    id: str
    title: str
    sentences: tuple[str, ...] = ()
    image: str | None = None
    """A data: address."""
    alt: str = ""
    table: Table | None = None


def write_figure(figure: Figure, target: Path | io.BytesIO, kind: str) -> None:
    """A figure as svg, pdf or png, the same bytes each time."""
    from matplotlib import rc_context

    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    with rc_context(RC):
        figure.savefig(target, format=kind, metadata=dated, dpi=150)


def page(data: Data, source: str) -> str:
    """The whole page of a data set."""
    return _rendered(
        title="Energy of LLM inference",
        source=source,
        warnings=warnings(data),
        headline=headline(data),
        sections=sections(data),
        cards=cards(data),
    )


def comparison_page(found: Comparison, name_a: str, name_b: str) -> str:
    """The whole page of two data sets."""
    by_groups = {
        f"{match.a} | {match.b}": match.pairs for match in found.matches if match.same_meter
    }
    figure = pairs_chart(by_groups)
    sentences = tuple(comparison_sentences(found))
    both = Section("ratios", "What both measured", sentences, table=ratio_table(found))
    if figure is not None:
        both = replace(
            both, image=_embedded(figure), alt="Chart: J/token of each configuration in A and in B"
        )
    return _rendered(
        title="Two data sets compared",
        source=f"A, {name_a}, and B, {name_b}",
        warnings=comparison_warnings(found),
        headline=[],
        sections=[both, Section("setup", "How they were measured", table=setup_table(found))],
        cards=None,
    )


def _rendered(**parts: object) -> str:
    from jinja2 import Environment, StrictUndefined

    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(TEMPLATE.read_text(encoding="utf-8"))
    text: str = template.render(version=__version__, number=number, **parts)
    return text


def sections(data: Data) -> list[Section]:
    """In the report's order."""
    by_name = {table.name: table for table in tables(data)}
    found = []
    for name, chart in CHARTS.items():
        figure = chart.draw(data)
        table = by_name.pop(TABLE_OF.get(name, ""), None)
        sentences = tuple(effect_sentences(data)) if name == "effects" else ()
        if figure is None and table is None:
            sentences = ("There is nothing to show here yet.",)
        image = _embedded(figure) if figure is not None else None
        found.append(Section(name, chart.title, sentences, image, f"Chart: {chart.title}", table))
    return [*found, *(Section(table.name, table.title, table=table) for table in by_name.values())]


def _embedded(figure: Figure) -> str:
    buffer = io.BytesIO()
    write_figure(figure, buffer, "svg")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
