"""Files for a paper: as wide as a column, with fonts that journals take, the same each time."""

from __future__ import annotations

import functools
import math
import re
import struct

import pytest

from orchestrator.report.charts import CHARTS
from orchestrator.report.drawing import KINDS, WIDTHS_CM, Drawing, drawn, program, sized
from orchestrator.report.execution_frame import Data, data_of
from tests.report.synthetic import Truth, executions
from tests.report.test_charts import of_groups
from tests.report.test_page import judged


@functools.cache
def one_group() -> Data:
    """A data set of one group; nobody changes it."""
    return data_of(judged(executions(Truth(), 0)))


def a_drawing(name: str = "effects") -> Drawing:
    drawing = CHARTS[name].draw(one_group())
    assert drawing is not None
    return drawing


def inches(kind: str, file: bytes) -> tuple[float, float]:
    """Width and height of a chart's file."""
    if kind == "pdf":
        box = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", file)
        assert box is not None
        return float(box[1]) / 72, float(box[2]) / 72
    if kind == "svg":
        sizes = re.findall(r' (?:width|height)="([\d.]+)pt"', file.decode().split(">")[0])
        return float(sizes[0]) / 72, float(sizes[1]) / 72
    width, height = struct.unpack(">II", file[16:24])  # of the PNG's first chunk
    return width / 300, height / 300


@pytest.mark.parametrize("width", WIDTHS_CM)
@pytest.mark.parametrize("kind", KINDS)
def test_a_chart_of_one_panel_is_as_wide_as_a_column(kind: str, width: str) -> None:
    wide, _ = inches(kind, drawn(a_drawing(), kind, WIDTHS_CM[width]))
    assert wide * 2.54 == pytest.approx(WIDTHS_CM[width], rel=0.01)


@pytest.mark.parametrize(
    ("name", "width"),
    [
        *((name, "double") for name in CHARTS),
        *((name, "single") for name in ("side-by-side", "effects", "coverage")),
    ],
)
def test_a_chart_of_fifteen_groups_fits_on_a_page(name: str, width: str) -> None:
    drawing = CHARTS[name].draw(of_groups(15))
    assert drawing is not None
    wide, high = inches("svg", drawn(drawing, "svg", WIDTHS_CM[width]))
    assert wide * 2.54 < WIDTHS_CM[width] * 1.05
    assert high * 2.54 < 24


@pytest.mark.parametrize("name", CHARTS)
def test_a_pdf_has_no_type_3_fonts(name: str) -> None:
    file = drawn(a_drawing(name), "pdf", 8.5)
    assert file.startswith(b"%PDF")
    assert b"/CIDFontType2" in file
    assert b"/Type3" not in file


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_the_same_bytes_each_time(kind: str) -> None:
    assert drawn(a_drawing(), kind, 8.5) == drawn(a_drawing(), kind, 8.5)


def test_panels_fill_the_width() -> None:
    drawing = Drawing(a_drawing().chart, {}, "x", panels=15)
    spec = drawing.spec()
    for width in (200, 390, 800, 1200):
        wide = sized(spec, width)
        layout = spec["usermeta"]
        panel = wide["config"]["view"]["continuousWidth"]
        used = layout["edge"] + wide["columns"] * (panel + layout["gap"])
        assert used == pytest.approx(width)
        assert panel >= min(layout["least"], width - layout["edge"] - layout["gap"])
        n_rows = math.ceil(15 / wide["columns"])
        assert n_rows * (wide["columns"] - 1) < 15, "no row is much shorter than the others"
    assert spec == drawing.spec(), "the specification itself stays"


def test_the_program_does_not_end_its_script() -> None:
    assert "</script" not in program()
    assert "vegaEmbed" in program()
