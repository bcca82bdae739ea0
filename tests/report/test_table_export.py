"""Tables for a paper: as they are shown, and nothing in a cell is markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.report.execution_frame import data_of
from orchestrator.report.page_content import Table, tables
from orchestrator.report.table_export import EXPORTS, latex, markdown
from tests.commandline import exit_code
from tests.golden_files import golden
from tests.report.synthetic import Truth, executions
from tests.report.test_page import judged, out

__all__ = ["out"]  # the fixture of a data set

HOSTILE = Table(
    "evil",
    r"A & B_{1} \input{x}",
    ("a|b", "50 %"),
    (("<script>|`x`\n#", r"\immediate\write18{ls} ~^$"),),
    "± [x](y) \u202e!",
)


@pytest.mark.parametrize("kind", sorted(EXPORTS))
def test_what_a_paper_gets(kind: str) -> None:
    text = EXPORTS[kind]((*tables(data_of(judged(executions(Truth(), 0)))), HOSTILE))
    golden(f"tables{kind}", text)


def test_hostile_cells_in_markdown() -> None:
    line = markdown([HOSTILE]).splitlines()[3]
    assert line == r"| &lt;script&gt;\|\`x\` \# | \\immediate\\write18{ls} ~^$ |"


def test_hostile_cells_in_latex() -> None:
    text = latex([HOSTILE])
    assert set(re.findall(r"\\([a-z]+)", text)) == {
        "begin", "end", "caption", "label", "toprule", "midrule", "bottomrule", "pm",
        "textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar",
    }  # fmt: skip
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    (row,) = [line for line in text.splitlines() if "script" in line]
    assert row.count("&") == 1


def test_a_table_without_rows_is_a_note_in_markdown_and_nothing_in_latex() -> None:
    empty = Table("none", "Nothing", ("a",), (), "Not known: too few.")
    assert markdown([empty]) == "## Nothing\n\nNot known: too few.\n"
    assert latex([empty]) == ""


def test_the_option(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        exit_code(
            "report",
            "--out",
            str(out),
            "--tables",
            str(out / "t.md"),
            "--tables",
            str(out / "t.tex"),
        )
        == 0
    )
    assert r"\toprule" in (out / "t.tex").read_text()
    assert "## " in (out / "t.md").read_text()
    assert exit_code("report", "--out", str(out), "--tables", str(out / "t.docx")) == 2
    assert "must end in .md or .tex" in capsys.readouterr().err
