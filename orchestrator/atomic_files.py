"""Writing so that a kill or a power failure leaves the old file or the new one, whole."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""Names of files that aren't finished."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside and rename, flushed to the disk.

    A reader sees the old file or the new one, never half of one.
    """
    with written_atomically(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[BinaryIO]:
    """The same for what is written bit by bit; after an error the old file is there."""
    make_folder(path.parent)
    beside = _beside(path)
    try:
        with beside.open("wb") as stream:
            yield stream
            stream.flush()
            # before the rename: else a power failure could leave the new name on an empty file
            os.fsync(stream.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files whose names survive a power failure only after `sync_folder`, which may follow.

    Each is the old one or the new one, whole. All are written before the first is flushed: a file
    system that flushes its journal writes them in one go. `contents`: name -> bytes.
    """
    besides = {name: _beside(folder / name) for name in contents}
    try:
        for name, data in contents.items():
            besides[name].write_bytes(data)
        for beside in besides.values():
            _sync(beside)
        for name, beside in besides.items():
            beside.replace(folder / name)
    finally:
        for beside in besides.values():
            beside.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each entry on the disk when this returns."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside the folder survive a power failure."""
    _sync(folder)


def _sync(path: Path) -> None:
    """Flush a file's bytes, or a folder's names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
