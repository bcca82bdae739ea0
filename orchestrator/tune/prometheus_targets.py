"""Where Prometheus finds the metrics of Rays that run sweeps from this machine: a file a sweep in a folder that stays.

Ray writes such a file itself, but a private Ray's lies in a folder with a new name each time. The format is Ray's and that of
Prometheus's file_sd (clusters/prometheus.yml).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.dataset.lock import try_flock
from orchestrator.engine.weights import cache_folder
from orchestrator.tune.session import Node
from orchestrator.tune.temp_folders import SCRATCH

LOG = logging.getLogger(__name__)


def targets_folder() -> Path:
    """`prometheus` in the cache folder."""
    return cache_folder() / "prometheus"


@contextlib.contextmanager
def announced(nodes: Sequence[Node]) -> Iterator[None]:
    """Name the metrics addresses of nodes while a sweep runs. Where that can't be written the sweep does without."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_file([node.metrics for node in nodes if node.metrics]))
        except OSError as error:
            LOG.warning(
                "Prometheus isn't told of this sweep: %s: %s", targets_folder(), error.strerror
            )
        yield


@contextlib.contextmanager
def _file(addresses: list[str]) -> Iterator[None]:
    """A file that is locked before it gets its name, so that other runs know a living sweep's from what a kill left."""
    folder = targets_folder()
    folder.mkdir(parents=True, exist_ok=True)
    _remove_orphans(folder)
    beside, path = folder / f".{SCRATCH}{os.getpid()}.tmp", folder / f"{SCRATCH}{os.getpid()}.json"
    with beside.open("w", encoding="utf-8") as stream:
        # on a file system without locks nobody takes it for an orphan either
        try_flock(stream.fileno())
        json.dump([{"labels": {"job": "ray"}, "targets": addresses}], stream)
        stream.flush()
        beside.replace(path)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def _remove_orphans(folder: Path) -> None:
    """Remove this host's files whose sweep was killed: their locks ended with it."""
    for path in folder.glob(f"{SCRATCH}*.json"):
        with contextlib.suppress(OSError), path.open("r+") as stream:
            if try_flock(stream.fileno()):
                path.unlink()
