"""Rows of the schema as Arrow tables and Parquet files, and their data dictionary.

Lists become texts joined by ";", since pandas, SQL and CSV take texts everywhere. A list without
entries is "none": a CSV file can't tell an empty text from null.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import AwareDatetime

from orchestrator import __version__
from orchestrator.atomic_files import write_atomically, written_atomically
from orchestrator.dataset.schema import SCHEMA_VERSION
from orchestrator.nouns import Noun, columns_of
from orchestrator.outside_files import open_regular

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS, MOST_COLUMNS, MOST_BYTES = 1_000_000, 1_000, 512 * 2**20
"""Of a table that is read, however small its file."""
LEAST_ROW_BYTES, MOST_COMPRESSED = 10, 40
"""A larger table is read, too, if each row takes so many bytes of its file, and the file unfolds to
so many times its size at most: rows hold hashes, and texts shrink to a third."""
ROWS_AT_ONCE = 10_000
"""Of a long table so many rows are in memory, and make a row group of its file."""
WRITTEN = {"compression": "zstd", "write_page_index": True}
"""How tables are written: by the index the Hub's viewer reads a page without its row group."""
SEPARATOR = ";"
"""Between the entries of a list that stands in one cell."""
NO_ENTRIES = "none"
"""The cell of a list without entries."""


def arrow_schema(row: type[Noun]) -> pa.Schema:
    """Arrow schema of a row's model, with unit and meaning in each field's metadata."""
    import pyarrow as pa

    fields = []
    for name, annotation, column in columns_of(row):
        metadata = {"meaning": column.meaning, "unit": column.unit, "null": column.null or "never"}
        nullable = bool(column.null)
        fields.append(pa.field(name, _arrow_type(annotation), nullable=nullable, metadata=metadata))
    about = {
        "schema_version": str(SCHEMA_VERSION),
        "written_by": f"llm-energy-orchestrator {__version__}",
        "pandas": _told_to_pandas(fields),
    }
    return pa.schema(fields, metadata=about)


def _told_to_pandas(fields: Iterable[pa.Field]) -> str:
    """Metadata by which pandas reads truth values that may be null as its type `boolean`.

    Without it they would be Python objects, on which `~` gives -1 and -2.
    """
    import pyarrow as pa

    columns = [
        {
            "name": field.name,
            "field_name": field.name,
            "pandas_type": "bool",
            "numpy_type": "boolean",
            "metadata": None,
        }
        for field in fields
        if field.type == pa.bool_() and field.nullable
    ]
    return json.dumps({"index_columns": [], "column_indexes": [], "columns": columns})


def _plain_type(annotation: Any) -> Any:
    """The Python type of a column's values; `tuple` for lists."""
    if get_origin(annotation) is tuple:
        return tuple
    options = [option for option in get_args(annotation) if option is not type(None)]
    return _plain_type(options[0]) if options else annotation


def _arrow_type(annotation: Any) -> pa.DataType:
    """The column type of a field's annotation. Lists become texts (`as_text`)."""
    import pyarrow as pa

    types = {
        str: pa.string(),
        tuple: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        AwareDatetime: pa.timestamp("ms", tz="UTC"),
    }
    return types[_plain_type(annotation)]


def to_table(row: type[Noun], rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table of the row's schema; lists are joined to texts.

    `rows`: column -> value, as `model_dump` gives it; a column that a row lacks is null there.
    """
    import pyarrow as pa

    lists = [name for name, kind, _ in columns_of(row) if _plain_type(kind) is tuple]
    cells = []
    for values in rows:
        given = {name: values.get(name) for name in lists}
        joined = {name: as_text(some) for name, some in given.items() if some is not None}
        cells.append(values | joined)
    return pa.Table.from_pylist(cells, schema=arrow_schema(row))


def as_text(entries: Iterable[str]) -> str:
    """Entries joined by ";", or "none": tables hold no lists."""
    # an entry that has the separator, such as the sentence of a note, would fall in two
    return SEPARATOR.join(entry.replace(SEPARATOR, ",") for entry in entries) or NO_ENTRIES


def as_list(cell: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """The entries of a cell; also of a list, which version 1 wrote, and of version 3's ""."""
    if cell is None:
        return None
    if isinstance(cell, str):
        return () if cell in ("", NO_ENTRIES) else tuple(cell.split(SEPARATOR))
    return tuple(cell)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file in one step."""
    write_atomically(path, parquet_bytes(table))


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file's bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, **WRITTEN)
    data: bytes = buffer.getvalue().to_pybytes()
    return data


@contextlib.contextmanager
def written_rows(
    path: Path, row: type[Noun]
) -> Iterator[Callable[[Iterable[dict[str, Any]]], None]]:
    """Gives a function that adds rows to a Parquet file, which is there, whole, at the end.

    Of a long table ROWS_AT_ONCE rows are held in memory. `row`: the rows' model. Raises OSError,
    and then the old file stays.
    """
    import pyarrow.parquet as pq

    waiting: list[dict[str, Any]] = []
    with (
        written_atomically(path) as stream,
        pq.ParquetWriter(stream, arrow_schema(row), **WRITTEN) as writer,
    ):

        def add(rows: Iterable[dict[str, Any]]) -> None:
            """Add rows at the end."""
            for one in rows:
                waiting.append(one)
                if len(waiting) >= ROWS_AT_ONCE:
                    write()

        def write() -> None:
            """Write the rows that wait."""
            writer.write_table(to_table(row, waiting))
            waiting.clear()

        yield add
        if waiting:
            write()


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A table of a data set, or only some of its columns (those of them that it has).

    Raises OSError where it can't be read, and ValueError where it is no regular file, damaged, or
    larger than any that this program writes.
    """
    import pyarrow as pa

    schema = read_schema(path)
    if columns is not None:
        fields = [schema.field(name) for name in columns if name in schema.names]
        schema = pa.schema(fields, metadata=schema.metadata)
    # one by one: as a list they would be in memory twice
    return pa.Table.from_batches(batches_of(path, schema), schema=schema)


def batches_of(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a table, at most ROWS_AT_ONCE at a time, with the columns of a schema.

    `schema`: the file's, or a part of it. Raises as `read_parquet`, before more is in memory than
    such a file may hold.
    """
    import pyarrow.parquet as pq

    texts = [field.name for field in schema if _is_text(field.type)]
    with _opened(path) as stream:
        # a text that many rows share stands in the file once: only so can it be weighed first
        file = pq.ParquetFile(stream, read_dictionary=texts)
        about = file.metadata
        n_bytes = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        # of the disk: a file that is all hole may say any size
        file_bytes = os.fstat(stream.fileno()).st_blocks * 512
        _check_size(path, file_bytes, about.num_rows, about.num_columns, n_bytes)
        n_bytes = 0
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=schema.names):
            n_bytes += batch.nbytes + sum(_n_bytes_of_texts(batch[name]) for name in texts)
            _check_size(path, file_bytes, about.num_rows, about.num_columns, n_bytes)
            yield batch.select(schema.names).cast(schema)


def read_schema(path: Path) -> pa.Schema:
    """The columns of a table of a data set, whose rows are not read. Raises as `read_parquet`."""
    with _opened(path) as stream:
        return _schema(path, stream)


def row_count(path: Path) -> int:
    """How many rows a table's file says that it has. Raises as `read_parquet`."""
    import pyarrow.parquet as pq

    with _opened(path) as stream:
        n_rows: int = pq.read_metadata(stream).num_rows
        return n_rows


def largest_row_group_bytes(path: Path) -> int:
    """What the largest part of a table that is read at once takes. Raises as `read_parquet`."""
    import pyarrow.parquet as pq

    with _opened(path) as stream:
        about = pq.read_metadata(stream)
        return max(
            (about.row_group(i).total_byte_size for i in range(about.num_row_groups)), default=0
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """A table's open file. Arrow's errors, of which only some are ValueErrors, become such."""
    import pyarrow as pa

    try:
        with open_regular(path) as stream:
            yield stream
    except pa.ArrowException as error:
        raise ValueError(f"{path.name}: {str(error).partition(chr(10))[0]}") from error


def _schema(path: Path, stream: BufferedReader) -> pa.Schema:
    """The columns of a table's open file."""
    import pyarrow.parquet as pq

    schema = pq.read_schema(stream)
    # Arrow decodes names only when they are asked for: those of a damaged file must fail here
    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"{path.name}: has two columns of one name")
    return schema


def _check_size(path: Path, file_bytes: int, n_rows: int, n_columns: int, n_bytes: int) -> None:
    """Raise ValueError for a table that is larger than any that this program writes.

    `file_bytes`: what its file takes on the disk. `n_bytes`: what the table takes in memory.
    """
    most_rows = max(MOST_ROWS, file_bytes // LEAST_ROW_BYTES)
    most_bytes = max(MOST_BYTES, file_bytes * MOST_COMPRESSED)
    if n_rows > most_rows or n_columns > MOST_COLUMNS or n_bytes > most_bytes:
        raise ValueError(
            f"{path.name}: {n_rows:,} rows, {n_columns:,} columns and {n_bytes / 2**20:,.0f} MiB, "
            f"of which at most {most_rows:,}, {MOST_COLUMNS:,} and {most_bytes / 2**20:,.0f} MiB "
            "are read of so small a file"
        )


def _is_text(kind: pa.DataType) -> bool:
    """Whether a column holds texts or bytes."""
    import pyarrow as pa

    return any(kind == one for one in (pa.string(), pa.binary()))


def _n_bytes_of_texts(column: pa.DictionaryArray) -> int:
    """What a column of texts takes once each row has its own."""
    import pyarrow.compute as pc

    lengths = pc.binary_length(column.dictionary).take(column.indices)
    n_bytes: int = pc.sum(lengths).as_py() or 0
    return n_bytes


def table_version(schema: pa.Schema) -> int | None:
    """The schema version that a table says it has; None: it says none."""
    text = (schema.metadata or {}).get(b"schema_version", b"")
    return int(text) if text.isdigit() else None


def describe(row: type[Noun]) -> str:
    """The data dictionary of a table as Markdown, from the schema."""
    lines = ["| column | type | unit | meaning | null |", "|---|---|---|---|---|"]
    for name, annotation, column in columns_of(row):
        kind = _arrow_type(annotation)
        if _plain_type(annotation) is tuple:
            kind = f'list as text, joined by "{SEPARATOR}"'
        null = column.null or "never"
        lines.append(f"| `{name}` | {kind} | {column.unit} | {column.meaning} | {null} |")
    return "\n".join(lines)
