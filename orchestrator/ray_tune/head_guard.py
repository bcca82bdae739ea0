"""End the process where the head of a private Ray has died and a call of Ray waits for it.

Such calls wait a minute, while Ray starts too, and then end the process with an exit code of Ray's.
A sweep under way notices by itself, sooner; this is for the moments in which it can't.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

from orchestrator.process_end import DRAINED
from orchestrator.ray_tune.temp_folders import end_processes, processes_of

LOOK_S = 1.0
PATIENCE_S = 25.0
"""How long the sweep may take to end by itself once the head is dead."""
HEAD = "gcs_server"
"""Name of the head's process."""


@contextlib.contextmanager
def head_guarded(scratch: Path) -> Iterator[None]:
    """Meanwhile end the process if the head of the Ray in this folder dies and nothing else does.

    What was finished is on the disk by then: the same command goes on from there.
    """
    over = threading.Event()
    threading.Thread(target=_guard, args=(scratch, over), name="head-guard", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _guard(scratch: Path, over: threading.Event) -> None:
    """Watch the head until it is over."""
    head: psutil.Process | None = None
    while not over.wait(LOOK_S):
        head = head or _head(scratch)
        if head is not None and not _lives(head):
            break
    if over.wait(PATIENCE_S):
        return
    sys.stderr.write("Ray's head died; run the same command again to resume\n")
    sys.stderr.flush()
    end_processes(scratch)
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(DRAINED)


def _head(scratch: Path) -> psutil.Process | None:
    """The head of the Ray in a folder; None where it hasn't started yet."""
    for process in processes_of(scratch):
        if process.info["name"] == HEAD:
            return process
    return None


def _lives(process: psutil.Process) -> bool:
    """Whether a process runs: one that died stays a zombie until its parent asks for it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
