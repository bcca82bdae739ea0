"""docs/example: the shortened data set that the documentation shows agrees with itself.

Its tables hold 37 trials, of which only two have their folders there.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from orchestrator.dataset.parquet import read_parquet
from tests.commandline import caller
from tests.version_1.frozen import executions_in, rows_of

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "example"
TRIALS = {
    "gpu/smollm2/latinHypercubeSampling/creativeStorytelling/0000-efc2153f43d9-r1",
    "gpu/smollm2/latinHypercubeSampling/danceCoreography/0001-9d74f3f97e95-r1",
}
"""The trials whose folders lie beside the tables."""


def test_its_files_are_few_and_unchanged() -> None:
    published = {}
    for line in (EXAMPLE / "checksums.sha256").read_text(encoding="utf-8").splitlines():
        digest, name = line.split(maxsplit=1)
        published[name] = digest
    found = {}
    for path in EXAMPLE.rglob("*"):
        if path.is_file() and path.name != "checksums.sha256":
            name = path.relative_to(EXAMPLE).as_posix()
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found == published
    assert len(found) < 25


def test_its_tables_say_what_they_are() -> None:
    """Each table can be read, names its schema's version, and tells each column's meaning."""
    counts = {"executions": 185, "summary": 37, "verdicts": 185}
    for name, count in counts.items():
        table = read_parquet(EXAMPLE / f"{name}.parquet")
        assert table.num_rows == count, name
        assert b"schema_version" in table.schema.metadata
        assert all(field.metadata[b"meaning"] for field in table.schema)
    executions = executions_in(EXAMPLE)
    assert len(executions) == 185
    judged = {row["execution"] for row in rows_of(EXAMPLE / "verdicts.parquet")}
    assert judged == set(executions)


def test_its_two_folders_are_rows_of_its_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "example"
    shutil.copytree(EXAMPLE, copy)
    for name in ("executions.parquet", "summary.parquet"):
        (copy / name).unlink()
    assert caller(capsys)("summarize", "--out", str(copy)).code == 0
    of_folders, of_all = executions_in(copy), executions_in(EXAMPLE)
    assert {name.split("#")[0] for name in of_folders} == TRIALS
    # its session's anchors, which the flag session_drift comes of, lie in folders that aren't here
    for name, row in of_folders.items():
        assert row | {"flags": None} == of_all[name] | {"flags": None}
    assert len(of_folders) == 10
    sums = ("n_executions", "n_usable", "n_new_tokens", "energy_j", "energy_per_usable_j")
    summaries = {row["config_hash"]: row for row in rows_of(EXAMPLE / "summary.parquet")}
    for row in rows_of(copy / "summary.parquet"):
        whole = summaries[row["config_hash"]]
        assert {name: row[name] for name in sums} == {name: whole[name] for name in sums}


def test_its_pages_say_what_the_data_say() -> None:
    report = (EXAMPLE / "report.html").read_text(encoding="utf-8")
    text = (DOCS / "example.md").read_text(encoding="utf-8")
    card = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    rows = rows_of(EXAMPLE / "executions.parquet")
    counted_energy_j = sum(row[row["energy_basis"]] for row in rows)
    n_usable = sum(row["usable"] for row in rows)
    per_usable = f"{counted_energy_j / n_usable:.0f} J"
    for figure in (str(len(rows)), f"{counted_energy_j / 3600:.1f} Wh", per_usable):
        assert f"<b>{figure}" in report
    assert f"A usable answer costs {per_usable}." in text
    for page in (text, card):
        assert "185 executions" in page
        assert "6f755c9" in page, "where the other folders are"
    linked = re.findall(r"\]\(example/(gpu/[^)]+)\)", text)
    assert set(linked) == TRIALS


def test_croissant_describes_its_tables() -> None:
    croissant = (EXAMPLE / "croissant.json").read_text(encoding="utf-8")
    for name in ("executions.parquet", "summary.parquet", "verdicts.parquet"):
        assert hashlib.sha256((EXAMPLE / name).read_bytes()).hexdigest() in croissant
