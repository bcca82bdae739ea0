"""Tables that are read, and those that would take more memory than their file lets expect."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.dataset import parquet
from orchestrator.dataset.parquet import (
    arrow_schema,
    batches_of,
    read_parquet,
    read_schema,
    row_count,
    written_rows,
)
from orchestrator.dataset.schema import TelemetrySample
from orchestrator.nouns import Noun


def test_a_small_file_of_many_rows_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": pa.array([1] * 1_000_001)}), file)
    with pytest.raises(ValueError, match=r"table.parquet: 1,000,001 rows, 1 columns"):
        read_parquet(file)


def test_a_text_that_all_rows_share_is_weighed_for_each(tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": ["x" * 2**20] * 513}), file)
    assert file.stat().st_size < 2**20
    with pytest.raises(ValueError, match=r"table.parquet: 513 rows.*at most .* 512 MiB are read"):
        read_parquet(file)


def test_the_columns_are_read_without_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "table.parquet"
    pq.write_table(pa.table({"b": [1], "a": ["x"]}), file)
    monkeypatch.setattr(parquet, "read_parquet", lambda _path: pytest.fail("rows were read"))
    assert read_schema(file).names == ["b", "a"]
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"table.parquet: "):
        read_schema(file)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ValueError, match=r"table.parquet: is a pipe, not a file"):
        read_schema(file)


def test_many_columns_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    pq.write_table(pa.table({f"c{n}": [1] for n in range(1001)}), file)
    with pytest.raises(ValueError, match="1,001 columns"):
        read_parquet(file)


def test_a_large_table_in_a_large_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep of long texts: what it holds stands in its file."""
    monkeypatch.setattr(parquet, "MOST_ROWS", 10)
    monkeypatch.setattr(parquet, "MOST_BYTES", 1000)
    file = tmp_path / "table.parquet"
    texts = [secrets.token_hex(500) for _ in range(100)]
    pq.write_table(pa.table({"text": texts}), file, compression="zstd")
    assert read_parquet(file)["text"].to_pylist() == texts


def test_a_long_table_is_written_and_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many rows are in memory, however long it is."""
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 3)
    held: list[int] = []
    real = parquet.to_table

    def noted(row: type[Noun], rows: list[dict[str, Any]]) -> pa.Table:
        held.append(len(rows))
        return real(row, rows)

    monkeypatch.setattr(parquet, "to_table", noted)
    file = tmp_path / "telemetry.parquet"
    sample = dict.fromkeys(TelemetrySample.model_fields)
    rows = [sample | {"prompt_number": 1, "at_s": float(n)} for n in range(8)]
    with written_rows(file, TelemetrySample) as add:
        add(rows[:2])
        add(iter(rows[2:]))
    assert held == [3, 3, 2]
    assert read_parquet(file).equals(real(TelemetrySample, rows))
    assert row_count(file) == 8
    sizes = [batch.num_rows for batch in batches_of(file, read_schema(file))]
    assert max(sizes) == 3
    assert read_parquet(file, ["at_s", "none such"]).to_pydict() == {
        "at_s": [float(n) for n in range(8)]
    }


def test_a_table_without_rows_is_a_table(tmp_path: Path) -> None:
    file = tmp_path / "telemetry.parquet"
    with written_rows(file, TelemetrySample) as add:
        add([])
    assert read_parquet(file).schema.equals(arrow_schema(TelemetrySample), check_metadata=True)


def test_rows_that_fail_leave_the_old_table(tmp_path: Path) -> None:
    file = tmp_path / "telemetry.parquet"
    with written_rows(file, TelemetrySample):
        pass
    before = file.read_bytes()
    with pytest.raises(ZeroDivisionError), written_rows(file, TelemetrySample) as add:
        add({"at_s": 1 / n} for n in (0,))
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
