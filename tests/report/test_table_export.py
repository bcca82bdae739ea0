"""Tables for a paper: as they are shown, and nothing in a cell is markup."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.report.execution_frame import data_of
from orchestrator.report.page_content import Table, tables
from orchestrator.report.table_export import EXPORTS, latex, markdown, numeric_columns
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
        "par", "smallskip", "footnotesize", "textbackslash", "textasciitilde",
        "textasciicircum", "textless", "textgreater", "textbar",
    }  # fmt: skip
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    (row,) = [line for line in text.splitlines() if "script" in line]
    assert row.count("&") == 1


def test_numbers_stand_to_the_right_and_names_do_not() -> None:
    table = Table(
        "t", "T", ("a", "b", "c", "d"),
        (("5dd1", "1,234 J", "× 5.9 (4.3 to 8)", "n/a"), ("52fa", "", "n/a", "n/a")),
    )  # fmt: skip
    assert numeric_columns(table) == [False, True, True, False]
    assert r"\begin{tabular}{lrrl}" in latex([table])


def test_a_caption_is_short_and_the_note_stands_below() -> None:
    text = latex([Table("t", "Title", ("a",), (("b",),), "A note.")])
    assert r"\caption{Title.}" in text
    assert text.index(r"\end{tabular}") < text.index("A note.") < text.index(r"\end{table}")


def test_latex_compiles_it(tmp_path: Path) -> None:
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("no pdflatex here")
    text = latex((*tables(data_of(judged(executions(Truth(), 0)))), HOSTILE))
    (tmp_path / "tables.tex").write_text(text)
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage[utf8]{inputenc}\usepackage{booktabs}"
        r"\begin{document}\input{tables}\end{document}"
    )
    done = subprocess.run(
        [program, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


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
