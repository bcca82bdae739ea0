"""docs/example: the data set that the documentation shows is sound, and this program still reads it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.dataset.parquet import read_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.report.execution_frame import read_data
from orchestrator.report.page_content import headline

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "example"


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_it_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("validate", "--out", str(EXAMPLE)) == 0
    assert "220 executions of 44 trials: 0 errors, 0 warnings" in capsys.readouterr().out


def test_its_files_are_those_that_were_published() -> None:
    lines = (EXAMPLE / "checksums.sha256").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 100
    for line in lines:
        digest, name = line.split(maxsplit=1)
        assert hashlib.sha256((EXAMPLE / name).read_bytes()).hexdigest() == digest, name


def test_its_tables_are_made_anew_from_its_folders(tmp_path: Path) -> None:
    copy = tmp_path / "example"
    shutil.copytree(EXAMPLE, copy)
    for name in ("executions.parquet", "summary.parquet"):
        (copy / name).unlink()
    assert call("summarize", "--out", str(copy)) == 0
    for name in ("executions.parquet", "summary.parquet"):
        assert read_parquet(copy / name).equals(read_parquet(EXAMPLE / name)), name


def test_its_page_says_what_the_data_say() -> None:
    page, text = (
        (EXAMPLE / "report.html").read_text(encoding="utf-8"),
        (DOCS / "example.md").read_text(encoding="utf-8"),
    )
    figures = {name: figure for name, figure, _ in headline(read_data(DataSetPaths(EXAMPLE)))}
    assert all(f"<b>{figure}</b>" in page for figure in figures.values())
    assert f"A usable answer costs {figures['per usable answer']}." in text
