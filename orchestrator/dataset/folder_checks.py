"""Whether a data set's folder can be read and written, asked before anything is started."""

from __future__ import annotations

import tempfile
from pathlib import Path

from orchestrator.errors import UserError


def check_folder(out: Path, where: str = "--out") -> Path:
    """What exists of a folder's path.

    `where`: what the user named it by. Raises UserError where that is not a folder, or not a path
    that this system takes.
    """
    candidates = (out.absolute(), *out.absolute().parents)
    try:
        # a link that leads nowhere exists: no folder could be made in its place
        existing = next(path for path in candidates if path.exists() or path.is_symlink())
    except OSError as error:
        raise UserError(
            f"{where} {out}: can't be read ({error.strerror}); name a folder of yours"
        ) from error
    if not existing.is_dir():
        raise UserError(f"{where} {out}: {existing} is not a folder; name one")
    return existing


def check_writable(out: Path) -> None:
    """Raise UserError where the data set's folder can't be made or written. Leaves no trace."""
    try:
        with tempfile.TemporaryFile(dir=check_folder(out)):
            pass
    except OSError as error:
        raise UserError(
            f"--out {out}: can't be written ({error.strerror}); name a folder of yours"
        ) from error
