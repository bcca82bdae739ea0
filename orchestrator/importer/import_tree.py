"""Import a tree of CodeCarbon's files: emissions.csv and output.txt below folders that name levels.

The levels are machine, model, strategy and use case, as in pc/llama2/greedy/fantasyWorld/. The
files are copied to imported/ and never changed; imported.parquet is made from the copies alone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
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
from orchestrator.dataset.reading import file_sha256, reason_of
from orchestrator.errors import UserError
from orchestrator.importer.emissions_files import Emissions, read_emissions
from orchestrator.importer.imported_rows import Destination, imported_rows
from orchestrator.importer.output_files import split_texts
from orchestrator.outside_files import read_bytes

LEVELS = ("machine", "model", "strategy", "use_case")
TABLES = ("emissions*.csv", "emissions*.bak")
"""Tables of CodeCarbon. It renames one to .bak when a new version of it adds columns."""
TEXTS = ("output*.txt",)
_LEVEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class _Folder:
    """A folder that holds one of CodeCarbon's tables."""

    source: str
    """Name of the imported tree."""
    path: Path
    below: Path
    """Path of the folder in the tree."""
    tables: tuple[str, ...]
    """Files of the folder that match TABLES."""
    texts: tuple[str, ...]
    """Files of the folder that match TEXTS."""


@dataclass(frozen=True)
class _Read:
    """What could be read of a folder."""

    rows: list[ImportedRow]
    faults: list[str]
    """`file:line: what is wrong`."""
    files: list[str]
    """Names of the files that could be read; [] where no table could."""


@dataclass
class Import:
    """What an import does, or would do."""

    new: dict[str, Path] = field(default_factory=dict)
    """Path below imported/ -> file to copy there."""
    identical: int = 0
    """Files that were imported before."""
    rows: list[ImportedRow] = field(default_factory=list)
    """Rows of the new files."""
    faults: list[str] = field(default_factory=list)
    """`file:line: what is wrong`, for rows and files that were left out of the table."""
    conflicts: list[str] = field(default_factory=list)
    """Files that can't be copied, since another file has their place."""
    entries: list[ImportedFile] = field(default_factory=list)
    """Where each new file comes from."""
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def import_tree(
    source: Path, paths: DataSetPaths, levels: dict[str, str], *, dry_run: bool = False
) -> Import:
    """Import a tree; `levels` gives the levels for which the tree has no folders.

    Raises UserError where a level can't be a folder's name, where the tree holds no table, and
    where a different file was imported under the same name before.
    """
    _check_levels(levels)
    if source.resolve().is_relative_to(paths.root.resolve()):
        raise UserError(f"{source}: lies in the data set itself; name the folder to import")
    try:
        known = {item.path: item for item in read_provenance(paths)}
    except ValueError as error:
        raise UserError(
            f"{paths.provenance}: {error}; restore it, or import into another data set"
        ) from error
    result = Import()
    for folder in _folders(source):
        destination = _destination(folder.below, levels)
        if isinstance(destination, str):
            result.faults.append(f"{folder.path}: {destination}")
        elif (folder.path / "trial.json").exists():
            result.faults.append(
                f"{folder.path}: is a trial of this program; take it over with `orchestrator merge`"
            )
        else:
            _add(result, paths, folder, destination, known)
    # before anything is written: an import is whole or not at all
    if result.conflicts:
        raise UserError(*result.conflicts)
    if not (result.new or result.identical or result.faults):
        raise UserError(
            f"{source}: holds no emissions.csv; "
            "name a folder with machine/model/strategy/useCase below it"
        )
    if not dry_run:
        _write(paths, result, known)
    return result


def _option(level: str) -> str:
    """The option of `import` that gives a level."""
    return f"--{level.replace('_', '-')}"


def _check_levels(levels: dict[str, str]) -> None:
    """Raise UserError for a level that can't be a folder's name."""
    for name, value in levels.items():
        if not _LEVEL.fullmatch(value):
            raise UserError(
                f"{_option(name)} {value!r}: write letters, digits, dots, dashes or underscores"
            )


def _add(
    result: Import,
    paths: DataSetPaths,
    folder: _Folder,
    destination: Destination,
    known: dict[str, ImportedFile],
) -> None:
    """Add a folder's files and rows to an import, without those that were imported before."""
    read = _read(folder, destination)
    result.faults += read.faults
    new = set()
    for name in read.files:
        source = folder.path / name
        path = destination.file(name)
        sha256 = file_sha256(source)
        entry = known.get(path)
        if _is_taken(paths.imports / path, entry, sha256):
            result.conflicts.append(
                f"{source}: a different file was imported to {paths.imports / path} before; "
                "import this one under another name"
            )
        elif entry:
            result.identical += 1
        else:
            new.add(f"{paths.imports.name}/{path}")
            result.new[path] = source
            origin = PurePosixPath(folder.source) / folder.below / name
            result.entries.append(
                ImportedFile(
                    path=path,
                    sha256=sha256,
                    source=origin.as_posix(),
                    imported_at=result.at,
                    imported_by=f"llm-energy-orchestrator {__version__}",
                )
            )
    result.rows += [row for row in read.rows if row.execution.rpartition("#")[0] in new]


def _is_taken(target: Path, entry: ImportedFile | None, sha256: str) -> bool:
    """Whether another file than the one with this hash was imported to a place before.

    `entry`: what was recorded of it; None where nothing was, as after an interrupted import.
    """
    if entry:
        return entry.sha256 != sha256
    return target.exists() and file_sha256(target) != sha256


def _folders(source: Path) -> list[_Folder]:
    """Folders of a tree that hold one of CodeCarbon's tables; skips hidden folders and links."""
    result = []
    for name, folders, _ in os.walk(source):
        # os.walk() goes into what is left in this list, in its order
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        path = Path(name)
        tables = _regular_files(path, TABLES)
        if tables:
            texts = _regular_files(path, TEXTS)
            below = path.relative_to(source)
            result.append(_Folder(source.resolve().name, path, below, tables, texts))
    return result


def _regular_files(folder: Path, patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Names, sorted, that fit a pattern and are files: no links, which may lead out of the tree."""
    matching = {path for pattern in patterns for path in folder.glob(pattern)}
    return tuple(path.name for path in sorted(matching) if _is_regular(path))


def _is_regular(path: Path) -> bool:
    """Whether a path is a file and no link."""
    return path.is_file() and not path.is_symlink()


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
        if not part.isprintable() or part == "trial.json":
            return f"{part!r} can't be a folder of a data set; rename it"
    named = {**levels, **dict(zip(missing, parts, strict=False))}
    return Destination(**named, run="/".join(parts[len(missing) :]))


def _read(folder: _Folder, destination: Destination) -> _Read:
    """Read a folder's tables and texts."""
    faults: list[str] = []
    tables: dict[str, Emissions] = {}
    texts: dict[str, str] = {}
    for name in (*folder.tables, *folder.texts):
        path = folder.path / name
        try:
            data = read_bytes(path)
            if name in folder.tables:
                tables[name] = read_emissions(data)
            else:
                texts[name] = data.decode("utf-8", "replace")
        except (OSError, ValueError) as error:
            faults.append(f"{path}: {reason_of(error)}")
    if not tables:
        return _Read([], faults, [])
    rows: list[ImportedRow] = []
    for name, table in tables.items():
        faults += [f"{folder.path / name}:{line}: {what}" for line, what in table.faults]
        split = None
        # with several tables or texts nothing says which text belongs to which table
        if len(tables) == len(texts) == 1:
            (text,) = texts.values()
            split = split_texts(text, table.n_rows)
        rows += imported_rows(destination, f"imported/{destination.file(name)}", table, split)
    return _Read(rows, faults, [*tables, *texts])


def _write(paths: DataSetPaths, result: Import, known: dict[str, ImportedFile]) -> None:
    """Copy the new files, record where they come from, and rebuild imported.parquet."""
    for path, file in result.new.items():
        if not (paths.imports / path).exists():  # an interrupted import may have copied it
            write_atomically(paths.imports / path, read_bytes(file))
    # after the copies: an entry without its file would be a fault of the data set
    if result.entries:
        write_provenance(paths, [*known.values(), *result.entries])
    write_imported(paths, imported_so_far(paths))


def imported_so_far(paths: DataSetPaths) -> list[ImportedRow]:
    """Rows of all files below imported/, ordered by file and row."""
    rows: list[ImportedRow] = []
    for folder in _folders(paths.imports):
        destination = _destination(folder.below, {})
        if not isinstance(destination, str):
            rows += _read(folder, destination).rows
    return rows
