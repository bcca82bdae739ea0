"""This program's own cache folder: where it is, and filling a folder of it in one step."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import ModelUnavailableError

FILLING = ".filling-"
"""The name of a folder of the cache begins so while it is being filled."""
ABANDONED_S = 86400.0
"""What nobody wrote into for this long was left by a process that was killed."""


def cache_folder() -> Path:
    """ORCHESTRATOR_CACHE, else $XDG_CACHE_HOME/orchestrator, else ~/.cache/orchestrator."""
    own = os.environ.get("ORCHESTRATOR_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orchestrator"


def keep_compiled_code_in_cache() -> None:
    """Let torch keep its folder for compiled code in this program's cache, not in TMPDIR.

    Call it before a model's class is imported, which makes the folder. One that the user chose
    stays. Workers don't call it: they have a folder for temporary files of their own.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "torchinductor"))


def check_disk(folder: Path, need_bytes: int, name: str) -> None:
    """Raise ModelUnavailableError where a folder's disk has too little space."""
    folder.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < need_bytes:
        raise ModelUnavailableError(
            f"{name} needs {need_bytes / 1e9:.1f} GB of disk space, and {folder} has "
            f"{free_bytes / 1e9:.1f} GB; free space, or set HF_HOME and ORCHESTRATOR_CACHE"
        )


@contextlib.contextmanager
def filled(target: Path, need_bytes: int, *, again: bool = False) -> Iterator[Path]:
    """A folder to fill, which becomes `target` in one step when the context ends.

    So `target` is never half full. A `target` that is there by then stays, as another process was
    faster; with `again` it is replaced. Raises ModelUnavailableError where the cache can't be
    written.
    """
    folder = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        check_disk(target.parent, need_bytes, target.name)
        # A killed process can't clean up after itself, so the next one does.
        for left in target.parent.glob(f"{FILLING}*"):
            if time.time() - left.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=FILLING, dir=target.parent))
        yield folder
        folder.chmod(0o755)
        # Safetensors are saved so that only their owner can read them, but a cache may be shared.
        for file in folder.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
        if again:
            _set_aside(target)
        _move(folder, target)
    except OSError as error:
        if error.errno is None:  # it doesn't come from the operating system
            raise
        raise ModelUnavailableError(
            f"{target.parent} can't be written ({error.strerror}); "
            "set ORCHESTRATOR_CACHE to a folder that can be written"
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _set_aside(target: Path) -> None:
    """Take a folder away, if it is there, so that another one can have its name."""
    aside = Path(tempfile.mkdtemp(prefix=FILLING, dir=target.parent))
    with contextlib.suppress(FileNotFoundError):
        target.rename(aside / target.name)
    shutil.rmtree(aside, ignore_errors=True)


def _move(folder: Path, target: Path) -> None:
    """Rename a folder, unless another process has made the target meanwhile."""
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise
