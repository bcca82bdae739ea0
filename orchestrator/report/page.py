"""The report as one HTML file that needs no other file.

Charts are embedded. Texts of the data set are escaped, so they can't act as HTML or as a script.
"""

from __future__ import annotations

import base64
import io
import warnings as warnings_module
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from orchestrator import __version__
from orchestrator.dataset.gross_energy import COVERAGE, GROSS, uncertainty
from orchestrator.report.charts import CHARTS, pairs_chart
from orchestrator.report.compare import (
    Comparison,
    comparison_sentences,
    comparison_warnings,
    ratio_table,
    setup_table,
)
from orchestrator.report.execution_frame import Data
from orchestrator.report.findings import effect_sentences, findings
from orchestrator.report.page_content import (
    Table,
    columns_table,
    headline,
    tables,
    warnings,
)
from orchestrator.report.style import RC
from orchestrator.report.trust import trial_cards
from orchestrator.units import number, plural
from orchestrator.yaml_files import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Section:
    """A section of the page: a chart, a table, or both."""

    id: str
    title: str
    sentences: tuple[str, ...] = ()
    image: str | None = None
    """The chart as a data: address."""
    alt: str = ""
    table: Table | None = None


def write_figure(figure: Figure, target: Path | io.BytesIO, kind: str) -> None:
    """Write a figure as svg, pdf or png (`kind`), with the same bytes each time."""
    from matplotlib import rc_context

    # None leaves out the date, which would differ each time.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    with rc_context(RC), warnings_module.catch_warnings():
        # a letter that no font has is a box in the chart; the warning would print it, too
        warnings_module.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure.savefig(target, format=kind, metadata=metadata, dpi=150)


def page(data: Data, source: str) -> str:
    """The HTML of the report on a data set. `source` names the data set for the reader.

    It is one file, which loads nothing from elsewhere.
    """
    return _rendered(
        title="Energy of LLM inference",
        source=source,
        warnings=warnings(data),
        findings=findings(data),
        headline=headline(data),
        sections=sections(data),
        cards=trial_cards(data),
    )


def comparison_page(comparison: Comparison, name_a: str, name_b: str) -> str:
    """The HTML of a comparison of two data sets. Both names are for the reader."""
    pairs = {
        f"{match.a} | {match.b}": match.pairs for match in comparison.matches if match.same_meter
    }
    ratios = _section(
        "ratios",
        "What both measured",
        sentences=comparison_sentences(comparison),
        figure=pairs_chart(pairs),
        alt="Chart: J/token of each configuration in A and in B",
        table=ratio_table(comparison),
    )
    setup = _section("setup", "How they were measured", table=setup_table(comparison))
    return _rendered(
        title="Two data sets compared",
        source=f"A, {name_a}, and B, {name_b}",
        warnings=comparison_warnings(comparison),
        findings=[],
        headline=[],
        sections=[ratios, setup],
        cards=None,
    )


def _rendered(**parts: object) -> str:
    """The page's template filled with these parts; data is escaped."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    ).from_string(TEMPLATE.read_text(encoding="utf-8"))
    text: str = template.render(
        version=__version__,
        number=number,
        plural=plural,
        uncertainty=uncertainty,
        gross=GROSS,
        coverage=COVERAGE,
        **parts,
    )
    return text


def _visible(value: object) -> object:
    """A value as the page shows it.

    Of untrusted text, what a terminal or the writing direction would obey is spelled out.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(map(printable, value.split("\n")))


def sections(data: Data) -> list[Section]:
    """The report's sections: first those of the charts, then the tables that stand alone."""
    by_name = {table.name: table for table in tables(data)}
    of_charts = []
    for name, chart in CHARTS.items():
        figure = chart.draw(data)
        table = by_name.pop(chart.table, None) if chart.table else None
        sentences = effect_sentences(data) if name == "effects" else []
        if figure is None and table is None:
            sentences = ["There is nothing to show here yet."]
        of_charts.append(
            _section(
                name,
                chart.title,
                sentences=sentences,
                figure=figure,
                alt=f"Chart: {chart.title}",
                table=table,
            )
        )
    # What the columns hold is for the page alone: no paper prints a table of a hundred columns.
    alone = [
        _section(table.name, table.title, table=table)
        for table in (*by_name.values(), columns_table(data))
    ]
    return [*of_charts, *alone]


def _section(
    id_: str,
    title: str,
    *,
    sentences: Sequence[str] = (),
    figure: Figure | None = None,
    alt: str = "",
    table: Table | None = None,
) -> Section:
    """A section whose chart, if there is one, is embedded."""
    image = None
    if figure is not None:
        image = _embedded(figure)
    return Section(id_, title, tuple(sentences), image, alt, table)


def _embedded(figure: Figure) -> str:
    """A figure as a data: address."""
    buffer = io.BytesIO()
    write_figure(figure, buffer, "svg")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
