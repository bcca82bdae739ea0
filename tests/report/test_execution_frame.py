"""The table of executions that the report is made of."""

from __future__ import annotations

import ast
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrator import report
from orchestrator.dataset.parquet import read_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import ExecutionRow
from orchestrator.dataset.tables import rebuild
from orchestrator.report import execution_frame
from orchestrator.report.execution_frame import (
    TABLE_ONLY,
    ColumnFacts,
    data_of,
    read_data,
    rows_of,
)
from tests import builders
from tests.report.synthetic import Truth, executions


def test_the_energy_that_counts_holds_no_pue() -> None:
    """As in the rows themselves, since a GPU's counter holds none either."""
    frame = executions(Truth(), 0, points=2, energy_basis="energy_j", energy_j=54.0, pue=1.5)
    data = data_of(frame)
    assert set(data.kept["counted_energy_j"]) == {36.0}
    per_token_j = (36.0 / frame["n_new_tokens"]).to_list()
    assert data.kept["energy_per_token_j"].to_list() == pytest.approx(per_token_j)
    frame["pue"] = None  # an earlier version
    assert set(data_of(frame).kept["counted_energy_j"]) == {54.0}


def test_no_module_of_the_report_uses_a_column_that_is_not_kept() -> None:
    """One that comes to use such a column takes it off TABLE_ONLY."""
    assert set(ExecutionRow.model_fields) > TABLE_ONLY
    for file in Path(report.__file__).parent.glob("*.py"):
        if file.name == "execution_frame.py":
            continue
        nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
        assert texts.isdisjoint(TABLE_ONLY), file.name


def test_of_the_other_columns_is_told_what_they_held() -> None:
    frame = executions(Truth(), 0, points=2, ttft_s=7.0, limits="")
    frame.loc[0, "ttft_s"] = None
    data = data_of(frame)
    assert "ttft_s" not in data.all
    assert data.table_only["ttft_s"] == ColumnFacts(len(frame) - 1, 7.0)
    assert data.table_only["limits"] == ColumnFacts(len(frame), None)


def test_a_table_is_read_without_its_texts_and_a_column_at_a_time(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = builders.spec()
    items = [builders.measured(n, of=spec, ttft_s=0.5 * n) for n in (1, 2, 3)]
    builders.seal_trial(paths, spec, items)
    rebuild(paths)
    read: list[list[str]] = []

    def noted(path: Path, columns: list[str]) -> pa.Table:
        read.append(list(columns))
        return read_parquet(path, columns)

    monkeypatch.setattr(execution_frame, "read_parquet", noted)
    data = read_data(paths)
    assert not {"output_text", "prompt_text"} & {name for some in read for name in some}
    assert {len(some) for some in read} == {1}
    assert data.table_only["ttft_s"] == ColumnFacts(3, 1.0)
    assert len(data.all) == 3


def test_rows_come_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = executions(Truth(), 0, points=2)
    whole = list(rows_of(frame, ["model", "quality"]))
    monkeypatch.setattr(execution_frame, "ROWS_AT_ONCE", 3)
    assert list(rows_of(frame, ["model", "quality"])) == whole
    assert len(whole) == len(frame)
