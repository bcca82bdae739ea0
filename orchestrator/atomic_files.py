"""Writing so that a kill or a power failure leaves the old file or the new one, whole."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""Names that `write_atomically` gives to files that it hasn't finished."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside and rename, flushed to the disk.

    A reader sees the old file or the new one, never half of one.
    """
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with beside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            # before the rename: else a power failure could leave the new name on an empty file
            os.fsync(stream.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each entry on the disk when this returns."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside the folder survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
