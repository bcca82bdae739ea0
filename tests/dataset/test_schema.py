"""The schema is one table, which Arrow and docs follow.

Each column has a meaning, and a null text exactly where it may be null.
"""

from __future__ import annotations

import keyword
import re
import sqlite3
import types
import typing

import pyarrow as pa
import pytest

from orchestrator.dataset.imported import ImportedRow
from orchestrator.dataset.parquet import arrow_schema, describe, to_table
from orchestrator.dataset.schema import (
    SCHEMA_VERSION,
    Execution,
    ExecutionRow,
    JudgedColumns,
    TelemetrySample,
    TrialColumns,
)
from orchestrator.dataset.summary import SummaryRow
from orchestrator.dataset.verdicts import Verdict
from orchestrator.meters.poller import FIELDS
from orchestrator.nouns import Column, Noun, columns_of
from tests import builders

ROWS = [ExecutionRow, SummaryRow, TelemetrySample]
TABLES = [*ROWS, Verdict, ImportedRow]

FIXED_NAMES = """
energy_kwh energy_j gpu_energy_counter_j gpu_energy_integrated_j gpu_energy_cc_j cpu_energy_j
cpu_method ram_energy_j ram_method scope n_parallel energy_per_token_j energy_basis
energy_rel_uncertainty n_prompt_tokens n_new_tokens finish_reason window_s status error_kind usable
reasons warning_flags
""".split()  # noqa: SIM905
"""The names that the design fixes."""

UNITS = {
    "_j": "J",
    "_kwh": "kWh",
    "_s": "s",
    "_w": "W",
    "_kg": "kg",
    "_bytes": "B",
    "_mhz": "MHz",
    "_c": "°C",
    "_tokens": "tokens",
}


def optional(annotation: object) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType) and type(
        None
    ) in typing.get_args(annotation)


@pytest.mark.parametrize("row", ROWS)
def test_every_column_has_a_meaning_and_tells_when_it_is_null(row: type[Noun]) -> None:
    seen = []
    for name, annotation, column in columns_of(row):
        seen.append(name)
        assert column.meaning.strip(), name
        assert optional(annotation) == bool(column.null), (
            f"{name}: {annotation} against null={column.null!r}"
        )
        assert "|" not in column.meaning + column.unit + column.null, (
            f"{name}: breaks the dictionary's table"
        )
    assert seen == list(row.model_fields)


def test_a_field_without_a_column_is_refused() -> None:
    class Bare(Noun):
        told: typing.Annotated[int, Column("a number")]
        untold: int

    with pytest.raises(TypeError, match=r"Bare\.untold is not declared as a Column"):
        list(columns_of(Bare))


def test_the_fixed_names_are_columns_of_an_execution() -> None:
    assert set(FIXED_NAMES) <= set(ExecutionRow.model_fields)


def test_the_key_of_an_execution_is_in_its_row() -> None:
    assert {"machine", "strategy", "use_case", "config_hash", "prompt_number", "repetition"} <= set(
        ExecutionRow.model_fields
    )


def test_an_execution_row_is_the_trials_columns_then_the_executions() -> None:
    assert list(ExecutionRow.model_fields) == [
        *TrialColumns.model_fields,
        *Execution.model_fields,
        *JudgedColumns.model_fields,
    ]
    assert list(SummaryRow.model_fields)[: len(TrialColumns.model_fields)] == list(
        TrialColumns.model_fields
    )


def test_the_requested_configuration_is_part_of_every_row() -> None:
    assert set(builders.configuration().model_dump()) <= set(TrialColumns.model_fields)


@pytest.mark.parametrize("row", ROWS)
def test_units_stand_in_names_and_in_the_metadata(row: type[Noun]) -> None:
    for field in arrow_schema(row):
        metadata = {key.decode(): value.decode() for key, value in field.metadata.items()}
        column = next(c for name, _, c in columns_of(row) if name == field.name)
        assert metadata["unit"] == column.unit
        assert metadata["meaning"] == column.meaning
        assert metadata["null"] == (column.null or "never")
        for suffix, unit in UNITS.items():
            if field.name.endswith(suffix) and not field.name.endswith("_per_s"):
                assert column.unit == unit, field.name


@pytest.mark.parametrize("row", ROWS)
def test_the_arrow_schema_carries_version_and_nullability(row: type[Noun]) -> None:
    schema = arrow_schema(row)
    assert schema.names == list(row.model_fields)
    assert schema.metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()
    assert schema.metadata[b"written_by"].startswith(b"llm-energy-orchestrator ")
    for name, annotation, _ in columns_of(row):
        assert schema.field(name).nullable == optional(annotation), name


def test_arrow_types() -> None:
    schema = arrow_schema(ExecutionRow)
    types_ = {
        "seed": pa.int64(),
        "energy_j": pa.float64(),
        "output_text": pa.string(),
        "synthetic": pa.bool_(),
        "bits": pa.int64(),
        "started_at": pa.timestamp("ms", tz="UTC"),
        "warning_flags": pa.string(),
        "reasons": pa.string(),
    }
    assert {name: schema.field(name).type for name in types_} == types_


def test_lists_are_texts_that_pandas_groups_and_searches() -> None:
    rows = [
        builders.columns().model_dump() | builders.execution(warning_flags=flags).model_dump()
        for flags in (("drift", "too_short"), (), ("too_short",))
    ]
    table = to_table(ExecutionRow, [row | JUDGED for row in rows])
    assert table["warning_flags"].to_pylist() == ["drift;too_short", "none", "too_short"]
    frame = table.to_pandas()
    assert frame.drop_duplicates().shape == frame.shape
    assert set(frame.groupby("warning_flags").size()) == {1}
    assert frame["warning_flags"].str.contains("too_short").tolist() == [True, False, True]


JUDGED = {
    "prompt_text": "Tell me.",
    "execution": "a#1",
    "usable": None,
    "reasons": None,
    "quality": None,
    "decided_by": None,
}


@pytest.mark.parametrize("row", TABLES)
def test_no_name_is_pandas_own_or_a_word_of_sql(row: type[Noun]) -> None:
    import pandas as pd

    connection = sqlite3.connect(":memory:")
    for name, _, _ in columns_of(row):
        for kind in (pd.DataFrame, pd.Series, tuple):  # a table, a row, a row of itertuples()
            assert not hasattr(kind, name), f"{name} is an attribute of {kind}"
        assert name.upper() not in SQL_RESERVED, name
        assert name.upper() not in SQL_TYPES, name
        assert name not in R_RESERVED, name
        assert not keyword.iskeyword(name), name
        assert name.isidentifier(), name
        assert name == name.lower(), f"{name}: names differ by more than case nowhere in SQL"
        assert not name.startswith("_"), f"{name}: R wants a letter first"
        connection.execute(f"CREATE TABLE t_{name} ({name} TEXT)")  # raises for SQLite's own words


@pytest.mark.parametrize("row", TABLES)
def test_each_column_has_one_of_few_plain_types(row: type[Noun]) -> None:
    """No cell holds an array, and a moment is no text."""
    schema = arrow_schema(row)
    for field in schema:
        assert field.type in PLAIN_TYPES, f"{field.name}: {field.type}"
        if field.name.endswith("_at"):
            assert field.type == pa.timestamp("ms", tz="UTC"), field.name
    frame = schema.empty_table().to_pandas()
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    objects = [name for name, kind in kinds.items() if kind == "object"]
    # texts are objects before pandas 3
    assert [name for name in objects if schema.field(name).type != pa.string()] == []
    for field in schema:
        if field.type == pa.bool_():
            assert kinds[field.name] == ("boolean" if field.nullable else "bool"), field.name


PLAIN_TYPES = (
    pa.string(),
    pa.int64(),
    pa.float64(),
    pa.bool_(),
    pa.timestamp("ms", tz="UTC"),
)


def test_an_unknown_verdict_is_neither_usable_nor_not() -> None:
    """As Python objects True and False would be -2 and -1 after `~`."""
    rows = [
        builders.columns().model_dump() | builders.execution().model_dump() | JUDGED | {"usable": u}
        for u in (True, False, None)
    ]
    frame = to_table(ExecutionRow, rows).to_pandas()
    assert [len(frame[some]) for some in (frame.usable, ~frame.usable)] == [1, 1]


SQL_RESERVED = set(
    """
    ALL AND ANY ARRAY AS ASC ASYMMETRIC BETWEEN BOTH CASE CAST CHECK COLLATE COLUMN CONSTRAINT
    CREATE CROSS CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP DEFAULT DESC DISTINCT ELSE END EXCEPT
    EXISTS FALSE FETCH FILTER FOR FOREIGN FROM FULL GRANT GROUP HAVING IN INDEX INNER INTERSECT INTO
    IS JOIN LATERAL LEADING LEFT LIKE LIMIT NATURAL NOT NULL OFFSET ON ONLY OR ORDER OUTER OVERLAPS
    PRIMARY REFERENCES RETURNING RIGHT SELECT SOME SYMMETRIC TABLE THEN TO TRAILING TRUE UNION
    UNIQUE USER USING VALUES WHEN WHERE WINDOW WITH
    ANALYSE ANALYZE ANTI ASOF AUTHORIZATION BINARY COLLATION CONCURRENTLY CURRENT_CATALOG
    CURRENT_ROLE CURRENT_SCHEMA CURRENT_USER DEFERRABLE DESCRIBE DO FREEZE GLOB ILIKE INITIALLY
    ISNULL LAMBDA LOCALTIME LOCALTIMESTAMP MAP NOTNULL PIVOT PIVOT_LONGER PIVOT_WIDER PLACING
    POSITIONAL QUALIFY SEMI SESSION_USER SHOW SIMILAR SUMMARIZE TABLESAMPLE TRY_CAST UNPIVOT
    VARIADIC VERBOSE
    """.split()  # noqa: SIM905 - a list would be 60 lines
)
"""Words that PostgreSQL or DuckDB reserve: such a column would have to be quoted each time."""
SQL_TYPES = set(
    """
    BIGINT BIT BLOB BOOL BOOLEAN CHAR CHARACTER DATE DATETIME DECIMAL DOUBLE FLOAT INT INTEGER
    INTERVAL JSON LIST NUMERIC REAL SMALLINT STRUCT TEXT TIME TIMESTAMP UUID VARCHAR
    """.split()  # noqa: SIM905
)
"""Names of types, which stand before a value in SQL: TIMESTAMP '2026-01-01'."""
R_RESERVED = {
    *("if", "else", "repeat", "while", "function", "for", "next", "break", "in"),
    *("TRUE", "FALSE", "NULL", "Inf", "NaN", "NA"),
}
"""Words after which R's `$` and formulas want backquotes (its page ?Reserved)."""


def test_the_largest_seed_fits_its_column() -> None:
    row = builders.columns().model_dump() | builders.execution(seed=2**63 - 1).model_dump() | JUDGED
    assert to_table(ExecutionRow, [row])["seed"].to_pylist() == [2**63 - 1]


@pytest.mark.parametrize("row", ROWS)
def test_the_dictionary_has_a_line_a_column(row: type[Noun]) -> None:
    head, rule, *lines = describe(row).splitlines()
    assert head == "| column | type | unit | meaning | null |"
    assert rule == "|---|---|---|---|---|"
    assert [re.match(r"\| `(\w+)` \|", line).group(1) for line in lines] == list(row.model_fields)  # type: ignore[union-attr]
    assert all(line.count("|") == 6 for line in lines)


def test_a_line_of_the_dictionary_word_for_word() -> None:
    assert (
        "| `energy_j` | double | J | energy_kwh in joules | see notes |"
        in describe(ExecutionRow).splitlines()
    )
    assert (
        "| `prompt_number` | int64 |  | number of the prompt in its use case, from 1 | never |"
        in describe(Execution).splitlines()
    )


def test_telemetry_has_the_poller_s_fields() -> None:
    assert list(TelemetrySample.model_fields) == ["prompt_number", *FIELDS]
