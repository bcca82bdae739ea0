"""Remove private cells from the copies of imported tables, for `publish --remove-private`.

Only copies below imported/ are changed: their originals are with whoever measured them, and
import.json keeps the originals' hashes. What this program measured is sealed and stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.atomic_files import write_atomically
from orchestrator.dataset.delimited import Record, read_delimited, written
from orchestrator.dataset.findings import Finding
from orchestrator.dataset.imported import (
    ImportedFile,
    LeftOut,
    read_left_out,
    read_provenance,
    write_left_out,
    write_provenance,
)
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import bytes_sha256
from orchestrator.outside_files import read_bytes
from orchestrator.publish.scan import (
    COLUMN_RULES,
    REMOVED_LINE,
    RULES,
    TABLES,
    Scanner,
    hidden_matches,
    is_readable,
)


def remove_private(paths: DataSetPaths, scanner: Scanner, *, check: bool) -> dict[str, list[str]]:
    """Copy below imported/ -> its columns in which something private was removed.

    With `check` nothing is written. Copies that were edited since they were imported are left
    alone, as `validate` finds them. The tables that are made from the copies have to be made anew.
    Raises OSError or ValueError where a file can't be read or written.
    """
    before = read_provenance(paths)
    entries = {entry.path: entry for entry in before}
    changed: dict[str, bytes] = {}
    removed: dict[str, list[str]] = {}
    for path, entry in entries.items():
        data = read_bytes(paths.imports / path)
        is_as_recorded = bytes_sha256(data) in {entry.sha256, entry.original_sha256}
        if not path.endswith(TABLES) or not is_as_recorded:
            continue
        columns: set[str] = set()
        without = _without_private(data, scanner, columns)
        if columns:
            changed[path] = without
            removed[path] = sorted(columns)
        if columns or entry.removed_before:
            entries[path] = _changed(entry, without, columns)
    entries = {path: _with_plain_source(entry, scanner) for path, entry in entries.items()}
    left_out = [_plain(item, scanner) for item in read_left_out(paths)]
    if check:
        return removed
    # before the copies: run again after a crash, this finds the original there and goes on
    if list(entries.values()) != before:
        write_provenance(paths, entries.values())
    for path, data in changed.items():
        write_atomically(paths.imports / path, data)
    write_left_out(paths, left_out)
    return removed


def removed_before(paths: DataSetPaths) -> Iterator[Finding]:
    """An error for each copy in which private content was removed, and came back with an import.

    The scan may not find it again: another machine doesn't know the names of the first one.
    """
    try:
        entries = read_provenance(paths)
    except (OSError, ValueError):  # `validate` says so
        return
    for entry in entries:
        if entry.removed_before:
            what = f"holds again what was removed as private ({', '.join(entry.removed_before)})"
            yield Finding("error", f"{paths.imports.name}/{entry.path}", what)


def _changed(entry: ImportedFile, data: bytes, columns: set[str]) -> ImportedFile:
    """What import.json says of a copy from which private cells were removed."""
    return entry.model_copy(
        update={
            "sha256": bytes_sha256(data),
            "original_sha256": entry.original_sha256 or entry.sha256,
            "removed": tuple(sorted(columns | set(entry.removed))),
        }
    )


def _with_plain_source(entry: ImportedFile, scanner: Scanner) -> ImportedFile:
    """An entry whose origin names nobody."""
    return entry.model_copy(update={"source": _plain_text("source", entry.source, scanner)})


def _plain(item: LeftOut, scanner: Scanner) -> LeftOut:
    """A line of left-out.csv that names nobody."""
    texts = {name: getattr(item, name) for name in ("source", "reason", "found")}
    plain = {name: _plain_text(name, text, scanner) for name, text in texts.items()}
    return item.model_copy(update=plain)


def _without_private(data: bytes, scanner: Scanner, columns: set[str]) -> bytes:
    """A table without what is private in it; the names of changed columns go to `columns`.

    All else stays as it is, byte for byte, and each row on its line.
    """
    table = read_delimited(data)
    records = _records(table.records, table.delimiter, scanner, columns)
    return table.encoded(records)


def _records(
    records: tuple[Record, ...], delimiter: str, scanner: Scanner, columns: set[str]
) -> Iterator[str]:
    """The records as they should stand in the file."""
    header: tuple[str, ...] = ()
    for record in records:
        if not header and not record.is_blank:
            header = record.cells
        end = record.raw[len(record.raw.rstrip("\r\n")) :]
        if not is_readable(record, header):
            matches = [*scanner.matches(record.raw), *hidden_matches(header, record)]
            if matches:
                columns.add("lines that can't be read")
            yield REMOVED_LINE + end if matches else record.raw
            continue
        cells = []
        for name, cell in zip(header, record.cells, strict=True):
            plain = _plain_text(name.strip(), cell.strip(), scanner)
            if plain != cell.strip():
                columns.add(name.strip())
                cells.append(plain)
            else:
                cells.append(cell)
        yield record.raw if tuple(cells) == record.cells else written(cells, delimiter) + end


def _plain_text(column: str, text: str, scanner: Scanner) -> str:
    """A cell without what is private in it.

    Coordinates become empty. For a path the whole cell becomes `removed-path`; for anything else
    what matched becomes `removed-` and the rule's name, so that equal cells stay equal.
    """
    for rule, _ in scanner.matches_in(column, text):
        if rule in scanner.accepted:
            continue
        if rule == "coordinates":
            return ""
        if rule in COLUMN_RULES or rule == "path":
            return f"removed-{rule}"
    for rule, (pattern, _) in RULES.items():
        if rule not in scanner.accepted:
            text = pattern.sub(f"removed-{rule}", text)
    if "own_name" not in scanner.accepted:
        text = scanner.without_names(text)
    return text
