"""Tell Prometheus where it finds the metrics of sweeps that run from this machine.

Each running sweep has a file in one fixed folder, in the format of Prometheus's file_sd
(clusters/prometheus.yml). Ray writes such a file too, but a private Ray writes it to a folder with
a new name each time.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.dataset.lock import try_flock
from orchestrator.engine.cache import cache_folder
from orchestrator.ray_tune.temp_folders import SCRATCH

if TYPE_CHECKING:
    from orchestrator.ray_tune.session import Node

LOG = logging.getLogger(__name__)


def targets_folder() -> Path:
    """The fixed folder of these files: `prometheus` in the cache folder."""
    return cache_folder() / "prometheus"


@contextlib.contextmanager
def announced(nodes: Sequence[Node]) -> Iterator[None]:
    """Keep a file with the metrics addresses of nodes while a sweep runs.

    Where the file can't be written a warning is logged and the sweep runs without it.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_file([node.metrics for node in nodes if node.metrics]))
        except OSError as error:
            LOG.warning(
                "Prometheus won't find this sweep: %s can't be written (%s)",
                targets_folder(),
                error.strerror,
            )
        yield


@contextlib.contextmanager
def _file(addresses: list[str]) -> Iterator[None]:
    """Keep a file with these addresses, removed at the end."""
    folder = targets_folder()
    folder.mkdir(parents=True, exist_ok=True)
    beside, path = folder / f".{SCRATCH}{os.getpid()}.tmp", folder / f"{SCRATCH}{os.getpid()}.json"
    with beside.open("w", encoding="utf-8") as stream:
        # locked before it gets its name, so that other runs don't take it for an orphan. On a file
        # system without locks they can't lock it either, and so leave it alone
        try_flock(stream.fileno())
        json.dump([{"labels": {"job": "ray"}, "targets": addresses}], stream)
        stream.flush()
        beside.replace(path)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def remove_orphans() -> None:
    """Remove the files of this host's sweeps that were killed: their locks ended with them."""
    folder = targets_folder()
    for path in (*folder.glob(f"{SCRATCH}*.json"), *folder.glob(f".{SCRATCH}*.tmp")):
        with contextlib.suppress(OSError), path.open("r+") as stream:
            if try_flock(stream.fileno()):
                path.unlink()
