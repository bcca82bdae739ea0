"""The lock of a data set, so that only one sweep at a time writes into it.

A data set may lie on a file system that several hosts share, so there are two mechanisms. flock
ends with its process, but on some file systems it has no effect between hosts (some set-ups of
Lustre, and Google Drive). For those, the lock file names the host and the process, and its holder
touches it regularly: the heartbeat.

Hosts' clocks may differ, so no clock decides who may write: a holder on another host is alive if
its heartbeat moves while we watch. Verbs that only read don't watch: they take a holder with a
recent heartbeat for alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil

from orchestrator.dataset.paths import make_folder
from orchestrator.errors import UserError
from orchestrator.nouns import MomentText, Noun, ProcessId
from orchestrator.outside_files import first_bytes

LOCK_FILE = ".tune.lock"
BEAT_S = 10.0
"""The holder touches the lock file once in this time."""
STALE_S = 45.0
"""A lock of another host is taken over if its heartbeat doesn't move for this long."""


LONGEST_LOCK_BYTES = 4096
"""Of a longer lock file only this part is read."""


class Holder(Noun):
    """The process that holds a data set, as the lock file names it."""

    host: str
    pid: ProcessId
    process: str
    """Distinguishes the process from a later one with the same number."""
    since: MomentText
    """UTC, in ISO 8601."""

    def line(self) -> str:
        """One line for a person."""
        return f"process {self.pid} on {self.host} since {self.since}"


class Lock:
    """A lock that this process holds, until `release`."""

    def __init__(self, path: Path, handle: int, mine: Holder) -> None:
        self._path = path
        self._handle = handle
        self._mine = mine
        self._ended = threading.Event()
        # A daemon: a hanging file system must not keep the process from ending.
        self._beat = threading.Thread(target=self._beats, daemon=True)
        self._beat.start()

    def held(self) -> bool:
        """Whether this process still holds the data set.

        It doesn't if the folder was removed or replaced, or if another host took the lock over, as
        it may after this one was suspended for long.
        """
        return _is(self._path, self._handle) and holder_of(self._path.parent) == self._mine

    def _beats(self) -> None:
        """Touch the lock file until the lock is released."""
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(self._handle)

    def release(self) -> None:
        """End the heartbeat and remove the lock file, if this process still holds it."""
        self._ended.set()
        self._beat.join()
        # a lock that was taken over belongs to its new holder
        if self.held():
            self._path.unlink()
        os.close(self._handle)


def holder_of(out: Path) -> Holder | None:
    """The holder that the lock file names, dead or alive; None where nobody holds the data set.

    For verbs that only read.
    """
    try:
        return Holder.model_validate_json(first_bytes(out / LOCK_FILE, LONGEST_LOCK_BYTES))
    except (OSError, ValueError):
        return None


def seems_alive(out: Path, holder: Holder) -> bool | None:
    """Whether a holder is alive, for verbs that only read.

    None (unknown) for one on another host without a recent heartbeat.
    """
    if holder.host == socket.gethostname():
        return _lives(holder)
    with contextlib.suppress(OSError):
        # abs: the clocks of the two hosts may differ in either direction
        if abs(time.time() - (out / LOCK_FILE).stat().st_mtime) < STALE_S:
            return True
    return None


def _lives(holder: Holder) -> bool:
    """Whether a holder on this host is alive."""
    return holder.process == _process(holder.pid)


def _process(pid: int) -> str | None:
    """A text that only this process has: its boot and its start; None where there is no process.

    On Linux the start is counted in ticks since the boot, which setting the clock doesn't change.
    """
    with contextlib.suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if state in ("Z", "X"):  # it has ended, and its parent hasn't asked for its result yet
            return None
        return f"{boot} {fields[18]}"
    with contextlib.suppress(psutil.Error):
        return f"{psutil.Process(pid).create_time():.0f}"
    return None


@contextlib.contextmanager
def held(out: Path, say: Callable[[str], None]) -> Iterator[Lock]:
    """Hold a data set while the context is open.

    It may watch a lock of another host for STALE_S, and then tells so by `say`. Raises UserError
    naming the holder where another process holds the data set, and OSError where its folder can't
    be written.
    """
    make_folder(out)
    lock = _take(out, say)
    try:
        yield lock
    finally:
        lock.release()


def _take(out: Path, say: Callable[[str], None]) -> Lock:
    """Take the lock. Raises as `held` does."""
    path = out / LOCK_FILE
    while True:
        # O_NOFOLLOW: a link here would have another file touched, locked and emptied.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            # where the file system knows no locks, the holder's file decides
            locked = try_flock(handle) is not False
            _refuse_living(out, locked=locked, say=say)
            if _is(path, handle):
                return Lock(path, handle, _written(handle))
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(handle)
            raise
        # Its holder removed the file after we had opened it: take the lock of a new file.
        os.close(handle)


def _written(handle: int) -> Holder:
    """Write this process into the lock file."""
    mine = Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        process=_process(os.getpid()) or "",
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    # In place, since a new file would not have the flock of this one.
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(mine.model_dump()).encode(), 0)
    # another host must read the new holder before it looks for a heartbeat
    os.fsync(handle)
    return mine


def _is(path: Path, handle: int) -> bool:
    """Whether a path still leads to this open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except OSError:
        return False


def _refuse_living(out: Path, *, locked: bool, say: Callable[[str], None]) -> None:
    """Raise UserError where another process holds the data set.

    `locked`: whether this process has the flock.
    """
    holder = holder_of(out)
    # the flock alone is not enough: some file systems keep it to one host
    if locked and (holder is None or not _is_alive(out, holder, say)):
        return
    who = "another process"
    if holder is not None:
        who = holder.line()
    raise UserError(
        f"--out {out}: {who} runs a sweep there; wait for it, stop it, or name another folder"
    )


def _is_alive(out: Path, holder: Holder, say: Callable[[str], None]) -> bool:
    """Whether a holder is alive. Watches its heartbeat if it is on another host."""
    if holder.host == socket.gethostname():
        return _lives(holder)
    return _moves(out / LOCK_FILE, holder, say)


def try_flock(handle: int) -> bool | None:
    """Take the system's lock on an open file or folder, which ends with the process.

    False: another process has it. None: the file system knows no such locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _moves(path: Path, holder: Holder, say: Callable[[str], None]) -> bool:
    """Whether a lock of another host is touched within STALE_S."""
    say(
        f"{path.parent} was held by {holder.line()}; "
        f"watching for up to {STALE_S:.0f} s whether it is alive"
    )
    until = time.monotonic() + STALE_S
    with contextlib.suppress(FileNotFoundError):  # it was released meanwhile
        before = path.stat().st_mtime_ns
        while time.monotonic() < until:
            # its own clock doesn't matter: only whether the time of the file moves
            time.sleep(min(1.0, STALE_S / 10))
            if path.stat().st_mtime_ns != before:
                return True
    return False
