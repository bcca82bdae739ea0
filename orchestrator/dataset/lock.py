"""One driver a data set: the lock that `tune` holds, with who holds it.

Two mechanisms, since a data set may lie on a file system shared by hosts: flock, which ends with its process, and a file
with host, process and a heartbeat, for file systems on which flock means nothing between hosts (some of Lustre's and all of
Drive's). Who may write never hangs on a clock: a heartbeat is alive if it moves while we watch. Verbs that only read don't
watch, and take a recent one for alive.
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
from pydantic import ValidationError

from orchestrator.dataset.paths import make_folder
from orchestrator.errors import UserError
from orchestrator.nouns import Noun

LOCK_FILE = ".tune.lock"
BEAT_S = 10.0
"""How often a holder touches the file."""
STALE_S = 45.0
"""A lock of another host whose heartbeat doesn't move for so long is taken over."""


class Holder(Noun):
    """Who holds a data set."""

    host: str
    pid: int
    process: str
    """What tells the process from a later one with its number."""
    since: str

    def line(self) -> str:
        """For a person."""
        return f"process {self.pid} on {self.host} since {self.since}"


class Lock:
    """A held data set."""

    def __init__(self, path: Path, handle: int, mine: Holder) -> None:
        self._path = path
        self._handle = handle
        self._mine = mine
        self._ended = threading.Event()
        self._beat = threading.Thread(target=self._beats, daemon=True)
        self._beat.start()

    def held(self) -> bool:
        """Whether the file is still ours: not if the data set's folder was removed or replaced.

        Nor if another host took us for dead, as it does after a long suspend.
        """
        return _is(self._path, self._handle) and holder_of(self._path.parent) == self._mine

    def _beats(self) -> None:
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(self._handle)

    def release(self) -> None:
        """Remove the file, if it is still ours."""
        self._ended.set()
        self._beat.join()
        if self.held():
            self._path.unlink()
        os.close(self._handle)


def holder_of(out: Path) -> Holder | None:
    """Who says that it holds a data set, dead or alive; None: nobody. For read-only verbs."""
    try:
        return Holder.model_validate_json((out / LOCK_FILE).read_bytes()[:4096])
    except (OSError, ValidationError):
        return None


def seems_alive(out: Path, holder: Holder) -> bool | None:
    """Whether a holder lives, for read-only verbs; None: on another host, and it has given no sign for a while."""
    if holder.host == socket.gethostname():
        return _lives(holder)
    with contextlib.suppress(OSError):
        if abs(time.time() - (out / LOCK_FILE).stat().st_mtime) < STALE_S:
            return True
    return None


def _lives(holder: Holder) -> bool:
    """Whether a holder of this host lives."""
    return holder.process == _process(holder.pid)


def _process(pid: int) -> str | None:
    """Boot and start of a process; None: there is none. By Linux's ticks since the boot, which no clock moves."""
    with contextlib.suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (
            None if state in ("Z", "X") else f"{boot} {fields[18]}"
        )  # one that nobody reaped is dead
    with contextlib.suppress(psutil.Error):
        return f"{psutil.Process(pid).create_time():.0f}"
    return None


@contextlib.contextmanager
def held(out: Path, say: Callable[[str], None]) -> Iterator[Lock]:
    """Hold a data set. Raises UserError naming who else does; OSError where the folder can't be written.

    May wait STALE_S to see whether a lock of another host is alive, and says so.
    """
    make_folder(out)
    lock = _take(out, say)
    try:
        yield lock
    finally:
        lock.release()


def _take(out: Path, say: Callable[[str], None]) -> Lock:
    path = out / LOCK_FILE
    while True:
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
        os.close(handle)  # its holder released it meanwhile: that file is no more


def _written(handle: int) -> Holder:
    """This process, written into the file."""
    mine = Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        process=_process(os.getpid()) or "",
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(mine.model_dump()).encode(), 0)
    os.fsync(handle)
    return mine


def _is(path: Path, handle: int) -> bool:
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except OSError:
        return False


def _refuse_living(out: Path, *, locked: bool, say: Callable[[str], None]) -> None:
    """Raise UserError where another process holds the data set. `locked`: we have the system's lock."""
    holder = holder_of(out)
    here = holder is not None and holder.host == socket.gethostname()
    if not locked or (
        holder and (_lives(holder) if here else _moves(out / LOCK_FILE, holder, say))
    ):
        who = holder.line() if holder else "another process"
        raise UserError(
            f"--out {out}: {who} runs a sweep there; wait for it, stop it, or name another folder"
        )


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
    """Whether a lock of another host is touched while we watch."""
    say(
        f"{path.parent} was held by {holder.line()}; watching up to {STALE_S:.0f} s whether it is alive"
    )
    until = time.monotonic() + STALE_S
    with contextlib.suppress(FileNotFoundError):  # released while we watched
        before = path.stat().st_mtime_ns
        while time.monotonic() < until:
            time.sleep(min(1.0, STALE_S / 10))
            if path.stat().st_mtime_ns != before:
                return True
    return False
