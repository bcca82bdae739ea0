"""Who else computes on the GPU: its counter would charge a window for them, too."""

from __future__ import annotations

import contextlib

import psutil

from orchestrator.gpu.access import GpuAccess, compute_pids
from orchestrator.meters import Reading

COLUMN = "n_foreign_processes"


class NeighbourMeter:
    """Lists the processes that compute on a GPU before and after a window."""

    def __init__(
        self, access: GpuAccess, own_pids: frozenset[int], root_pid: int | None = None
    ) -> None:
        """`own_pids`: what generates as NVML knows it; in a container those are other numbers.

        `root_pid`: of a server, whose processes may come and go; None: there is none.
        """
        self._access = access
        self._own = own_pids
        self._root_pid = root_pid
        self._before: frozenset[int] | None = None

    def begin(self) -> None:
        """List them."""
        self._before = compute_pids(self._access)

    def end(self) -> None:
        """Do nothing: the window is over when `reading` lists them again."""

    def reading(self, began_s: float, ended_s: float) -> Reading:  # noqa: ARG002 - a meter's
        """How many others there were before or after."""
        before, after = self._before, compute_pids(self._access)
        if before is None or after is None:
            why = "this GPU doesn't tell which processes compute on it"
            return Reading({COLUMN: None}, {COLUMN: why})
        others = (before | after) - self._own
        foreign = {pid for pid in others if not self._is_servers(pid)}
        flags = frozenset({"foreign_load"} if foreign else ())
        return Reading({COLUMN: len(foreign)}, flags=flags)

    def _is_servers(self, pid: int) -> bool:
        """Whether a process descends from the server that is measured."""
        if self._root_pid is None:
            return False
        with contextlib.suppress(psutil.Error):
            return any(one.pid == self._root_pid for one in psutil.Process(pid).parents())
        return False

    def close(self) -> None:
        """Do nothing: NVML belongs to the whole process."""
