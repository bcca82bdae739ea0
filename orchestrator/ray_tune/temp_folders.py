"""Temporary folders for Ray's files, and the processes that work in them.

A Ray is known by its folder: so Rays of this program can be told from each other and from others.
"""

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
from orchestrator.gpu.lock import HOST_TEMP

KILL_S = 5.0
"""How long to wait for killed processes to end."""

ROUNDS = 3
"""How often processes of a Ray are looked for, at most."""

SCRATCH_BASE_LENGTH = 12
"""Longest path of a folder for temporary files.

The path of a Unix socket has at most 107 characters, of which Ray's names take up to 95.
"""

SCRATCH = f"orch-{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]}-"
"""Start of a scratch folder's name. It names the host, since hosts may share a folder."""


def scratch_base() -> Path:
    """The folder for temporary files; /tmp where its path is too long for Ray's sockets.

    A batch system may set TMPDIR to such a long path.
    """
    base = Path(tempfile.gettempdir())
    if len(str(base)) <= SCRATCH_BASE_LENGTH:
        return base
    return Path("/tmp")  # noqa: S108 - mkdtemp makes a private folder in it


def remove_orphans() -> None:
    """End the processes and remove the folders of private Rays whose driver was killed.

    Ray's processes at times outlive their driver.
    """
    for folder in scratch_base().glob(f"{SCRATCH}*"):
        with _locked(folder) as orphaned:
            if not orphaned:
                continue
            end_processes(folder)
            shutil.rmtree(folder, ignore_errors=True)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Processes of the Ray whose files lie in a folder."""
    running = psutil.process_iter(["name", "cmdline"])
    return [process for process in running if _works_in(process, folder)]


def end_processes(folder: Path) -> None:
    """Kill the processes of the Ray whose files lie in a folder; Ray holds nothing worth saving.

    Once more while there are any: some may be started meanwhile.
    """
    for _ in range(ROUNDS):
        processes = processes_of(folder)
        if not processes:
            return
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=KILL_S)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Try to lock a folder; the lock of a process ends with it.

    Gives False where another process holds the lock, or the folder isn't this user's.
    """
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
    """A folder for Ray's and Tune's files, removed at the end."""
    # locked before it gets the name by which other runs look for orphans
    made = Path(tempfile.mkdtemp(prefix="orch.", dir=scratch_base()))
    with _locked(made):
        folder = made.rename(made.with_name(made.name.replace("orch.", SCRATCH)))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Let processes that are started meanwhile, and their own, put temporary files into a folder.

    Ray kills its dashboard, which then leaves a pymp-* folder, and torch makes one in every worker.
    """
    folder.mkdir()
    variables = {HOST_TEMP: tempfile.gettempdir(), "TMPDIR": str(folder)}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def _works_in(process: psutil.Process, folder: Path) -> bool:
    """Whether a process belongs to the Ray of a folder: by its command line or its open files."""
    paths = list(process.info["cmdline"] or ())
    if process.info["name"].startswith("ray::"):  # Ray has replaced such a command line
        try:
            paths += [file.path for file in process.open_files()]
        except psutil.Error:
            return False
    return any(str(folder) in path for path in paths)
