"""Import a tree of CodeCarbon's files: <machine>/<model>/<strategy>/<useCase>/.../emissions.csv and output.txt.

The files are copied byte by byte below imported/ and never changed; imported.parquet is made from the copies alone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from orchestrator import __version__
from orchestrator.dataset.imported import (
    ImportedFile,
    ImportedRow,
    read_provenance,
    write_imported,
    write_provenance,
)
from orchestrator.dataset.paths import DataSetPaths, write_atomically
from orchestrator.dataset.reading import SIZE_LIMIT_BYTES, file_sha256, reason_of
from orchestrator.errors import UserError
from orchestrator.importer.emissions_files import read_emissions
from orchestrator.importer.imported_rows import imported_rows
from orchestrator.importer.output_files import split_texts

LEVELS = ("machine", "model", "strategy", "use_case")
TABLES = ("emissions*.csv", "emissions*.bak")
"""CodeCarbon renames a file to .bak when a new version of it adds columns: those rows are measurements too."""
TEXTS = ("output*.txt",)
_LEVEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class _Leaf:
    """A folder that holds one of CodeCarbon's tables."""

    source: str
    """Name of the tree."""
    folder: Path
    below: Path
    """Its path in the tree."""
    names: tuple[str, ...]
    """What is imported of it."""


@dataclass
class Import:
    """What an import does, or would do."""

    new: dict[str, Path] = field(default_factory=dict)
    """Path below imported/ -> file to copy."""
    identical: int = 0
    rows: list[ImportedRow] = field(default_factory=list)
    """Of the new files."""
    faults: list[str] = field(default_factory=list)
    """`file:line: what is wrong`, of rows and files that were left out of the table."""
    conflicts: list[str] = field(default_factory=list)
    """Files whose place another one has taken."""
    entries: list[ImportedFile] = field(default_factory=list)
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def import_tree(
    source: Path, paths: DataSetPaths, levels: dict[str, str], *, dry_run: bool = False
) -> Import:
    """Import a tree; `levels` names the levels that its folders don't have.

    Raises UserError where a level's name can't be a folder's, where nothing is found, and where another file of a name is there.
    """
    _check_levels(levels)
    if source.resolve().is_relative_to(paths.root.resolve()):
        raise UserError(
            f"{source}: lies in the data set itself; name the tree that is to be imported"
        )
    try:
        known = {item.path: item for item in read_provenance(paths)}
    except ValueError as error:
        raise UserError(
            f"{paths.provenance}: {error}; restore it, or import into another data set"
        ) from error
    found = Import()
    for leaf in _leaves(source):
        place = _place(leaf.below, levels)
        if isinstance(place, str):
            found.faults.append(f"{leaf.folder}: {place}")
        elif (leaf.folder / "trial.json").exists():
            found.faults.append(
                f"{leaf.folder}: is a trial of this program; `orchestrator merge` takes its data set"
            )
        else:
            _add(found, paths, leaf, place, known)
    if found.conflicts:
        raise UserError(*found.conflicts)
    if not (found.new or found.identical or found.faults):
        raise UserError(
            f"{source}: holds no emissions.csv; name a folder with machine/model/strategy/useCase below it"
        )
    if not dry_run:
        _write(paths, found, known)
    return found


def _check_levels(levels: dict[str, str]) -> None:
    for name, value in levels.items():
        if not _LEVEL.fullmatch(value):
            raise UserError(
                f"--{name.replace('_', '-')} {value!r}: write letters, digits, dots, dashes or underscores"
            )


def _add(
    found: Import,
    paths: DataSetPaths,
    leaf: _Leaf,
    place: tuple[str, ...],
    known: dict[str, ImportedFile],
) -> None:
    """Take in a folder's files, as far as they aren't there."""
    rows, faults, readable = _read(leaf, place)
    folder = leaf.folder
    found.faults += faults
    new = set()
    for name in readable:
        path = str(PurePosixPath(*place, name))
        sha256 = file_sha256(folder / name)
        target = paths.imports / path
        entry = known.get(path)
        there = entry.sha256 if entry else file_sha256(target) if target.exists() else sha256
        if there != sha256:
            found.conflicts.append(
                f"{folder / name}: another file stands at {target} already; import this one under another name"
            )
        elif entry:
            found.identical += 1
        else:
            new.add(f"{paths.imports.name}/{path}")
            found.new[path] = folder / name
            origin = (PurePosixPath(leaf.source) / leaf.below / name).as_posix()
            by = f"llm-energy-orchestrator {__version__}"
            found.entries.append(
                ImportedFile(
                    path=path, sha256=sha256, source=origin, imported_at=found.at, imported_by=by
                )
            )
    found.rows += [row for row in rows if row.execution.rpartition("#")[0] in new]


def _leaves(source: Path) -> list[_Leaf]:
    """Folders that hold one of CodeCarbon's tables, with the names of what is imported; nothing hidden, no links."""
    found = []
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        regular = [
            name
            for name in sorted(files)
            if (path := Path(folder) / name).is_file() and not path.is_symlink()
        ]
        tables = [name for name in regular if any(fnmatch(name, pattern) for pattern in TABLES)]
        if tables:
            texts = [name for name in regular if any(fnmatch(name, text) for text in TEXTS)]
            found.append(
                _Leaf(
                    source.resolve().name,
                    Path(folder),
                    Path(folder).relative_to(source),
                    (*tables, *texts),
                )
            )
    return found


def _place(below: Path, levels: dict[str, str]) -> tuple[str, ...] | str:
    """Machine, model, strategy, use case and the folders below them as one; or why they can't be told."""
    parts = list(below.parts)
    missing = [name for name in LEVELS if name not in levels]
    if len(parts) < len(missing):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        return f"lies too high to tell its {', '.join(missing)}; name what its folders don't by {options}"
    named = {**levels, **dict(zip(missing, parts, strict=False))}
    if bad := [part for part in parts if not part.isprintable() or part == "trial.json"]:
        return f"{bad[0]!r} can't be a folder of a data set; rename it"
    return (*(named[name] for name in LEVELS), "/".join(parts[len(missing) :]))


def _read(leaf: _Leaf, place: tuple[str, ...]) -> tuple[list[ImportedRow], list[str], list[str]]:
    """Rows of a folder's tables, faults, and the names of the files that can be copied."""
    rows: list[ImportedRow] = []
    faults: list[str] = []
    tables, texts = {}, []
    folder = leaf.folder
    for name in leaf.names:
        path = folder / name
        try:
            data = _content(path)
            if any(fnmatch(name, pattern) for pattern in TABLES):
                tables[name] = read_emissions(data)
            else:
                texts.append((name, data.decode("utf-8", "replace")))
        except (OSError, ValueError) as error:
            faults.append(f"{path}: {reason_of(error)}")
    if not tables:
        return [], faults, []
    for name, read in tables.items():
        faults += [f"{folder / name}:{line}: {what}" for line, what in read.faults]
        one_to_one = (
            split_texts(texts[0][1], read.n_rows) if len(tables) == len(texts) == 1 else None
        )
        rows += imported_rows(place, str(PurePosixPath("imported", *place, name)), read, one_to_one)
    return rows, faults, [*tables, *(name for name, _ in texts)]


def _content(path: Path) -> bytes:
    if path.stat().st_size > SIZE_LIMIT_BYTES:
        raise ValueError(f"is larger than the {SIZE_LIMIT_BYTES // 2**20} MiB that are read")
    return path.read_bytes()


def _write(paths: DataSetPaths, found: Import, known: dict[str, ImportedFile]) -> None:
    """Copy, say where from, and make the table of everything that was imported so far."""
    for path, file in found.new.items():
        if not (paths.imports / path).exists():  # an import that was cut had copied it
            write_atomically(paths.imports / path, file.read_bytes())
    if found.entries:
        write_provenance(paths, [*known.values(), *found.entries])
    write_imported(paths, imported_so_far(paths))


def imported_so_far(paths: DataSetPaths) -> list[ImportedRow]:
    """Rows of all copies, ordered by file and row."""
    rows: list[ImportedRow] = []
    for leaf in _leaves(paths.imports):
        place = _place(leaf.below, {})
        if not isinstance(place, str):
            rows += _read(leaf, place)[0]
    return rows
