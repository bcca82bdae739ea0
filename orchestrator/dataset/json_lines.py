"""Files of JSON objects, one a line, to which writers add: executions, decisions, judgements.

An interruption (a kill, a full disk, a power failure) may leave a torn last line. A reader passes
it over, and the next line that is added takes its place. A last line that lacks only its newline
is whole: it counts, and it stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator.atomic_files import sync_folder
from orchestrator.dataset.reading import parsed
from orchestrator.outside_files import open_for_appending


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, which is made where it is missing.

    Line and folder entry are on the disk when this returns. Raises OSError where they can't be
    written or the path leads to no file of its own; what was written of the line until then is
    torn.
    """
    new = not path.exists()
    with open_for_appending(path) as stream:
        # another reviewer's line that is being written must not be taken for a torn one
        with contextlib.suppress(OSError):  # some file systems know no such locks
            fcntl.flock(stream, fcntl.LOCK_EX)
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.seek(0)
                written = stream.read()
                end_of_lines = written.rfind(b"\n") + 1
                if _is_whole(written[end_of_lines:].decode("utf-8", "replace")):
                    stream.write(b"\n")
                else:
                    stream.truncate(end_of_lines)
        stream.write(line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    if new:
        sync_folder(path.parent)


def whole_lines(text: str) -> Iterator[tuple[int, str]]:
    """The number (from 1) and text of each line but empty ones and a torn last one."""
    *lines, last = text.split("\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, line
    if _is_whole(last):
        yield len(lines) + 1, last


def _is_whole(line: str) -> bool:
    """Whether what stands after the last newline is a whole line: no part of an object is JSON."""
    try:
        parsed(line, "")
    except ValueError:
        return False
    return True
