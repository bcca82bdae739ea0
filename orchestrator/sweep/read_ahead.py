"""Have the system read a model's weights while Ray starts, so that the worker finds them in memory.

Ray takes seconds in which the disk has nothing to do. Nothing waits for this, and no process holds
what was read: it is the system's cache of files.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import psutil

from orchestrator.engine.integrity import weight_files
from orchestrator.engine.weights import locate
from orchestrator.models import Model
from orchestrator.sweep.request import Resolved

STEP_BYTES = 2**20
"""Linux reads no more than so much, or a little more, at each advice."""
MOST_OF_MEMORY = 0.5
"""The share of the free memory that may be filled so: loading needs the rest."""


def start_reading(resolved: Resolved) -> threading.Thread | None:
    """Begin to read the weights that a private Ray's workers will load; returns what reads them.

    None where this host doesn't load any, or where the system takes no advice.
    """
    if resolved.request.address is not None or not hasattr(os, "posix_fadvise"):
        return None
    if not resolved.needs_weights:
        return None
    files = [file for model in resolved.models for file in files_of(model)]
    thread = threading.Thread(target=_read, args=(files,), name="read ahead", daemon=True)
    thread.start()
    return thread


def files_of(model: Model) -> list[Path]:
    """The files of a model's weights on this machine; empty where they can't be listed."""
    weights = locate(model)
    if weights is None:
        return []
    return [weights.path / name for name in sorted(weight_files(weights.path))]


def _read(files: list[Path]) -> None:
    """Advise the system of files, as many as there is room for; one that can't be opened is left.

    Loading it says what is wrong.
    """
    room_bytes = MOST_OF_MEMORY * psutil.virtual_memory().available
    for file in files:
        with contextlib.suppress(OSError), file.open("rb") as opened:
            size_bytes = os.fstat(opened.fileno()).st_size
            room_bytes -= size_bytes
            if room_bytes < 0:
                return
            for offset in range(0, size_bytes, STEP_BYTES):
                os.posix_fadvise(opened.fileno(), offset, STEP_BYTES, os.POSIX_FADV_WILLNEED)
