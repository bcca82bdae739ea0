"""checksums.sha256: the hashes of all published files, in the format of sha256sum."""

from __future__ import annotations

import os
import re
from pathlib import Path

from orchestrator.atomic_files import write_atomically
from orchestrator.dataset.paths import DataSetPaths, unreadable
from orchestrator.dataset.reading import file_sha256
from orchestrator.outside_files import leads_into, read_text

LINE_ENDS = {"n": "\n", "r": "\r"}
"""The letter after a backslash in an escaped name -> the character that it stands for."""

_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")


def published_files(root: Path) -> list[str]:
    """The paths of all files of a published data set, relative to its folder and sorted.

    Hidden files and folders, links and checksums.sha256 itself are not among them. Raises
    UserError where a folder can't be read.
    """
    published: list[str] = []
    for folder, names, files in os.walk(root, onerror=_refuse):
        # os.walk() goes only into the folders that are left in this list.
        names[:] = [name for name in names if not name.startswith(".")]
        for name in files:
            path = Path(folder) / name
            try:
                is_published = path.is_file() and not path.is_symlink()
            except OSError as error:
                raise unreadable(path.parent, error) from error
            if is_published and not name.startswith("."):
                published.append(path.relative_to(root).as_posix())
    # no file can hold its own hash
    return sorted(set(published) - {DataSetPaths(root).checksums.name})


def _refuse(error: OSError) -> None:
    """Raise what os.walk() would pass over: files would be missing without a word."""
    raise unreadable(Path(error.filename), error) from error


def write_checksums(paths: DataSetPaths) -> None:
    """Write the hash of every published file into checksums.sha256."""
    hashes = {name: file_sha256(paths.root / name) for name in published_files(paths.root)}
    write_atomically(paths.checksums, checksum_lines(hashes))


def checksum_lines(hashes: dict[str, str]) -> bytes:
    """The content of a file of checksums; `hashes`: file -> hash."""
    return "".join(_line(sha256, name) for name, sha256 in hashes.items()).encode()


def _line(sha256: str, name: str) -> str:
    """One line, as sha256sum writes it.

    A name with a backslash or a line end is escaped, and then the line begins with a backslash.
    """
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != name else ""
    return f"{mark}{sha256}  {escaped}\n"


def read_checksums(checksums: Path) -> dict[str, str]:
    """File -> hash, as a file of checksums says; empty where it is missing.

    Raises OSError where the file can't be read, and ValueError naming a line that is not valid.
    """
    if not checksums.exists():
        return {}
    hashes = {}
    for number, line in enumerate(read_text(checksums).split("\n"), 1):
        if not line:
            continue
        parts = _LINE.fullmatch(line)
        if not parts:
            raise ValueError(f"line {number} isn't one that sha256sum writes")
        name = parts[3]
        if parts[1]:
            name = re.sub(r"\\(.)", lambda escape: LINE_ENDS.get(escape[1], escape[1]), name)
        hashes[name] = parts[2]
    return hashes


def differing(paths: DataSetPaths) -> list[str]:
    """The files that are missing, or whose hash differs from the published one.

    Raises OSError or ValueError where checksums.sha256 can't be read.
    """
    wrong = []
    for name, sha256 in read_checksums(paths.checksums).items():
        path = paths.root / name
        # A line may name a file outside the data set, which nobody here may read.
        if not leads_into(path, paths.root) or not path.is_file() or file_sha256(path) != sha256:
            wrong.append(name)
    return wrong
