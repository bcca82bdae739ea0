"""docs/example reads the same in every tool that people use: names, types, nulls and figures.

Each test asks a tool for the same facts in the tool's own words, no name quoted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "example"
EXECUTIONS = EXAMPLE / "executions.parquet"
TABLES = ("executions", "summary", "verdicts")


@pytest.fixture(scope="module")
def truth() -> pa.Table:
    """The executions as Arrow reads them."""
    return pq.read_table(EXECUTIONS)


def facts_of(table: pa.Table) -> dict[str, Any]:
    """What each tool is asked for, by plain Python."""
    rows = table.to_pylist()
    drifted = [row for row in rows if "session_drift" in row["warning_flags"].split(";")]
    return {
        "rows": len(rows),
        "discarded": sum(row["usable"] is False for row in rows),
        "drifted": len(drifted),
        "energy_j": pytest.approx(sum(row["gpu_energy_counter_j"] for row in rows)),
        "without_bits": sum(row["bits"] is None for row in rows),
        "first_repetition": sum(row["repetition"] == 1 for row in rows),
        "began": min(row["started_at"] for row in rows),
    }


def test_pandas(truth: pa.Table) -> None:
    import pandas as pd

    rows = pd.read_parquet(EXECUTIONS)
    assert list(rows.columns) == truth.column_names
    # each is reached as an attribute, and none is a method or holds arrays
    for name in rows.columns:
        assert isinstance(getattr(rows, name), pd.Series), name
    texts = {name for name, kind in rows.dtypes.items() if kind in ("object", "str")}
    assert texts == {field.name for field in truth.schema if field.type == pa.string()}
    assert str(rows.dtypes["usable"]) == "boolean"
    assert str(rows.started_at.dtype) == "datetime64[ms, UTC]"
    assert len(rows.drop_duplicates()) == len(rows)
    assert rows.groupby("warning_flags").size().sum() == len(rows)
    assert {
        "rows": len(rows),
        "discarded": len(rows[~rows.usable]),
        "drifted": rows.warning_flags.str.split(";").explode().eq("session_drift").sum(),
        "energy_j": rows.gpu_energy_counter_j.sum(),
        "without_bits": rows.bits.isna().sum(),
        "first_repetition": sum(row.repetition == 1 for row in rows.itertuples()),
        "began": rows.started_at.min(),
    } == facts_of(truth)


def test_polars(truth: pa.Table) -> None:
    pl = pytest.importorskip("polars", reason="polars is in the extra dev")
    rows = pl.read_parquet(EXECUTIONS)
    assert rows.columns == truth.column_names
    assert set(map(str, rows.dtypes)) == {
        *("String", "Int64", "Float64", "Boolean"),
        "Datetime(time_unit='ms', time_zone='UTC')",
    }
    lists = rows.with_columns(pl.col("warning_flags").str.split(";"))
    assert {
        "rows": rows.height,
        "discarded": rows.filter(~pl.col("usable")).height,
        "drifted": lists.filter(pl.col("warning_flags").list.contains("session_drift")).height,
        "energy_j": rows["gpu_energy_counter_j"].sum(),
        "without_bits": rows["bits"].null_count(),
        "first_repetition": rows.filter(pl.col("repetition") == 1).height,
        "began": rows["started_at"].min(),
    } == facts_of(truth)


QUERY = """
SELECT count(*) AS rows_found,
       count(*) FILTER (WHERE NOT usable) AS discarded,
       count(*) FILTER (WHERE ';' || warning_flags || ';' LIKE '%;session_drift;%') AS drifted,
       sum(gpu_energy_counter_j) AS energy_j,
       count(*) FILTER (WHERE bits IS NULL) AS without_bits,
       count(*) FILTER (WHERE repetition = 1) AS first_repetition,
       min(started_at) AS began
FROM {table}
"""


def test_duckdb(truth: pa.Table) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is in the extra dev")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for table in TABLES:
            names = pq.read_schema(EXAMPLE / f"{table}.parquet").names
            # no name is quoted: a reserved one would be a fault of syntax
            query = f"SELECT {', '.join(names)} FROM '{EXAMPLE / table}.parquet'"  # noqa: S608
            assert connection.sql(query).columns == names
        kinds = {str(kind) for kind in connection.sql(f"FROM '{EXECUTIONS}'").types}
        assert kinds == {"VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP WITH TIME ZONE"}
        # as text, since Python's moments of DuckDB want another package
        query = QUERY.format(table=f"'{EXECUTIONS}'").replace(
            "min(started_at)", "epoch_ms(min(started_at))"
        )
        (found,) = connection.sql(query).fetchall()
    assert list(found) == in_order(truth, lambda moment: round(moment.timestamp() * 1000))


def in_order(truth: pa.Table, moment: Callable[[Any], Any]) -> list[Any]:
    """The facts in the order of QUERY. `moment`: how the tool gives one."""
    facts = facts_of(truth)
    return [*list(facts.values())[:-1], moment(facts["began"])]


def test_sqlite(truth: pa.Table) -> None:
    with sqlite3.connect(":memory:") as connection:
        for table in TABLES:
            rows = pq.read_table(EXAMPLE / f"{table}.parquet")
            names = ", ".join(rows.column_names)
            connection.execute(f"CREATE TABLE {table} ({names})")
            places = ", ".join("?" * rows.num_columns)
            connection.executemany(
                f"INSERT INTO {table} ({names}) VALUES ({places})",  # noqa: S608
                [[as_sqlite(value) for value in row.values()] for row in rows.to_pylist()],
            )
            assert connection.execute(f"SELECT {names} FROM {table}").fetchone()  # noqa: S608
        found = connection.execute(QUERY.format(table="executions")).fetchone()
    assert list(found) == in_order(truth, lambda moment: moment.isoformat())


def as_sqlite(value: Any) -> Any:
    """A value as SQLite keeps it: it has no moments."""
    return value.isoformat() if hasattr(value, "isoformat") else value


def test_pandas_writes_it_to_sqlite_by_itself(truth: pa.Table) -> None:
    import pandas as pd

    with sqlite3.connect(":memory:") as connection:
        rows = pd.read_parquet(EXECUTIONS)
        assert rows.to_sql("executions", connection, index=False) == truth.num_rows
        back = pd.read_sql("SELECT warning_flags, seed FROM executions", connection)
    assert back.seed.tolist() == truth["seed"].to_pylist(), "seeds have 63 bits"
    assert back.warning_flags.tolist() == truth["warning_flags"].to_pylist()


def test_datasets(truth: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets", reason="datasets is in the extra dev")
    cache = str(tmp_path / "cache")
    for table in TABLES:
        rows = datasets.load_dataset(str(EXAMPLE), table, split="train", cache_dir=cache)
        schema = pq.read_schema(EXAMPLE / f"{table}.parquet")
        assert rows.column_names == schema.names
        kinds = {name: feature.dtype for name, feature in rows.features.items()}
        assert set(kinds.values()) <= {
            *("string", "int64", "float64", "bool"),
            "timestamp[ms, tz=UTC]",
        }
        if table == "executions":
            assert facts_of(rows.data.table) == facts_of(truth)


@pytest.mark.parametrize("table", TABLES)
def test_a_csv_file_gives_back_what_was_written_to_it(table: str, tmp_path: Path) -> None:
    """Nulls stay nulls, lists without entries don't become such, and figures keep their digits."""
    import pandas as pd

    rows = pd.read_parquet(EXAMPLE / f"{table}.parquet")
    file = tmp_path / "rows.csv"
    rows.to_csv(file, index=False)
    moments = [name for name in rows if str(rows[name].dtype).startswith("datetime")]
    back = pd.read_csv(file, parse_dates=moments)
    assert list(back.columns) == list(rows.columns)
    for name in rows:
        assert back[name].isna().tolist() == rows[name].isna().tolist(), name
        known = rows[name].notna()
        written, read = rows[name][known].tolist(), back[name][known].tolist()
        assert read == written, name
