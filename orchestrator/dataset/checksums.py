"""checksums.sha256: hashes of everything that is published, in the format of sha256sum."""

from __future__ import annotations

import os
import re
from pathlib import Path

from orchestrator.dataset.paths import DataSetPaths, write_atomically
from orchestrator.dataset.reading import file_sha256, read_text

_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")


def published_files(root: Path) -> list[str]:
    """Paths of all files that belong to a published data set, sorted: nothing hidden, no links, not the checksums."""
    found = []
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        for name in files:
            path = Path(folder) / name
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                found.append(path.relative_to(root).as_posix())
    return sorted(set(found) - {DataSetPaths(root).checksums.name})


def write_checksums(paths: DataSetPaths) -> None:
    """Hash every published file."""
    lines = [_line(file_sha256(paths.root / name), name) for name in published_files(paths.root)]
    write_atomically(paths.checksums, "".join(lines).encode())


def _line(sha256: str, name: str) -> str:
    """As sha256sum writes it: a name with line ends is escaped, and its line begins with a backslash."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != name else ""
    return f"{mark}{sha256}  {escaped}\n"


def read_checksums(paths: DataSetPaths) -> dict[str, str]:
    """Hash by file; none where nothing was published. Raises OSError, or ValueError naming a line that is none of its kind."""
    if not paths.checksums.exists():
        return {}
    found = {}
    for number, line in enumerate(read_text(paths.checksums).split("\n"), 1):
        if not line:
            continue
        parts = _LINE.fullmatch(line)
        if not parts:
            raise ValueError(f"line {number} isn't one that sha256sum writes")
        name = parts[3]
        if parts[1]:
            name = re.sub(
                r"\\(.)", lambda escape: {"n": "\n", "r": "\r"}.get(escape[1], escape[1]), name
            )
        found[name] = parts[2]
    return found


def differing(paths: DataSetPaths) -> list[str]:
    """Files whose hash isn't the published one, or that are gone. Raises as `read_checksums`."""
    root = paths.root.resolve()
    wrong = []
    for name, sha256 in read_checksums(paths).items():
        path = root / name
        if (
            not path.resolve().is_relative_to(root)
            or not path.is_file()
            or file_sha256(path) != sha256
        ):
            wrong.append(name)
    return wrong
