"""Rows of the schema as Arrow tables and Parquet files, and the data dictionary: all from the columns' own descriptions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from orchestrator import __version__
from orchestrator.dataset.paths import write_atomically
from orchestrator.dataset.schema import SCHEMA_VERSION, columns_of
from orchestrator.nouns import Noun

if TYPE_CHECKING:
    import pyarrow as pa


def arrow_schema(row: type[Noun]) -> pa.Schema:
    """Arrow schema of a row's model, with unit and meaning in each field's metadata."""
    import pyarrow as pa

    fields = []
    for name, annotation, column in columns_of(row):
        metadata = {"meaning": column.meaning, "unit": column.unit, "null": column.null or "never"}
        fields.append(
            pa.field(name, _arrow_type(annotation), nullable=bool(column.null), metadata=metadata)
        )
    about = {
        "schema_version": str(SCHEMA_VERSION),
        "written_by": f"llm-energy-orchestrator {__version__}",
    }
    return pa.schema(fields, metadata=about)


def _arrow_type(annotation: Any) -> pa.DataType:
    import pyarrow as pa

    options = [a for a in get_args(annotation) if a not in (type(None), Ellipsis)]
    if get_origin(annotation) is tuple:
        return pa.list_(_arrow_type(options[0]))
    if options:
        return _arrow_type(options[0])
    return {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[annotation]


def to_table(row: type[Noun], rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table of the row's schema."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=arrow_schema(row))


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file in one step."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(path, buffer.getvalue().to_pybytes())


def read_parquet(path: Path) -> pa.Table:
    """A table of a data set. Raises FileNotFoundError, OSError or ValueError (of Arrow) where it can't be read."""
    import pyarrow.parquet as pq

    return pq.read_table(path, partitioning=None)


def describe(row: type[Noun]) -> str:
    """The data dictionary of a table as Markdown, from the schema."""
    lines = ["| column | type | unit | meaning | null |", "|---|---|---|---|---|"]
    for name, annotation, column in columns_of(row):
        lines.append(
            f"| `{name}` | {_arrow_type(annotation)} | {column.unit} | {column.meaning} | {column.null or 'never'} |"
        )
    return "\n".join(lines)
