"""Records what a sweep measures: executions at once, trials when they end, tables as they grow.

One recorder writes one data set, from several threads at most one at a time. On a full disk it
waits for room: what was measured is worth more than time. Doesn't know Ray.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from orchestrator.dataset.lock import BusyError, Lock, writing
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.tables import TableWriter
from orchestrator.dataset.trial_files import Measured, Origin, append, seal
from orchestrator.nouns import TrialSpec
from orchestrator.say import Say

T = TypeVar("T")

DISK_WAIT_S = 1800.0
"""How long a sweep waits on a full disk before it ends."""
DISK_POLL_S = 2.0
DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)
WAITING = "paused until there is room (what was finished is kept)"
OUTDATED = "the tables lack the last trials; `orchestrator summarize` makes them anew"
GIVEN_UP = "nobody made room, so what waited to be written is run again"


class Recorder:
    """Writes the executions, trials and tables of a data set."""

    def __init__(
        self,
        paths: DataSetPaths,
        tables: TableWriter,
        lock: Lock,
        *,
        give_up: Callable[[], bool],
        tell: Say,
    ) -> None:
        """`give_up`: whether waiting for room makes no sense any more.

        `tell` hears once that the disk is full, once that waiting ended without room, and of other
        writers that are waited for.
        """
        self.paths = paths
        self.tables = tables
        self._lock = lock
        self._give_up, self._tell = give_up, tell
        self.one_at_a_time = threading.RLock()
        """Held while a result is taken in: trials of several kinds of machine come by threads."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave all out: Tune pickles what it can reach into a state that is never restored."""
        return {}

    def append(
        self,
        spec: TrialSpec,
        origin: Origin,
        order: str,
        measured: Sequence[Measured],
        *,
        first: bool,
    ) -> None:
        """Write the executions of a window; they are on the disk when this returns.

        `order`: shuffled or design, as the plan has it. `first`: they are their trial's first ones,
        which make the trial's folder.

        Raises OSError where it can't be written, after DISK_WAIT_S on a full disk.
        """
        started_before = not first
        self.written(
            lambda: append(self.paths, spec, origin, order, measured, started_before=started_before)
        )

    def seal(self, machine: str, spec: TrialSpec) -> TrialRecord:
        """Turn a trial into its final folder, and follow with the tables.

        `machine`: kind of machine that the trial ran on, which names its folder.

        Raises OSError where it can't be written, after DISK_WAIT_S on a full disk.
        """
        _, record = self.written(lambda: seal(self.paths, machine, spec))
        self.tables.add(record)
        if self.tables.is_due():
            # while another process writes the tables, they follow with a later trial or at the end
            with contextlib.suppress(BusyError):
                self.written(lambda: self._write_tables(self.tables.flush, wait=False))
        return record

    def flush(self) -> None:
        """Write both tables as they should be now, after whoever writes them just now.

        A sweep that is to end waits only shortly, and tells that they are out of date. Raises
        OSError.
        """
        try:
            self.written(lambda: self._write_tables(self.tables.flush, wait=True))
        except BusyError as error:
            if not self._give_up():
                raise
            self._tell(f"{self.paths.root}: {error.strerror}: {OUTDATED}")

    def _write_tables(self, write: Callable[[], None], *, wait: bool) -> None:
        """Write tables while no other process does. Raises OSError."""
        with writing(self.paths.root, self._tell, wait=wait, give_up=self._give_up):
            write()

    def written(self, write: Callable[[], T]) -> T:
        """What `write` gives, once there is room on the disk. Raises OSError."""
        deadline = time.monotonic() + DISK_WAIT_S
        told = False
        while True:
            if not self._lock.held():  # whatever lies there now belongs to somebody else
                raise FileNotFoundError(
                    errno.ENOENT, "the data set's folder was removed or replaced"
                )
            try:
                return write()
            except OSError as error:
                # waiting helps only against a full disk
                if error.errno not in DISK_IS_FULL:
                    raise
                where = f"{self.paths.root}: {error.strerror}"
                if self._give_up() or time.monotonic() > deadline:
                    self._tell(f"{where}: {GIVEN_UP}")
                    raise
                if not told:
                    self._tell(f"{where}: {WAITING}")
                told = True
                time.sleep(DISK_POLL_S)
