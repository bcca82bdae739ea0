"""Import a tree of CodeCarbon's files: emissions.csv and output.txt below folders that name levels.

The levels are machine, model, strategy and use case, as in pc/llama2/greedy/fantasyWorld/. The
files are copied to imported/; imported.parquet and left-out.csv are made from the copies alone.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath

from orchestrator import __version__
from orchestrator.atomic_files import write_atomically
from orchestrator.dataset.imported import (
    ImportedFile,
    ImportedRow,
    LeftOut,
    read_left_out,
    read_provenance,
    write_imported,
    write_left_out,
    write_provenance,
)
from orchestrator.dataset.parquet import read_schema, table_version
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import reason_of
from orchestrator.dataset.schema import SCHEMA_VERSION
from orchestrator.errors import UserError
from orchestrator.importer.emissions_files import read_emissions
from orchestrator.importer.imported_rows import Destination
from orchestrator.importer.measurements import Measurements, measurements
from orchestrator.importer.places import find_place
from orchestrator.importer.source_tree import TABLES, Folder, as_text, folders_of, is_one
from orchestrator.nouns import columns_of
from orchestrator.outside_files import read_bytes

LEVELS = ("machine", "model", "strategy", "use_case")
RESERVED = ("trial.json", "import.json", "left-out.csv")
"""Names of files of a data set, which no folder of imported/ can have."""
_LEVEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass
class Import:
    """What an import does, or would do."""

    new: dict[str, Path] = field(default_factory=dict)
    """Path below imported/ -> file to copy there."""
    grown: list[str] = field(default_factory=list)
    """Those of them that replace a copy, all of which they hold."""
    renamed: list[str] = field(default_factory=list)
    """Those of them that got another name, since another file has theirs."""
    removed_before: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Those of them whose copy had private content removed -> the columns that hold it again."""
    identical: int = 0
    """Files that were imported before, or hold a part of such a file."""
    rows: list[ImportedRow] = field(default_factory=list)
    """Rows that the data set didn't have before."""
    n_same: int = 0
    """Rows of the tree's files that stand in another file or row, too."""
    readings: Counter[str] = field(default_factory=Counter)
    """How the tree's tables were read -> number of tables."""
    left_out: list[LeftOut] = field(default_factory=list)
    """Rows and files of the tree that could not be imported."""
    passed_over: dict[str, str] = field(default_factory=dict)
    """Path of a link or file in the tree that was not looked at -> why."""
    entries: dict[str, ImportedFile] = field(default_factory=dict)
    """What import.json says of each copy in the data set, by its path."""
    copies: set[str] = field(default_factory=set)
    """Copies of the tree's files, new and old ones."""
    sources: set[str] = field(default_factory=set)
    """Tables and texts of the tree."""


def import_tree(
    source: Path, paths: DataSetPaths, levels: dict[str, str], *, dry_run: bool = False
) -> Import:
    """Import a tree; `levels` gives the levels for which the tree has no folders.

    Raises UserError where a level can't be a folder's name, where the tree holds no table, and
    where tree and data set lie in each other. OSError where a file can't be written.
    """
    _check_levels(levels)
    _check_apart(source, paths)
    try:
        known = {item.path: item for item in read_provenance(paths)}
        left_out_before = read_left_out(paths)
    except ValueError as error:
        raise UserError(
            f"{paths.imports}: import.json or left-out.csv {error}; restore it, or import into "
            "another data set"
        ) from error
    recorded = set(known)
    result = Import(entries=known)
    for folder in folders_of(
        source, result.passed_over, partial(_leave_out_unread, result, source)
    ):
        result.sources.update(folder.origin(name) for name in (*folder.tables, *folder.texts))
        destination = _destination(folder.below, levels)
        if isinstance(destination, str):
            _leave_out_folder(result, folder, destination)
        # Path.exists() raises where a folder can be listed, but not entered
        elif os.path.exists(folder.path / "trial.json"):  # noqa: PTH110
            what = "its folder is a trial of this program; take it over with `orchestrator merge`"
            _leave_out_folder(result, folder, what)
        else:
            _add(result, paths, folder, destination)
    if not result.sources:
        raise UserError(
            f"{source}: holds no emissions.csv; "
            "name a folder with machine/model/strategy/useCase below it",
            *(f"{path}: {why}" for path, why in result.passed_over.items()),
        )
    copies = _copies(paths)
    recorded_copies = {path: file for path, file in copies.items() if path in recorded}
    before = {row.execution for row in _measured(recorded_copies).rows}
    now = _measured(copies | result.new)
    result.rows = [row for row in now.rows if row.execution not in before]
    not_copied = [
        item for item in left_out_before if not item.copy_path and item.source not in result.sources
    ]
    everything = [*not_copied, *result.left_out, *_left_out(now, result.entries)]
    result.left_out = [item for item in everything if item.source in result.sources]
    for path in result.copies & now.readings.keys():
        result.n_same += now.n_same[path]
        result.readings[now.readings[path]] += 1
    if not dry_run:
        _write(paths, result, now, everything)
    return result


def _option(level: str) -> str:
    """The option of `import` that gives a level."""
    return f"--{level.replace('_', '-')}"


def _check_levels(levels: dict[str, str]) -> None:
    """Raise UserError for a level that can't be a folder's name."""
    for name, value in levels.items():
        if not _LEVEL.fullmatch(value) or value in RESERVED:
            raise UserError(
                f"{_option(name)} {value!r}: write letters, digits, dots, dashes or underscores"
            )


def _check_apart(source: Path, paths: DataSetPaths) -> None:
    """Raise UserError where the tree lies in the data set, or the data set in the tree.

    Its copies would be imported again, each time more of them.
    """
    tree, root = source.resolve(), paths.root.resolve()
    if tree.is_relative_to(root):
        raise UserError(f"{source}: lies in the data set itself; name the folder to import")
    if root.is_relative_to(tree):
        raise UserError(
            f"--out {paths.root}: lies in {source}, the folder to import; "
            "name a data set outside of it"
        )


def _leave_out_folder(result: Import, folder: Folder, reason: str) -> None:
    """Note for each table of a folder why it is not imported."""
    for name in folder.tables:
        _leave_out(result, folder, name, reason)


def _leave_out_unread(result: Import, source: Path, error: OSError) -> None:
    """Note a folder of the tree that can't be read."""
    below = Path(error.filename).relative_to(source)
    origin = as_text(PurePosixPath(source.resolve().name) / below)
    reason = f"can't be read ({reason_of(error)})"
    result.sources.add(origin)
    result.left_out.append(LeftOut(source=origin, line=None, reason=reason, found="", copy_path=""))


def _raise(error: OSError) -> None:
    """Raise an error."""
    raise error


def _leave_out(result: Import, folder: Folder, name: str, reason: str) -> None:
    """Note why a file is not imported."""
    source = folder.origin(name)
    result.left_out.append(LeftOut(source=source, line=None, reason=reason, found="", copy_path=""))


def _add(result: Import, paths: DataSetPaths, folder: Folder, destination: Destination) -> None:
    """Add a folder's files to an import, if one of its tables can be read."""
    readings: dict[str, str | None] = {}
    for name in (*folder.tables, *folder.texts):
        if not name.isprintable():
            _leave_out(result, folder, name, "can't be a file's name in a data set; rename it")
            continue
        try:
            data = read_bytes(folder.path / name)
            readings[name] = read_emissions(data).reading if name in folder.tables else None
        except (OSError, ValueError) as error:
            _leave_out(result, folder, name, reason_of(error))
    if not any(readings.values()):
        return
    for name, reading in readings.items():
        _add_file(result, paths, folder, destination.file(name), name, reading)


def _add_file(  # noqa: PLR0917
    result: Import,
    paths: DataSetPaths,
    folder: Folder,
    path: str,
    name: str,
    reading: str | None,
) -> None:
    """Find a file's place below imported/ and add it, unless it was imported before.

    `path`: the place that its name gives it. `reading`: how it was read; None: it is no table.
    """
    file = folder.path / name
    place, state, sha256 = find_place(file, path, paths.imports, result.entries, result.new)
    result.copies.add(place)
    if state == "identical":
        result.identical += 1
        return
    result.new[place] = file
    if state == "grown":
        result.grown.append(place)
    if place != path:
        result.renamed.append(place)
    removed = result.entries[place].removed if place in result.entries else ()
    if removed:
        result.removed_before[place] = removed
    result.entries[place] = ImportedFile(
        path=place,
        sha256=sha256,
        source=folder.origin(name),
        imported_at=datetime.now(UTC).isoformat(timespec="seconds"),
        imported_by=f"llm-energy-orchestrator {__version__}",
        reading=reading,
        removed=removed,
    )


def _destination(below: Path, levels: dict[str, str]) -> Destination | str:
    """Where a folder's files belong; a sentence where the levels can't be told from its path."""
    parts = list(below.parts)
    missing = [name for name in LEVELS if name not in levels]
    if len(parts) < len(missing):
        options = ", ".join(map(_option, missing))
        return (
            f"its path has no folders for {', '.join(missing)}; "
            f"give those that are missing with {options}"
        )
    for part in parts:
        if not part.isprintable() or part in RESERVED:
            return f"{part!r} can't be a folder of a data set; rename it"
    named = {**levels, **dict(zip(missing, parts, strict=False))}
    return Destination(**named, run="/".join(parts[len(missing) :]))


def _copies(paths: DataSetPaths) -> dict[str, Path]:
    """Path below imported/ -> file, for all copies of tables and texts."""
    copies = {}
    if not paths.imports.exists():
        return {}
    # a folder that can't be read must not count as empty: its rows would be lost
    for folder in folders_of(paths.imports, {}, _raise):
        # fewer folders would not name all levels: nobody imported that
        if len(folder.below.parts) >= len(LEVELS):
            for name in (*folder.tables, *folder.texts):
                copies[(folder.below / name).as_posix()] = folder.path / name
    return copies


def _measured(copies: Mapping[str, Path]) -> Measurements:
    """What copies hold."""
    return measurements(copies, lambda path: is_one(PurePosixPath(path).name, TABLES))


def _left_out(found: Measurements, entries: Mapping[str, ImportedFile]) -> Iterator[LeftOut]:
    """The rows of copies that can't be read."""
    for path, faults in found.faults.items():
        # an interrupted import, or a hand, may have put a copy there without an entry
        source = entries[path].source if path in entries else f"imported/{path}"
        for fault in faults:
            yield LeftOut(
                source=source,
                line=fault.line or None,
                reason=fault.reason,
                found=fault.found,
                copy_path=path,
            )


def _write(paths: DataSetPaths, result: Import, now: Measurements, left_out: list[LeftOut]) -> None:
    """Copy the new files, record where they come from, and write what is made from the copies."""
    for path, file in result.new.items():
        write_atomically(paths.imports / path, read_bytes(file))
    # after the copies: an entry without its file would be a fault of the data set
    if result.new:
        write_provenance(paths, result.entries.values())
    write_left_out(paths, left_out)
    write_imported(paths, now.rows)


def renew_imported(paths: DataSetPaths) -> None:
    """Make imported.parquet and left-out.csv anew, after the copies were changed.

    Raises OSError, or ValueError where a file can't be read.
    """
    entries = {item.path: item for item in read_provenance(paths)}
    now = _measured(_copies(paths))
    not_copied = [item for item in read_left_out(paths) if not item.copy_path]
    write_left_out(paths, [*not_copied, *_left_out(now, entries)])
    write_imported(paths, now.rows)


def renew_earlier(paths: DataSetPaths) -> None:
    """Make imported.parquet anew if an earlier version of this program wrote it.

    Raises OSError, or ValueError where a file can't be read.
    """
    if not paths.imported.exists():
        return
    schema = read_schema(paths.imported)
    columns = [name for name, _, _ in columns_of(ImportedRow)]
    if schema.names != columns or (table_version(schema) or 0) < SCHEMA_VERSION:
        renew_imported(paths)
