"""Walk over a tree: which folders hold CodeCarbon's tables, and what is passed over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

TABLES = ("emissions*.csv", "emissions*.bak")
"""Tables of CodeCarbon. It renames one to .bak when a new version of it adds columns."""
TEXTS = ("output*.txt",)


@dataclass(frozen=True)
class Folder:
    """A folder of the tree that holds one of CodeCarbon's tables."""

    source: PurePosixPath
    """Its path from the name of the imported tree on."""
    path: Path
    below: Path
    """Path of the folder in the tree."""
    tables: tuple[str, ...]
    """Files of the folder that match TABLES."""
    texts: tuple[str, ...]
    """Files of the folder that match TEXTS."""

    def origin(self, name: str) -> str:
        """The path of one of its files from the name of the imported tree on."""
        return as_text(self.source / name)


def folders_of(
    source: Path, passed_over: dict[str, str], on_error: Callable[[OSError], None]
) -> Iterator[Folder]:
    """Folders of a tree that hold one of CodeCarbon's tables, in a fixed order.

    Hidden folders are skipped. Links, which may lead out of the tree, and tables of other names are
    added to `passed_over`; `on_error` is told of folders that can't be read.
    """
    root = PurePosixPath(source.resolve().name)
    for name, folders, files in os.walk(source, onerror=on_error):
        # os.walk() goes into what is left in this list, in its order
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        path = Path(name)
        below = path.relative_to(source)
        tables, texts = [], []
        for entry in sorted((*folders, *files)):
            why = _why_passed_over(path / entry, is_folder=entry in folders)
            if why:
                passed_over[as_text(root / below / entry)] = why
            elif entry in folders:
                continue
            elif is_one(entry, TABLES):
                tables.append(entry)
            elif is_one(entry, TEXTS):
                texts.append(entry)
        if tables:
            yield Folder(root / below, path, below, tuple(tables), tuple(texts))


def _why_passed_over(path: Path, *, is_folder: bool) -> str:
    """Why something in a tree that may hold measurements is not looked at; "" where it is."""
    if os.path.islink(path):  # noqa: PTH114 - Path's raises where a folder can't be entered
        if is_folder or is_one(path.name, ("*.csv", *TABLES, *TEXTS)):
            return "is a link; put a copy there instead"
        return ""
    is_hidden = path.name.startswith(".")
    is_other_table = is_one(path.name.lower(), ("*.csv", "*.csv.bak"))
    if is_folder or is_hidden or not is_other_table or is_one(path.name, TABLES):
        return ""
    return "is not named emissions*.csv; if CodeCarbon wrote it, name a copy of it so"


def as_text(path: PurePosixPath) -> str:
    """A path that can be written to a file; what isn't UTF-8 in it is shown by number."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_one(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file's name fits one of some patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
