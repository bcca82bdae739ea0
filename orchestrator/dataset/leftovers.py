"""What killed programs left in a data set: removed by the next one that writes there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from orchestrator.atomic_files import TEMPORARY
from orchestrator.dataset.lock import WRITES, writing
from orchestrator.dataset.paths import WORKING_FILES, DataSetPaths, names_in
from orchestrator.outside_files import leads_into
from orchestrator.say import Say


@contextlib.contextmanager
def alone(paths: DataSetPaths, say: Say, doing: str = WRITES) -> Iterator[None]:
    """Be the only writer of derived files, as `writing`, without what killed writers left.

    Raises OSError.
    """
    with writing(paths.root, say, doing):
        _remove_leftovers(paths)
        yield


def _remove_leftovers(paths: DataSetPaths) -> None:
    """Remove half-written files, those of a running trial in a sealed one, and half-copied trials.

    None of them belongs to a program that lives, since all write them inside `writing`. Unfinished
    trials stay as they are. Raises OSError, and UserError where a folder can't be read.
    """
    for file in _leftovers(paths):
        file.unlink(missing_ok=True)
    if _is_inside(paths, paths.merging) and not paths.merging.is_symlink():
        shutil.rmtree(paths.merging)


def _leftovers(paths: DataSetPaths) -> Iterator[Path]:
    """Files that nothing needs."""
    folders = [paths.root, paths.sweeps]
    folders += [Path(folder) for folder, _, _ in os.walk(paths.imports)]
    trials = paths.sealed_trials()
    for folder in (*folders, *trials):
        if _is_inside(paths, folder):
            yield from (folder / name for name in names_in(folder) if TEMPORARY.fullmatch(name))
    # a sealing that was interrupted after its rename
    for folder in trials:
        if _is_inside(paths, folder):
            yield from (folder / name for name in WORKING_FILES)


def _is_inside(paths: DataSetPaths, folder: Path) -> bool:
    """Whether a folder is there and no link leads out of the data set on the way to it."""
    return folder.is_dir() and leads_into(folder, paths.root)
