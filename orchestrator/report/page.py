"""The report as one HTML file that needs no other file.

Charts are embedded as specifications with the program that draws them. Texts of the data set are
escaped, so they can't act as HTML or as a script.
"""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from orchestrator import __version__
from orchestrator.dataset.gross_energy import COVERAGE, GROSS
from orchestrator.nouns import PARAMETERS
from orchestrator.packages import repository_url
from orchestrator.report.charts import CHARTS, COMPARISON_CHARTS
from orchestrator.report.circumstances import circumstances
from orchestrator.report.compare import (
    Comparison,
    comparison_warnings,
    ratio_table,
    setup_table,
)
from orchestrator.report.drawing import Drawing, program
from orchestrator.report.execution_frame import Data
from orchestrator.report.page_content import (
    Table,
    columns_table,
    findings_by_subject,
    headline,
    warnings,
)
from orchestrator.report.setups import all_tables
from orchestrator.report.table_export import numeric_columns
from orchestrator.report.trial_rows import PLACE, TrialRow, configuration_rows, trial_rows
from orchestrator.units import plural
from orchestrator.yaml_files import printable

HERE = Path(__file__).parent
ROW_KEYS = (
    "word", "why", "name", "text", *PLACE, *PARAMETERS, "kept", "executions",
    "per_token", "uncertainty", "per_usable", "least", "most", "usable", "judged", "quality",
    "front",
)  # fmt: skip
"""What the page's script gets of a row of trials or configurations, in this order."""


@dataclass(frozen=True)
class Section:
    """A section of the page: a chart, a table, or both."""

    id: str
    title: str
    sentences: tuple[str, ...] = ()
    drawing: Drawing | None = None
    table: Table | None = None
    folded: bool = False
    """Whether the table is closed at first, and left out of print."""

    @property
    def numeric(self) -> list[bool]:
        """Which columns of the table hold numbers."""
        return numeric_columns(self.table) if self.table else []


def page(data: Data, source: str, folder: Path | None = None) -> str:
    """The HTML of the report on a data set. `source` names the data set for the reader.

    It is one file, which loads nothing from elsewhere. `folder`: where it will lie. Within the
    data set, trials have links to their texts.
    """
    return _rendered(
        title="Energy of LLM inference",
        source=source,
        circumstances=circumstances(data),
        warnings=warnings(data),
        findings=findings_by_subject(data),
        headline=headline(data),
        sections=sections(data),
        rows=_rows(data, folder),
    )


def comparison_page(comparison: Comparison, name_a: str, name_b: str) -> str:
    """The HTML of a comparison of two data sets. Both names are for the reader."""
    shown = []
    by_name = {table.name: table for table in (ratio_table(comparison), setup_table(comparison))}
    for name, chart in COMPARISON_CHARTS.items():
        drawing, table = chart.draw(comparison), by_name.pop(name, None)
        if drawing or table:
            shown.append(Section(name, chart.title, drawing=drawing, table=table))
    shown += [Section(table.name, table.title, table=table) for table in by_name.values()]
    return _rendered(
        title="Two data sets compared",
        source=f"A, {name_a}, and B, {name_b}",
        circumstances=[],
        warnings=comparison_warnings(comparison),
        findings=[],
        headline=[],
        sections=shown,
        rows=None,
    )


def sections(data: Data) -> list[Section]:
    """The report's sections: first those of the charts, then the tables that stand alone."""
    by_name = {table.name: table for table in all_tables(data)}
    of_charts = []
    for name, chart in CHARTS.items():
        drawing = chart.draw(data)
        table = by_name.pop(chart.table, None) if chart.table else None
        sentences: tuple[str, ...] = ()
        if drawing is None and table is None:
            sentences = ("There is nothing to show here yet.",)
        of_charts.append(Section(name, chart.title, sentences, drawing, table))
    # What the columns hold is for the page alone: no paper prints a table of a hundred columns.
    alone = [Section(table.name, table.title, table=table) for table in by_name.values()]
    columns = columns_table(data)
    return [*of_charts, *alone, Section(columns.name, columns.title, table=columns, folded=True)]


def _rendered(
    *, sections: Sequence[Section], rows: dict[str, object] | None, **parts: object
) -> str:
    """The page's template filled with these parts; data is escaped."""
    from jinja2 import Environment, StrictUndefined

    charts = {section.id: section.drawing.spec() for section in sections if section.drawing}
    template = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    ).from_string(_own_file("page.html"))
    text: str = template.render(
        version=__version__,
        repository=repository_url(),
        plural=plural,
        gross=GROSS,
        coverage=COVERAGE,
        style=Markup(_own_file("page.css")),  # noqa: S704 - a file of the package
        script=Markup(_own_file("page.js")),  # noqa: S704 - a file of the package
        program=Markup(program() if charts else ""),  # noqa: S704 - of a package
        payload=_as_json({"charts": charts, "rows": rows}),
        sections=sections,
        has_rows=rows is not None,
        **parts,
    )
    return text


def _own_file(name: str) -> str:
    """The text of a file beside this one."""
    return (HERE / name).read_text(encoding="utf-8")


def _as_json(value: object) -> Markup:
    """A value as JSON that can stand in a script of a page: no text in it ends the script."""
    text = json.dumps(_all_visible(value), separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


def _all_visible(value: object) -> object:
    """A value of lists and dictionaries with all its texts `_visible`."""
    if isinstance(value, dict):
        return {key: _all_visible(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_all_visible(inner) for inner in value]
    return _visible(value)


def _visible(value: object) -> object:
    """A value as the page shows it.

    Of untrusted text, what a terminal or the writing direction would obey is spelled out.
    """
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "\n".join(map(printable, value.split("\n")))


def _rows(data: Data, folder: Path | None) -> dict[str, object]:
    """The rows of configurations and trials for the page's script. Each reason is in it once."""
    reasons: dict[str, int] = {}

    def values(row: TrialRow, text: str | None) -> list[Any]:
        why = [reasons.setdefault(reason, len(reasons)) for reason in row.why]
        uncertainty = row.energy_rel_uncertainty
        per_token = row.energy_per_token_j
        if per_token is not None and uncertainty is not None:
            uncertainty *= per_token
        return [
            row.word, why, row.name, text,
            *(row.first[name] for name in (*PLACE, *PARAMETERS)),
            row.n_kept, row.n_executions,
            *map(_short_number, (per_token, uncertainty, row.energy_per_usable_j)),
            *map(_short_number, row.per_usable_interval_j or (None, None)),
            row.n_usable, row.n_judged, _short_number(row.quality), row.on_front,
        ]  # fmt: skip

    rows = {
        "configurations": [values(row, None) for row in configuration_rows(data)],
        "trials": [values(row, _text_of(row, data, folder)) for row in trial_rows(data)],
    }
    return {"keys": ROW_KEYS, "why": list(reasons), **rows}


def _short_number(value: float | None) -> float | None:
    """A number with four digits, more than the page shows."""
    return None if value is None else float(f"{value:.4g}")


def _text_of(row: TrialRow, data: Data, folder: Path | None) -> str | None:
    """The relative address of a trial's texts; None where the page has no way to them."""
    if folder is None or data.paths is None:
        return None
    root = data.paths.root.resolve()
    text = root / row.folder / "output.txt"
    if not folder.resolve().is_relative_to(root) or not text.is_file():
        return None
    return urllib.parse.quote(Path(os.path.relpath(text, folder.resolve())).as_posix())
