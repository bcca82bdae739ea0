"""Folders for Ray's files, and the processes that work in them: what tells our Rays from each other and from others'."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from orchestrator.dataset.lock import try_flock

KILL_S = 5.0
"""How long ended processes are waited for."""

SCRATCH_BASE_LENGTH = 12
"""The path of a Unix socket ends at 107 characters, of which Ray's names below its temporary folder take up to 95."""

SCRATCH = f"orch-{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]}-"
"""Start of a scratch folder's name. With the host in it, since hosts may share their folder for temporary files."""


def scratch_base() -> Path:
    """The folder for temporary files, or /tmp where that is too long for Ray's sockets (TMPDIR of a batch job, say)."""
    base = Path(tempfile.gettempdir())
    return base if len(str(base)) <= SCRATCH_BASE_LENGTH else Path("/tmp")  # noqa: S108 - mkdtemp makes a private one in it


def remove_orphans() -> None:
    """End the processes and remove the folders of private Rays whose driver was killed: Ray's own outlive it at times."""
    for folder in scratch_base().glob(f"{SCRATCH}*"):
        with _locked(folder) as orphaned:
            if not orphaned:
                continue
            end_processes(folder)
            shutil.rmtree(folder, ignore_errors=True)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Processes that work for the Ray of a folder."""
    return [
        process for process in psutil.process_iter(["name", "cmdline"]) if _names(process, folder)
    ]


def end_processes(folder: Path) -> None:
    """Kill them: there is nothing in Ray that we would miss."""
    left = processes_of(folder)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=KILL_S)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock, which ends with its owner. False: its owner lives, or it is none of ours."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    except OSError:
        yield False
        return
    try:
        yield try_flock(handle) is True and os.access(folder, os.W_OK)
    finally:
        os.close(handle)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for Ray's and Tune's files, locked before it gets the name under which other runs look for orphans."""
    made = Path(tempfile.mkdtemp(prefix="orch.", dir=scratch_base()))
    with _locked(made):
        folder = made.rename(made.with_name(made.name.replace("orch.", SCRATCH)))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _names(process: psutil.Process, folder: Path) -> bool:
    """Whether a process works for the Ray of a folder: named on its command line, or by its logs where Ray hides that."""
    try:
        files = (
            [file.path for file in process.open_files()]
            if process.info["name"].startswith("ray::")
            else []
        )
    except psutil.Error:
        return False
    return any(str(folder) in text for text in (*(process.info["cmdline"] or ()), *files))
