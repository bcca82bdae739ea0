"""The place of a file among the copies below imported/: it is new there, known, or has grown."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping
from pathlib import Path, PurePosixPath

from orchestrator.dataset.imported import ImportedFile
from orchestrator.dataset.reading import file_sha256
from orchestrator.importer.emissions_files import EmissionsRow, read_emissions
from orchestrator.outside_files import read_bytes


def find_place(
    file: Path, path: str, imports: Path, entries: Mapping[str, ImportedFile], taken: Container[str]
) -> tuple[str, str, str]:
    """(place, state, hash) of a file: its place among the copies, and what it is to it.

    `path`: the place that its name gives it; where that is another file's, a number is added.
    `imports`: the folder of the copies. `taken`: places of other files of the same tree. The state
    is "new": the place is free, or an interrupted import copied the file there; "identical", also
    where it holds a part of the copy only; or "grown": it holds all of the copy. Raises OSError or
    ValueError where a file can't be read.
    """
    sha256 = file_sha256(file)
    for place in _numbered(path):
        if place in taken:
            continue
        state = _state(file, sha256, imports / place, entries.get(place))
        if state != "taken":
            return place, state, sha256
    raise AssertionError  # the names don't end


def _numbered(path: str) -> Iterator[str]:
    """A path, then the same with _2, _3 ... in its file's name, for as long as one is asked for.

    They sort after the first one, so that what was imported first keeps its rows.
    """
    yield path
    plain = PurePosixPath(path)
    number = 2
    while True:
        yield str(plain.with_name(f"{plain.stem}_{number}{plain.suffix}"))
        number += 1


def _state(file: Path, sha256: str, copy: Path, entry: ImportedFile | None) -> str:
    """What a file is to a place: one of the states of `find_place`, or "taken"."""
    if not copy.exists():
        return "new"
    if entry and sha256 in {entry.sha256, entry.original_sha256}:
        return "identical"
    if file_sha256(copy) == sha256:
        return "new"
    before, now = read_bytes(copy), read_bytes(file)
    original = entry.original_sha256 if entry else None
    if _begins_with(now, before) or (original and _begins_with_hashed(now, original)):
        return "grown"
    if _begins_with(before, now):
        return "identical"
    return "taken"


def _begins_with(content: bytes, beginning: bytes) -> bool:
    """Whether a file begins with all of another one: its bytes, or the measurements of its rows."""
    if content.startswith(beginning):
        return True
    try:
        whole, part = read_emissions(content), read_emissions(beginning)
    except ValueError:
        return False
    if part.faults or not part.rows or len(whole.rows) < len(part.rows):
        return False
    return all(map(_is_same_row, part.rows, whole.rows))


def _begins_with_hashed(content: bytes, sha256: str) -> bool:
    """Whether a file begins with the lines of another one, of which only the hash is known.

    So its growth is seen although private content was removed from the copy.
    """
    beginning = hashlib.sha256()
    for line in content.splitlines(keepends=True):
        text = line.rstrip(b"\r\n")
        for part in (text, line[len(text) :]):  # the last line may have had no end
            beginning.update(part)
            if beginning.hexdigest() == sha256:
                return True
    return False


def _is_same_row(before: EmissionsRow, now: EmissionsRow) -> bool:
    """Whether a row is an earlier one, maybe with more columns.

    Of its texts only those count that name the measurement: others may be removed as private.
    """
    names = ("run_id", "experiment_id", "timestamp", "task_name")
    return (
        before.number == now.number
        and before.columns <= now.columns
        and before.numbers.items() <= now.numbers.items()
        and all(before.texts.get(name) == now.texts.get(name) for name in names)
    )
