"""The two locks of a data set, so that no writer undoes what another one wrote.

- `held`: who adds trials and plans (a sweep, a merge) or needs that nobody does (publishing). It is
  held for as long as a sweep runs, so a second one is refused.
- `writing`: whoever writes files that are made from others (tables, verdicts, imports, the data
  card). It is held only from reading the newest state to having written, so others wait for it.

Who needs both takes `held` first. Files to which lines are only added need neither
(json_lines.py).

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
import errno
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

from orchestrator.atomic_files import make_folder
from orchestrator.errors import UserError
from orchestrator.nouns import MomentText, Noun, ProcessId
from orchestrator.outside_files import first_bytes
from orchestrator.say import Say

LOCK_FILE = ".tune.lock"
WRITE_LOCK_FILE = ".write.lock"
BEAT_S = 10.0
"""The holder touches the lock file once in this time."""
STALE_S = 45.0
"""A lock of another host is taken over if its heartbeat doesn't move for this long."""
WAIT_S = 1800.0
"""How long a writer waits for another one, which may be importing or publishing much."""
LAST_WAIT_S = 5.0
"""The same for a writer that was asked to end."""
POLL_S = 0.1
SWEEPS = "runs a sweep there"
WRITES = "writes tables there"

LONGEST_LOCK_BYTES = 4096
"""A longer lock file is none of this program's."""


class Holder(Noun):
    """The process that holds a data set, as the lock file names it."""

    host: str
    pid: ProcessId
    process: str
    """Distinguishes the process from a later one with the same number."""
    since: MomentText
    """UTC, in ISO 8601."""
    doing: str = SWEEPS
    """What it holds the data set for."""

    def line(self) -> str:
        """One line for a person."""
        return f"process {self.pid} on {self.host} since {self.since}"


class BusyError(OSError):
    """Another process writes there, and was waited for as long as makes sense."""


class _TakenError(Exception):
    """Another process has a lock; says which, and what it does."""


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
        try:
            there = _is(self._path, self._handle)
        except OSError:  # nobody can write there now
            return False
        return there and _named_in(self._path) == self._mine

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
    return _named_in(out / LOCK_FILE)


def _named_in(path: Path) -> Holder | None:
    """The holder that a lock file names; None: there is none, or it names nobody."""
    try:
        return Holder.model_validate_json(first_bytes(path, LONGEST_LOCK_BYTES))
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
def held(out: Path, say: Say, doing: str = SWEEPS) -> Iterator[Lock]:
    """Hold a data set while the context is open.

    It may watch a lock of another host for STALE_S, and then tells so by `say`. `doing`: what
    others are told that this process does there. Raises UserError naming the holder where another
    process holds the data set, and OSError where its folder can't be written.
    """
    make_folder(out)
    try:
        lock = _take(out / LOCK_FILE, doing, say)
    except _TakenError as taken:
        raise UserError(
            f"--out {out}: {taken}; wait for it, stop it, or name another folder"
        ) from None
    try:
        yield lock
    finally:
        lock.release()


@contextlib.contextmanager
def writing(
    out: Path,
    say: Say,
    doing: str = WRITES,
    *,
    wait: bool = True,
    give_up: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Be the only one who writes a data set's derived files while the context is open.

    Waits for another writer, which `say` hears once: at most WAIT_S, with `give_up` LAST_WAIT_S,
    and not at all without `wait`. Raises BusyError naming that writer when the time is over, and
    other OSErrors where the folder can't be written.
    """
    make_folder(out)
    lock = _awaited(out / WRITE_LOCK_FILE, doing, say, wait=wait, give_up=give_up)
    try:
        yield
    finally:
        lock.release()


def _awaited(path: Path, doing: str, say: Say, *, wait: bool, give_up: Callable[[], bool]) -> Lock:
    """The lock of this file, once its holder lets go. Raises as `writing` does."""
    told: list[str] = []

    def say_once(line: str) -> None:
        """Say the first line only: the lock is looked at again and again."""
        if not told:
            say(line)
        told.append(line)

    began_s = time.monotonic()
    while True:
        try:
            # to watch another host's lock would be to wait
            if not wait:
                _refuse_foreign(path)
            return _take(path, doing, say_once)
        except _TakenError as taken:
            waited_s = time.monotonic() - began_s
            if not wait or waited_s > WAIT_S or (give_up() and waited_s > LAST_WAIT_S):
                raise BusyError(errno.EBUSY, str(taken), str(path.parent)) from None
            say_once(f"{path.parent}: {taken}; waiting for it")
        time.sleep(POLL_S)


def _refuse_foreign(path: Path) -> None:
    """Raise _TakenError where a lock file names a holder on another host, dead or alive."""
    holder = _named_in(path)
    if holder is not None and holder.host != socket.gethostname():
        raise _TakenError(f"{holder.line()} {holder.doing}")


def _take(path: Path, doing: str, say: Say) -> Lock:
    """Take a lock. Raises _TakenError where another process has it, and OSError."""
    while True:
        # O_NOFOLLOW: a link here would have another file touched, locked and emptied.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            # where the file system knows no locks, the holder's file decides
            locked = try_flock(handle) is not False
            _refuse_living(path, locked=locked, say=say)
            if _is(path, handle):
                return Lock(path, handle, _written(handle, doing))
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(handle)
            raise
        # Its holder removed the file after we had opened it: take the lock of a new file.
        os.close(handle)


def _written(handle: int, doing: str) -> Holder:
    """Write this process into the lock file."""
    mine = Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        process=_process(os.getpid()) or "",
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        doing=doing,
    )
    # In place, since a new file would not have the flock of this one.
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(mine.model_dump()).encode(), 0)
    # another host must read the new holder before it looks for a heartbeat
    os.fsync(handle)
    return mine


def _is(path: Path, handle: int) -> bool:
    """Whether a path still leads to this open file. Raises OSError where the system won't tell."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _refuse_living(path: Path, *, locked: bool, say: Say) -> None:
    """Raise _TakenError where another process has the lock of this file.

    `locked`: whether this process has the flock.
    """
    holder = _named_in(path)
    # the flock alone is not enough: some file systems keep it to one host
    if locked and (holder is None or not _is_alive(path, holder, say)):
        return
    if holder is None:
        raise _TakenError(f"another process {SWEEPS if path.name == LOCK_FILE else WRITES}")
    raise _TakenError(f"{holder.line()} {holder.doing}")


def _is_alive(path: Path, holder: Holder, say: Say) -> bool:
    """Whether a holder is alive. Watches its heartbeat if it is on another host."""
    if holder.host == socket.gethostname():
        return _lives(holder)
    return _moves(path, holder, say)


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


def _moves(path: Path, holder: Holder, say: Say) -> bool:
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
